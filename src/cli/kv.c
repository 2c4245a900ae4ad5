#include "cli/kv.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <jansson.h>

/* Appends n bytes and a NUL to the list's text; returns where they are, or NULL when it is full. */
static char *keep(struct kv *kv, const char *s, size_t n)
{
    if (n >= sizeof(kv->text) - kv->used) {
        return NULL;
    }
    char *at = kv->text + kv->used;
    memcpy(at, s, n);
    at[n] = '\0';
    kv->used += n + 1;
    return at;
}

static bool add(struct kv *kv, const char *key, const char *value, struct error *err)
{
    if (!key || !value || kv->count == KV_MAX_ITEMS) {
        return error_set(err, "%s: the list is too long; %d items of %d bytes together are the most", kv->option,
                         KV_MAX_ITEMS, KV_MAX_TEXT);
    }
    kv->item[kv->count++] = (struct kv_item){key, value};
    return true;
}

/* Copies a value up to a single comma, with ",," as a comma; moves *p to the comma or the end. */
static char *keep_value(struct kv *kv, const char **p)
{
    char *at = kv->text + kv->used;
    for (const char *s = *p;; s++) {
        if (*s == ',' && s[1] == ',') {
            s++;
        } else if (*s == ',' || *s == '\0') {
            *p = s;
            break;
        }
        if (kv->used + 1 >= sizeof(kv->text)) {
            return NULL;
        }
        kv->text[kv->used++] = *s;
    }
    if (kv->used >= sizeof(kv->text)) {
        return NULL;
    }
    kv->text[kv->used++] = '\0';
    return at;
}

static bool in_list(const char *word, const char *const *list)
{
    for (; list && *list; list++) {
        if (strcmp(word, *list) == 0) {
            return true;
        }
    }
    return false;
}

/* An item without '=': the implied key's value, a short boolean, or a mistake. */
static bool bare_item(struct kv *kv, char *word, const struct kv_rules *rules, struct error *err)
{
    if (kv->count == 0 && rules->implied) {
        kv->type = word;
        return add(kv, rules->implied, word, err);
    }
    if (rules->short_bool && in_list(word, rules->keys)) {
        return add(kv, word, "on", err);
    }
    if (rules->short_bool && strncmp(word, "no", 2) == 0 && in_list(word + 2, rules->keys)) {
        return add(kv, word + 2, "off", err);
    }
    if (*word == '\0') {
        return error_set(err, "%s: an item of the list is empty; take out the extra comma", kv->option);
    }
    const char *key = kv->count > 0 ? kv->item[kv->count - 1].key : "";
    static const char *const takes_list[] = {"cpus", "host-nodes", NULL};
    if (in_list(key, takes_list) && strcmp(kv->option, "-smp") != 0 && word[strspn(word, "^0123456789-")] == '\0') {
        return error_set(err, "%s: '%.100s' has no key: a comma ends a value; write %s=%.100s", kv->option, word, key,
                         word);
    }
    return error_set(err, "%s: '%.100s' has no value; write %.100s=VALUE", kv->option, word, word);
}

bool kv_parse(struct kv *kv, const char *option, const char *text, const struct kv_rules *rules, struct error *err)
{
    kv->option = option;
    kv->type = NULL;
    kv->count = 0;
    kv->used = 0;
    const char *p = text;
    if (*p == '\0') {
        return error_set(err, "%s: the value is empty; see weft run --help for what it takes", option);
    }
    for (;;) {
        size_t n = strcspn(p, "=,");
        bool ok;
        if (p[n] == '=') {
            char *key = keep(kv, p, n);
            p += n + 1;
            char *value = keep_value(kv, &p);
            if (n == 0) {
                return error_set(err, "%s: '=' has no key before it; write KEY=VALUE", option);
            }
            ok = add(kv, key, value, err);
        } else {
            char *word = keep_value(kv, &p);
            ok = word ? bare_item(kv, word, rules, err) : add(kv, NULL, NULL, err);
        }
        if (!ok) {
            return false;
        }
        if (*p == '\0') {
            break;
        }
        p++;
    }
    if (rules->implied) {
        kv->type = kv_get(kv, rules->implied);
    }
    return !rules->keys || kv_check_keys(kv, rules->keys, err);
}

/* One JSON value as the text that the other form would have. */
static bool add_json(struct kv *kv, const char *key, const json_t *v, struct error *err)
{
    char number[32];
    const char *text;
    if (json_is_string(v)) {
        text = json_string_value(v);
    } else if (json_is_boolean(v)) {
        text = json_is_true(v) ? "on" : "off";
    } else if (json_is_integer(v)) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        text = number;
    } else {
        return error_set(err, "%s: the value of \"%.100s\" is no string, number, true or false; write one of these",
                         kv->option, key);
    }
    return add(kv, keep(kv, key, strlen(key)), keep(kv, text, strlen(text)), err);
}

