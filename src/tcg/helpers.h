/*
 * What generated code calls. The *_fast functions are compiled without vector registers (the guest's FPRs are live in
 * them) and take no lock; ok = 0 sends the caller to the full form, which may raise a trap and not return.
 */
#ifndef WEFT_TCG_HELPERS_H
#define WEFT_TCG_HELPERS_H

#include "tcg/interp.h"
#include "tcg/translate.h"

enum tcg_exit tcg_exit_of(enum interp_result r);

struct value_ok tcg_load_fast_u8(struct cpu *cpu, gva_t va);
struct value_ok tcg_load_fast_s8(struct cpu *cpu, gva_t va);
struct value_ok tcg_load_fast_u16(struct cpu *cpu, gva_t va);
struct value_ok tcg_load_fast_s16(struct cpu *cpu, gva_t va);
struct value_ok tcg_load_fast_u32(struct cpu *cpu, gva_t va);
struct value_ok tcg_load_fast_s32(struct cpu *cpu, gva_t va);
struct value_ok tcg_load_fast_64(struct cpu *cpu, gva_t va);
struct value_ok tcg_store_fast_8(struct cpu *cpu, gva_t va, uint64_t value);
struct value_ok tcg_store_fast_16(struct cpu *cpu, gva_t va, uint64_t value);
struct value_ok tcg_store_fast_32(struct cpu *cpu, gva_t va, uint64_t value);
struct value_ok tcg_store_fast_64(struct cpu *cpu, gva_t va, uint64_t value);

uint64_t tcg_load_u8(struct cpu *cpu, gva_t va, uint32_t info);
uint64_t tcg_load_s8(struct cpu *cpu, gva_t va, uint32_t info);
uint64_t tcg_load_u16(struct cpu *cpu, gva_t va, uint32_t info);
uint64_t tcg_load_s16(struct cpu *cpu, gva_t va, uint32_t info);
uint64_t tcg_load_u32(struct cpu *cpu, gva_t va, uint32_t info);
uint64_t tcg_load_s32(struct cpu *cpu, gva_t va, uint32_t info);
uint64_t tcg_load_64(struct cpu *cpu, gva_t va, uint32_t info);
void tcg_store_8(struct cpu *cpu, gva_t va, uint32_t info, uint64_t value);
void tcg_store_16(struct cpu *cpu, gva_t va, uint32_t info, uint64_t value);
void tcg_store_32(struct cpu *cpu, gva_t va, uint32_t info, uint64_t value);
void tcg_store_64(struct cpu *cpu, gva_t va, uint32_t info, uint64_t value);

/* The host address of va, where the first level admits the range round it (GROUP_ARG), or 0: it is to be accessed one
 * by one. May take the first access's fault. */
struct value_ok tcg_group_fast_read(struct cpu *cpu, gva_t va, uint64_t arg);
struct value_ok tcg_group_fast_write(struct cpu *cpu, gva_t va, uint64_t arg);
uint64_t tcg_group_read(struct cpu *cpu, gva_t va, uint32_t info, uint64_t arg);
uint64_t tcg_group_write(struct cpu *cpu, gva_t va, uint32_t info, uint64_t arg);

/* What a light call answers; anything above is the code to go on with. */
enum { LIGHT_DONE, LIGHT_FULL, LIGHT_EXIT };
void *tcg_light_insn(struct cpu *cpu, const struct insn *in, uint32_t info);
/* -d exec, -d cpu. While one is on, no block leads to another by itself. */
#define TRACING (LOG_EXEC | LOG_CPU)
void tcg_trace(const struct cpu *cpu);
void tcg_interp_insn(struct cpu *cpu, const struct insn *in, uint32_t info);

#endif
