/*
 * QEMU's "key=value,key=value" lists: the first item may leave its key out, ",," stands for a comma in a value, the
 * last of a repeated key wins except where a list is collected. Values are read by the typed functions below; each
 * reports a mistake in a sentence that names the option, the key and the value. Plain memory, no allocation; any
 * thread.
 */
#ifndef WEFT_CLI_KV_H
#define WEFT_CLI_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "weft/bitmap.h"
#include "weft/error.h"

enum { KV_MAX_ITEMS = 96, KV_MAX_TEXT = 4096 };

struct kv_item {
    const char *key, *value; /* into text */
};

struct kv {
    const char *option; /* "-smp", for sentences */
    const char *type;   /* value of the implied key once it was read ("node" of -numa node,...), or NULL */
    unsigned count;
    struct kv_item item[KV_MAX_ITEMS];
    char text[KV_MAX_TEXT];
    size_t used;
};

/* What a list may look like. */
struct kv_rules {
    const char *implied;     /* key of a first item without '=', or NULL */
    const char *const *keys; /* NULL-terminated; NULL = any key */
    bool short_bool;         /* "server" = server=on, "nowait" = wait=off */
};

bool kv_parse(struct kv *kv, const char *option, const char *text, const struct kv_rules *rules, struct error *err);

/* As kv_parse for the JSON form {"key": value, ...}; an array repeats its key. */
bool kv_parse_json(struct kv *kv, const char *option, const char *text, struct error *err);

/* Refuses a key that is not in keys (NULL-terminated), naming the nearest one. */
bool kv_check_keys(const struct kv *kv, const char *const *keys, struct error *err);

/* The last value of a key, or NULL. */
const char *kv_get(const struct kv *kv, const char *key);

/*
 * Typed readers. A key that is absent leaves *out alone and is no mistake; kv_need() makes it one, and `example` is
 * what the sentence proposes.
 */
bool kv_need(const struct kv *kv, const char *key, const char *example, struct error *err);
bool kv_string(const struct kv *kv, const char *key, char *out, size_t size, struct error *err);
bool kv_unsigned(const struct kv *kv, const char *key, unsigned min, unsigned max, unsigned *out, struct error *err);
bool kv_u64(const struct kv *kv, const char *key, uint64_t *out, struct error *err);
bool kv_bool(const struct kv *kv, const char *key, bool *out, struct error *err);
/* Bytes; a number without a suffix counts units of `unit` bytes. */
bool kv_size(const struct kv *kv, const char *key, uint64_t unit, uint64_t *out, struct error *err);
/* Index into names (NULL-terminated). */
bool kv_enum(const struct kv *kv, const char *key, const char *const *names, int *out, struct error *err);
/* Collects every occurrence of the key: "0-3", "0-3,,^2". */
bool kv_bitmap(const struct kv *kv, const char *key, unsigned limit, struct bitmap *out, struct error *err);

/* A whole decimal number from min to max: true, and *out is set. */
bool kv_parse_decimal(const char *text, unsigned min, unsigned max, unsigned *out);

/* "1.5G", "0x1000", "64" (times unit). Returns NULL, or what is wrong with the text. */
const char *kv_parse_size(const char *text, uint64_t unit, uint64_t *out);

/* The word of the list (NULL-terminated) that is nearest to a misspelt one, or NULL if none is near. */
const char *kv_nearest(const char *word, const char *const *list);

#endif
