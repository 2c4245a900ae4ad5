"""IEEE 754 arithmetic as RISC-V defines it (unprivileged specification, chapters F and D), on exact fractions.

Nothing here knows how weft computes: values are rationals, rounding is done once, from the definition."""

from fractions import Fraction
from math import isqrt

NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
RNE, RTZ, RDN, RUP, RMM = range(5)


class Format:
    """A binary interchange format."""

    def __init__(self, bits, exponent, fraction):
        self.bits, self.ebits, self.fbits = bits, exponent, fraction
        self.bias = (1 << (exponent - 1)) - 1
        self.emin, self.emax = 1 - self.bias, self.bias
        self.sign_bit = 1 << (bits - 1)
        self.inf = ((1 << exponent) - 1) << fraction
        self.nan = self.inf | 1 << (fraction - 1)
        self.max = self.inf - 1

    def is_nan(self, b):
        """Any NaN."""
        return (b & ~self.sign_bit) > self.inf

    def is_signaling(self, b):
        """A NaN whose quiet bit is clear."""
        return self.is_nan(b) and not b >> (self.fbits - 1) & 1

    def is_inf(self, b):
        """Either infinity."""
        return (b & ~self.sign_bit) == self.inf

    def sign(self, b):
        """1 for minus."""
        return b >> (self.bits - 1)

    def value(self, b):
        """The exact value of a finite number."""
        e = b >> self.fbits & ((1 << self.ebits) - 1)
        f = b & ((1 << self.fbits) - 1)
        if e:
            f |= 1 << self.fbits
        else:
            e = 1
        v = Fraction(f) * Fraction(2) ** (e - self.bias - self.fbits)
        return -v if self.sign(b) else v

    def is_zero(self, b):
        """Either zero."""
        return (b & ~self.sign_bit) == 0


S, D = Format(32, 8, 23), Format(64, 11, 52)


def floor_log2(v):
    """The exponent of the leading bit of v > 0."""
    e = v.numerator.bit_length() - v.denominator.bit_length()
    return e if Fraction(2) ** e <= v else e - 1


def round_integer(v, sign, rm):
    """(v >= 0 rounded to an integer, whether that changed it)."""
    n = v.numerator // v.denominator
    rest = v - n
    if rest:
        half = Fraction(1, 2)
        up = {RNE: rest > half or (rest == half and n & 1), RTZ: False, RDN: sign, RUP: not sign,
              RMM: rest >= half}[rm]
        n += bool(up)
    return n, bool(rest)


def round_to(fmt, sign, v, rm):
    """Encodes the positive rational v with a sign: (bits, flags)."""
    signed = fmt.sign_bit if sign else 0
    e = floor_log2(v)
    unbounded, _ = round_integer(v / Fraction(2) ** (e - fmt.fbits), sign, rm)
    tiny = unbounded * Fraction(2) ** (e - fmt.fbits) < Fraction(2) ** fmt.emin
    q = max(e, fmt.emin) - fmt.fbits
    n, inexact = round_integer(v / Fraction(2) ** q, sign, rm)
    if n * Fraction(2) ** q >= Fraction(2) ** (fmt.emax + 1):
        to_inf = rm in (RNE, RMM) or (rm == RDN and sign) or (rm == RUP and not sign)
        return signed | (fmt.inf if to_inf else fmt.max), OF | NX
    flags = (NX if inexact else 0) | (UF if inexact and tiny else 0)
    if n < 1 << fmt.fbits:
        return signed | n, flags
    shift = n.bit_length() - 1 - fmt.fbits
    n >>= shift
    q += shift
    return signed | (q + fmt.fbits + fmt.bias) << fmt.fbits | (n & ((1 << fmt.fbits) - 1)), flags


def rounded(fmt, v, rm, zero_sign):
    """Encodes a rational; zero gets zero_sign."""
    if v == 0:
        return (fmt.sign_bit if zero_sign else 0), 0
    return round_to(fmt, int(v < 0), abs(v), rm)


def nan_result(fmt, *operands):
    """What any arithmetic gives with a NaN among its operands."""
    return fmt.nan, NV if any(fmt.is_signaling(x) for x in operands) else 0


def add(fmt, a, b, rm):
    """fadd"""
    return fma_terms(fmt, a, b, rm)


def fma_terms(fmt, a, b, rm):
    """a + b for encodings."""
    if fmt.is_nan(a) or fmt.is_nan(b):
        return nan_result(fmt, a, b)
    if fmt.is_inf(a):
        return (fmt.nan, NV) if fmt.is_inf(b) and a != b else (a, 0)
    if fmt.is_inf(b):
        return b, 0
    same = fmt.sign(a) if fmt.sign(a) == fmt.sign(b) else int(rm == RDN)
    return rounded(fmt, fmt.value(a) + fmt.value(b), rm, same)


def sub(fmt, a, b, rm):
    """fsub"""
    if fmt.is_nan(b):
        return nan_result(fmt, a, b)
    return add(fmt, a, b ^ fmt.sign_bit, rm)


def mul(fmt, a, b, rm):
    """fmul"""
    if fmt.is_nan(a) or fmt.is_nan(b):
        return nan_result(fmt, a, b)
    sign = fmt.sign(a) ^ fmt.sign(b)
    if fmt.is_inf(a) or fmt.is_inf(b):
        if fmt.is_zero(a) or fmt.is_zero(b):
            return fmt.nan, NV
        return (fmt.sign_bit if sign else 0) | fmt.inf, 0
    return rounded(fmt, fmt.value(a) * fmt.value(b), rm, sign)


