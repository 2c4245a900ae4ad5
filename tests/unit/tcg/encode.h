/* The inverse of insn_decode for 32-bit forms, written from the formats of the specification. */
#ifndef WEFT_TEST_TCG_ENCODE_H
#define WEFT_TEST_TCG_ENCODE_H

#include "tcg/decode.h"

uint32_t encode(const struct insn *in);
/* A word that the row matches, its free bits random but legal (no reserved rounding mode). */
uint32_t random_word(enum op op);
uint64_t random64(void);

#endif
