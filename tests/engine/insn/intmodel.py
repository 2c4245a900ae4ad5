"""The integer instructions as functions of their operands (RISC-V unprivileged specification), on Python's integers."""

M64 = (1 << 64) - 1
M32 = (1 << 32) - 1


def s64(v):
    """Signed 64-bit reading."""
    v &= M64
    return v - (1 << 64) if v >> 63 else v


def s32(v):
    """Signed 32-bit reading."""
    v &= M32
    return v - (1 << 32) if v >> 31 else v


def divide(a, b, bits):
    """div: towards zero; by zero -1; overflow wraps."""
    if b == 0:
        return -1
    q = abs(a) // abs(b)
    q = -q if (a < 0) != (b < 0) else q
    return q if q < 1 << (bits - 1) else a


def remainder(a, b, bits):
    """rem: the dividend's sign."""
    if b == 0:
        return a
    if b == -1:
        return 0
    r = abs(a) % abs(b)
    return -r if a < 0 else r


def leading(v, bits):
    """clz"""
    return bits - (v & ((1 << bits) - 1)).bit_length()


def trailing(v, bits):
    """ctz"""
    v &= (1 << bits) - 1
    return (v & -v).bit_length() - 1 if v else bits


def rotate_right(v, n, bits):
    """ror"""
    v &= (1 << bits) - 1
    n %= bits
    return (v >> n | v << (bits - n)) & ((1 << bits) - 1)


def bytes_of(v):
    """Little-endian bytes."""
    return (v & M64).to_bytes(8, "little")


# Two operands: a, b are unsigned 64-bit; the result is cut to 64 bits.
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "sll": lambda a, b: a << (b & 63),
    "slt": lambda a, b: int(s64(a) < s64(b)),
    "sltu": lambda a, b: int(a < b),
    "xor": lambda a, b: a ^ b,
    "srl": lambda a, b: a >> (b & 63),
    "sra": lambda a, b: s64(a) >> (b & 63),
    "or": lambda a, b: a | b,
    "and": lambda a, b: a & b,
    "addw": lambda a, b: s32(a + b),
    "subw": lambda a, b: s32(a - b),
    "sllw": lambda a, b: s32(a << (b & 31)),
    "srlw": lambda a, b: s32((a & M32) >> (b & 31)),
    "sraw": lambda a, b: s32(a) >> (b & 31),
    "mul": lambda a, b: a * b,
    "mulh": lambda a, b: s64(a) * s64(b) >> 64,
    "mulhsu": lambda a, b: s64(a) * b >> 64,
    "mulhu": lambda a, b: a * b >> 64,
    "div": lambda a, b: divide(s64(a), s64(b), 64),
    "divu": lambda a, b: a // b if b else M64,
    "rem": lambda a, b: remainder(s64(a), s64(b), 64),
    "remu": lambda a, b: a % b if b else a,
    "mulw": lambda a, b: s32(a * b),
    "divw": lambda a, b: s32(divide(s32(a), s32(b), 32)),
    "divuw": lambda a, b: s32((a & M32) // (b & M32)) if b & M32 else -1,
    "remw": lambda a, b: s32(remainder(s32(a), s32(b), 32)),
    "remuw": lambda a, b: s32((a & M32) % (b & M32)) if b & M32 else s32(a),
    "add.uw": lambda a, b: (a & M32) + b,
    "sh1add": lambda a, b: (a << 1) + b,
    "sh2add": lambda a, b: (a << 2) + b,
    "sh3add": lambda a, b: (a << 3) + b,
    "sh1add.uw": lambda a, b: ((a & M32) << 1) + b,
    "sh2add.uw": lambda a, b: ((a & M32) << 2) + b,
    "sh3add.uw": lambda a, b: ((a & M32) << 3) + b,
    "andn": lambda a, b: a & ~b,
    "orn": lambda a, b: a | ~b,
    "xnor": lambda a, b: ~(a ^ b),
    "min": lambda a, b: min(s64(a), s64(b)),
    "minu": min,
    "max": lambda a, b: max(s64(a), s64(b)),
    "maxu": max,
    "rol": lambda a, b: rotate_right(a, -b & 63, 64),
    "ror": lambda a, b: rotate_right(a, b & 63, 64),
    "rolw": lambda a, b: s32(rotate_right(a, -b & 31, 32)),
    "rorw": lambda a, b: s32(rotate_right(a, b & 31, 32)),
    "bclr": lambda a, b: a & ~(1 << (b & 63)),
    "bext": lambda a, b: a >> (b & 63) & 1,
    "binv": lambda a, b: a ^ 1 << (b & 63),
    "bset": lambda a, b: a | 1 << (b & 63),
    "czero.eqz": lambda a, b: a if b else 0,
    "czero.nez": lambda a, b: 0 if b else a,
}

UNARY = {
    "clz": lambda a: leading(a, 64),
    "ctz": lambda a: trailing(a, 64),
    "cpop": lambda a: bin(a).count("1"),
    "clzw": lambda a: leading(a, 32),
    "ctzw": lambda a: trailing(a, 32),
    "cpopw": lambda a: bin(a & M32).count("1"),
    "sext.b": lambda a: (a & 0xff ^ 0x80) - 0x80,
    "sext.h": lambda a: (a & 0xffff ^ 0x8000) - 0x8000,
    "zext.h": lambda a: a & 0xffff,
    "orc.b": lambda a: int.from_bytes(bytes(0xff if x else 0 for x in bytes_of(a)), "little"),
    "rev8": lambda a: int.from_bytes(bytes_of(a), "big"),
}

# Immediate forms: the register form's function, with the immediate for b.
IMMEDIATE = {"addi": "add", "slti": "slt", "sltiu": "sltu", "xori": "xor", "ori": "or", "andi": "and", "addiw": "addw"}
SHIFT = {"slli": ("sll", 64), "srli": ("srl", 64), "srai": ("sra", 64), "slliw": ("sllw", 32), "srliw": ("srlw", 32),
         "sraiw": ("sraw", 32), "rori": ("ror", 64), "roriw": ("rorw", 32), "bclri": ("bclr", 64),
         "bexti": ("bext", 64), "binvi": ("binv", 64), "bseti": ("bset", 64)}
SHIFT_UW = {"slli.uw": lambda a, n: (a & M32) << n}

BRANCH = {
    "beq": lambda a, b: a == b,
    "bne": lambda a, b: a != b,
    "blt": lambda a, b: s64(a) < s64(b),
    "bge": lambda a, b: s64(a) >= s64(b),
    "bltu": lambda a, b: a < b,
    "bgeu": lambda a, b: a >= b,
}

# (bytes, sign-extending)
LOAD = {"lb": (1, True), "lh": (2, True), "lw": (4, True), "ld": (8, True), "lbu": (1, False), "lhu": (2, False),
        "lwu": (4, False)}
STORE = {"sb": 1, "sh": 2, "sw": 4, "sd": 8}

AMO = {
    "amoswap": lambda m, v, bits: v,
    "amoadd": lambda m, v, bits: m + v,
    "amoxor": lambda m, v, bits: m ^ v,
    "amoand": lambda m, v, bits: m & v,
    "amoor": lambda m, v, bits: m | v,
    "amomin": lambda m, v, bits: min(m, v, key=lambda x: x - (x >> (bits - 1) << bits)),
    "amomax": lambda m, v, bits: max(m, v, key=lambda x: x - (x >> (bits - 1) << bits)),
    "amominu": lambda m, v, bits: min(m, v),
    "amomaxu": lambda m, v, bits: max(m, v),
}
