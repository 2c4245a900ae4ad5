#include "weft/remote_access.h"

/* MIN and MAX have no host instruction: compare and swap until it holds. Sizes are 4 and 8 only (RISC-V AMOs). */
#define EXTREMUM(type, address, operand, better)                                                                       \
    ({                                                                                                                 \
        type old_ = __atomic_load_n((type *)(address), __ATOMIC_SEQ_CST), new_;                                        \
        do {                                                                                                           \
            new_ = (type)(operand)better old_ ? (type)(operand) : old_;                                                \
        } while (                                                                                                      \
            !__atomic_compare_exchange_n((type *)(address), &old_, new_, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));  \
        old_;                                                                                                          \
    })

#define ALL_SIZES(type)                                                                                                \
    static uint64_t access_##type(void *p, const struct msg_op *op)                                                    \
    {                                                                                                                  \
        type v = (type)op->value, expected = (type)op->expected;                                                       \
        switch (op->op) {                                                                                              \
        case REMOTE_LOAD:                                                                                              \
            return __atomic_load_n((type *)p, __ATOMIC_SEQ_CST);                                                       \
        case REMOTE_STORE:                                                                                             \
            __atomic_store_n((type *)p, v, __ATOMIC_SEQ_CST);                                                          \
            return 0;                                                                                                  \
        case REMOTE_CAS:                                                                                               \
            __atomic_compare_exchange_n((type *)p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);           \
            return expected;                                                                                           \
        case REMOTE_SWAP:                                                                                              \
            return __atomic_exchange_n((type *)p, v, __ATOMIC_SEQ_CST);                                                \
        case REMOTE_ADD:                                                                                               \
            return __atomic_fetch_add((type *)p, v, __ATOMIC_SEQ_CST);                                                 \
        case REMOTE_XOR:                                                                                               \
            return __atomic_fetch_xor((type *)p, v, __ATOMIC_SEQ_CST);                                                 \
        case REMOTE_AND:                                                                                               \
            return __atomic_fetch_and((type *)p, v, __ATOMIC_SEQ_CST);                                                 \
        case REMOTE_OR:                                                                                                \
            return __atomic_fetch_or((type *)p, v, __ATOMIC_SEQ_CST);                                                  \
        default:                                                                                                       \
            return 0;                                                                                                  \
        }                                                                                                              \
    }

ALL_SIZES(uint8_t)
ALL_SIZES(uint16_t)
ALL_SIZES(uint32_t)
ALL_SIZES(uint64_t)

static uint64_t extremum(void *p, const struct msg_op *op)
{
    bool wide = op->size == 8;
    switch (op->op) {
    case REMOTE_MIN:
        return wide ? (uint64_t)EXTREMUM(int64_t, p, op->value, <) : (uint32_t)EXTREMUM(int32_t, p, op->value, <);
    case REMOTE_MAX:
        return wide ? (uint64_t)EXTREMUM(int64_t, p, op->value, >) : (uint32_t)EXTREMUM(int32_t, p, op->value, >);
    case REMOTE_MINU:
        return wide ? EXTREMUM(uint64_t, p, op->value, <) : EXTREMUM(uint32_t, p, op->value, <);
    default:
        return wide ? EXTREMUM(uint64_t, p, op->value, >) : EXTREMUM(uint32_t, p, op->value, >);
    }
}

uint64_t remote_access(void *page, const struct msg_op *op)
{
    void *p = (uint8_t *)page + op->offset;
    if (op->op >= REMOTE_MIN && op->op <= REMOTE_MAXU) {
        return extremum(p, op);
    }
    switch (op->size) {
    case 1:
        return access_uint8_t(p, op);
    case 2:
        return access_uint16_t(p, op);
    case 4:
        return access_uint32_t(p, op);
    default:
        return access_uint64_t(p, op);
    }
}