static bool add_json_object(struct kv *kv, json_t *root, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (!json_is_array(value)) {
            if (!add_json(kv, key, value, err)) {
                return false;
            }
            continue;
        }
        size_t i;
        json_t *element;
        json_array_foreach(value, i, element)
        {
            if (!add_json(kv, key, element, err)) {
                return false;
            }
        }
    }
    return true;
}

bool kv_parse_json(struct kv *kv, const char *option, const char *text, struct error *err)
{
    kv->option = option;
    kv->type = NULL;
    kv->count = 0;
    kv->used = 0;
    json_error_t why;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!root) {
        return error_set(err, "%s %.100s: that is no JSON object: %s at byte %d; write {\"key\": value, ...}", option,
                         text, why.text, why.position);
    }
    bool ok = json_is_object(root) ? add_json_object(kv, root, err)
                                   : error_set(err, "%s %.100s: that is no JSON object; write {...}", option, text);
    json_decref(root);
    return ok;
}

bool kv_check_keys(const struct kv *kv, const char *const *keys, struct error *err)
{
    for (unsigned i = 0; i < kv->count; i++) {
        const char *key = kv->item[i].key;
        if (in_list(key, keys)) {
            continue;
        }
        const char *near = kv_nearest(key, keys);
        const char *type = kv->type ? kv->type : "";
        if (near) {
            return error_set(err, "%s %.64s: there is no key '%.100s'; did you mean %s=?", kv->option, type, key, near);
        }
        char all[512] = "";
        for (size_t n = 0; *keys && n < sizeof(all); keys++) {
            n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n ? ", " : "", *keys);
        }
        return error_set(err, "%s %.64s: there is no key '%.100s'; it takes %s", kv->option, type, key, all);
    }
    return true;
}

const char *kv_get(const struct kv *kv, const char *key)
{
    for (unsigned i = kv->count; i-- > 0;) {
        if (strcmp(kv->item[i].key, key) == 0) {
            return kv->item[i].value;
        }
    }
    return NULL;
}

/* "-numa node," or "-smp ": how a sentence about one key begins. */
static const char *prefix(const struct kv *kv, char *buf, size_t size)
{
    snprintf(buf, size, "%s %.64s%s", kv->option, kv->type ? kv->type : "", kv->type ? "," : "");
    return buf;
}

static bool bad(const struct kv *kv, const char *key, const char *value, struct error *err, const char *why)
{
    char buf[128];
    if (value == kv->type) {
        return error_set(err, "%s %.200s: %s", kv->option, value, why);
    }
    return error_set(err, "%s%s=%.200s: %s", prefix(kv, buf, sizeof(buf)), key, value, why);
}

bool kv_need(const struct kv *kv, const char *key, const char *example, struct error *err)
{
    const char *value = kv_get(kv, key);
    if (value && *value) {
        return true;
    }
    char buf[128];
    return error_set(err, "%s%s= is missing; add %s=%s", prefix(kv, buf, sizeof(buf)), key, key, example);
}

bool kv_string(const struct kv *kv, const char *key, char *out, size_t size, struct error *err)
{
    const char *value = kv_get(kv, key);
    if (!value) {
        return true;
    }
    size_t n = strlen(value);
    if (n >= size) {
        char why[64];
        snprintf(why, sizeof(why), "%zu bytes are too many; use at most %zu", n, size - 1);
        return bad(kv, key, value, err, why);
    }
    memcpy(out, value, n + 1);
    return true;
}

/* A whole decimal or 0x number; false when it is none or does not fit. */
static bool parse_u64(const char *text, uint64_t *out)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, hex ? 16 : 10);
    if (errno || *end) {
        return false;
    }
    *out = v;
    return true;
}

bool kv_parse_decimal(const char *text, unsigned min, unsigned max, unsigned *out)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10); /* the greatest there is where it does not fit */
    if (!isdigit((unsigned char)*text) || *end || v < min || v > max) {
        return false;
    }
    *out = (unsigned)v;
    return true;
}

bool kv_unsigned(const struct kv *kv, const char *key, unsigned min, unsigned max, unsigned *out, struct error *err)
{
    const char *value = kv_get(kv, key);
    if (!value) {
        return true;
    }
    uint64_t v;
    if (!parse_u64(value, &v) || v < min || v > max) {
        char why[96];
        snprintf(why, sizeof(why), "that is no number from %u to %u; give one", min, max);
        return bad(kv, key, value, err, why);
    }
    *out = (unsigned)v;
    return true;
}