def div(fmt, a, b, rm):
    """fdiv"""
    if fmt.is_nan(a) or fmt.is_nan(b):
        return nan_result(fmt, a, b)
    sign = fmt.sign_bit if fmt.sign(a) ^ fmt.sign(b) else 0
    if fmt.is_inf(a):
        return (fmt.nan, NV) if fmt.is_inf(b) else (sign | fmt.inf, 0)
    if fmt.is_inf(b):
        return sign, 0
    if fmt.is_zero(b):
        return (fmt.nan, NV) if fmt.is_zero(a) else (sign | fmt.inf, DZ)
    return rounded(fmt, fmt.value(a) / fmt.value(b), rm, sign)


def sqrt(fmt, a, rm):
    """fsqrt"""
    if fmt.is_nan(a):
        return nan_result(fmt, a)
    if fmt.is_zero(a):
        return a, 0
    if fmt.sign(a):
        return fmt.nan, NV
    if fmt.is_inf(a):
        return a, 0
    v, k = fmt.value(a), 1200
    n = v.numerator * 4 ** k // v.denominator  # exact: the denominator is a power of two below 4^k
    r = isqrt(n)
    # Between two integers the root is neither a representable number nor a tie: any value there rounds alike.
    root = Fraction(r if r * r == n else 2 * r + 1, 1 if r * r == n else 2) / 2 ** k
    return round_to(fmt, 0, root, rm)


def fma(fmt, a, b, c, rm, negate_product=False, negate_c=False):
    """(+-)(a * b) (+-) c, rounded once."""
    bad_product = (fmt.is_inf(a) and fmt.is_zero(b)) or (fmt.is_zero(a) and fmt.is_inf(b))
    if fmt.is_nan(a) or fmt.is_nan(b) or fmt.is_nan(c):
        bits, flags = nan_result(fmt, a, b, c)
        return bits, flags | (NV if bad_product else 0)
    if bad_product:
        return fmt.nan, NV
    sign = fmt.sign(a) ^ fmt.sign(b) ^ int(negate_product)
    c ^= fmt.sign_bit if negate_c else 0
    if fmt.is_inf(a) or fmt.is_inf(b):
        if fmt.is_inf(c) and fmt.sign(c) != sign:
            return fmt.nan, NV
        return (fmt.sign_bit if sign else 0) | fmt.inf, 0
    if fmt.is_inf(c):
        return c, 0
    product = fmt.value(a) * fmt.value(b) * (-1 if negate_product else 1)
    zero_sign = sign if sign == fmt.sign(c) else int(rm == RDN)
    return rounded(fmt, product + fmt.value(c), rm, zero_sign)


def minmax(fmt, a, b, want_max):
    """fmin and fmax: the number wins over a NaN, -0 is below +0."""
    flags = NV if fmt.is_signaling(a) or fmt.is_signaling(b) else 0
    if fmt.is_nan(a) and fmt.is_nan(b):
        return fmt.nan, flags
    if fmt.is_nan(a):
        return b, flags
    if fmt.is_nan(b):
        return a, flags

    def order(x):
        return -(x & ~fmt.sign_bit) - 1 if fmt.sign(x) else x
    first = order(a) < order(b)
    return (b if first == want_max else a), flags


def compare(fmt, a, b, kind):
    """feq, flt, fle: (0 or 1, flags)."""
    if fmt.is_nan(a) or fmt.is_nan(b):
        loud = kind != "eq" or fmt.is_signaling(a) or fmt.is_signaling(b)
        return 0, NV if loud else 0
    x = fmt.value(a) if not fmt.is_inf(a) else Fraction(2) ** 5000 * (-1 if fmt.sign(a) else 1)
    y = fmt.value(b) if not fmt.is_inf(b) else Fraction(2) ** 5000 * (-1 if fmt.sign(b) else 1)
    return int({"eq": x == y, "lt": x < y, "le": x <= y}[kind]), 0


def classify(fmt, a):
    """fclass"""
    if fmt.is_nan(a):
        return 1 << (8 if fmt.is_signaling(a) else 9)
    neg, mag = fmt.sign(a), a & ~fmt.sign_bit
    n = 0 if mag == fmt.inf else 1 if mag >> fmt.fbits else 2 if mag else 3
    return 1 << (n if neg else 7 - n)


def to_int(fmt, a, rm, bits, signed):
    """fcvt to an integer: (value, flags)."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if fmt.is_nan(a):
        return high, NV
    if fmt.is_inf(a):
        return (low if fmt.sign(a) else high), NV
    n, inexact = round_integer(abs(fmt.value(a)), fmt.sign(a), rm)
    n = -n if fmt.sign(a) else n
    if n < low or n > high:
        return (low if n < low else high), NV
    return n, NX if inexact else 0


def from_int(fmt, n, rm):
    """fcvt from an integer."""
    return rounded(fmt, Fraction(n), rm, 0)


def convert(to, fmt, a, rm):
    """fcvt between formats."""
    if fmt.is_nan(a):
        return to.nan, NV if fmt.is_signaling(a) else 0
    sign = to.sign_bit if fmt.sign(a) else 0
    if fmt.is_inf(a):
        return sign | to.inf, 0
    return rounded(to, fmt.value(a), rm, fmt.sign(a))