bool kv_u64(const struct kv *kv, const char *key, uint64_t *out, struct error *err)
{
    const char *value = kv_get(kv, key);
    return !value || parse_u64(value, out) || bad(kv, key, value, err, "that is no whole number below 2^64; give one");
}

bool kv_bool(const struct kv *kv, const char *key, bool *out, struct error *err)
{
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "n", "y"};
    const char *value = kv_get(kv, key);
    if (!value) {
        return true;
    }
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i % 2 != 0;
            return true;
        }
    }
    return bad(kv, key, value, err, "that is neither on nor off; write one of these");
}

/* log2 of the bytes that a suffix stands for, or -1. */
static int suffix_shift(char c)
{
    const char *const letters = "bkmgtpe";
    const char *at = c ? strchr(letters, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - letters) * 10 : -1;
}

const char *kv_parse_size(const char *text, uint64_t unit, uint64_t *out)
{
    static const char *const form = "that is no size; write a number with K, M, G or T behind it";
    char *end;
    double fraction = 0;
    if (!isdigit((unsigned char)text[0])) {
        return form;
    }
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    errno = 0;
    unsigned long long v = strtoull(text, &end, hex ? 16 : 10);
    if (errno) {
        return "that is more than 64 bits hold; give a smaller size";
    }
    if (*end == '.' && !hex) {
        double scale = 0.1;
        for (end++; isdigit((unsigned char)*end); end++, scale /= 10) {
            fraction += (*end - '0') * scale;
        }
    }
    if (*end && !hex) {
        int shift = suffix_shift(*end);
        if (shift < 0 || end[1]) {
            return form;
        }
        unit = 1ull << shift;
    } else if (*end) {
        return form;
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(v, unit, &bytes) ||
        __builtin_add_overflow(bytes, (uint64_t)(fraction * (double)unit), out)) {
        return "that is more than 64 bits hold; give a smaller size";
    }
    return NULL;
}

bool kv_size(const struct kv *kv, const char *key, uint64_t unit, uint64_t *out, struct error *err)
{
    const char *value = kv_get(kv, key);
    const char *why = value ? kv_parse_size(value, unit, out) : NULL;
    return !why || bad(kv, key, value, err, why);
}

bool kv_enum(const struct kv *kv, const char *key, const char *const *names, int *out, struct error *err)
{
    const char *value = kv_get(kv, key);
    if (!value) {
        return true;
    }
    for (int i = 0; names[i]; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    char why[256];
    size_t n = (size_t)snprintf(why, sizeof(why), "there is no such choice; give ");
    for (int i = 0; names[i] && n < sizeof(why); i++) {
        n += (size_t)snprintf(why + n, sizeof(why) - n, "%s%s", i == 0 ? "" : names[i + 1] ? ", " : " or ", names[i]);
    }
    return bad(kv, key, value, err, why);
}

bool kv_bitmap(const struct kv *kv, const char *key, unsigned limit, struct bitmap *out, struct error *err)
{
    for (unsigned i = 0; i < kv->count; i++) {
        if (strcmp(kv->item[i].key, key) != 0) {
            continue;
        }
        struct bitmap part;
        if (!bitmap_parse(&part, kv->item[i].value, limit)) {
            char why[96];
            snprintf(why, sizeof(why), "that is no list of numbers from 0 to %u; write it like 0-3", limit - 1);
            return bad(kv, key, kv->item[i].value, err, why);
        }
        for (unsigned w = 0; w < BITMAP_BITS / 64; w++) {
            out->w[w] |= part.w[w];
        }
    }
    return true;
}

enum { WORD_MAX = 31 };

/* Edit distance of two short words; a swap of neighbours counts once. */
static unsigned edits(const char *a, const char *b)
{
    unsigned d[WORD_MAX + 1][WORD_MAX + 1];
    unsigned n = (unsigned)strlen(a), m = (unsigned)strlen(b);
    if (n > WORD_MAX || m > WORD_MAX) {
        return UINT_MAX;
    }
    for (unsigned i = 0; i <= n; i++) {
        for (unsigned j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            unsigned best = d[i - 1][j - 1] + !same;
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *kv_nearest(const char *word, const char *const *list)
{
    const char *best = NULL;
    unsigned length = (unsigned)strlen(word);
    unsigned limit = length <= 3 ? 1 : length <= 6 ? 2 : 3;
    for (; *list; list++) {
        unsigned d = edits(word, *list);
        if (d <= limit && d < strlen(*list)) {
            best = *list;
            limit = d == 0 ? 0 : d - 1;
            if (d == 0) {
                break;
            }
        }
    }
    return best;
}
