"""Tests of the F and D rows: results and flags over special and random operands, in every rounding mode."""

import floatmodel as fm
from floatmodel import D, S

BOX = 0xffffffff << 32
MODES = ["rne", "rtz", "rdn", "rup", "rmm"]
# fd, fs1, fs2, fs3
QUADS = [("f10", "f11", "f12", "f13"), ("f20", "f21", "f22", "f23"), ("f10", "f10", "f11", "f12"),
         ("f10", "f11", "f10", "f12"), ("f10", "f11", "f12", "f10"), ("f20", "f20", "f21", "f10"),
         ("f10", "f20", "f11", "f21"), ("f20", "f10", "f21", "f11"), ("f0", "f1", "f2", "f3")]

SPECIAL_D = [0, 1 << 63, 0x7ff0 << 48, 0xfff0 << 48, 0x7ff8 << 48, 0x7ff0000000000001, 0xfff8000000000123,
             0xfff4000000000000, 1, (1 << 63) | 1, 0x000fffffffffffff, 0x0010000000000000, 0x8010000000000000,
             0x0010000000000001, 0x7fefffffffffffff, 0xffefffffffffffff, 0x3ff0 << 48, 0xbff0 << 48,
             0x3ff0000000000001, 0x3fefffffffffffff, 0x3fe0 << 48, 0x3ff8 << 48, 0x4004 << 48, 0x4008 << 48,
             0x41dfffffffc00000, 0x41e0 << 48, 0xc1e0 << 48, 0x41dfffffffe00000, 0xc1e0000000100000,
             0xc1e0000000200000, 0x41efffffffe00000, 0x41effffffff00000, 0x41f0 << 48, 0x43e0 << 48, 0xc3e0 << 48,
             0x43dfffffffffffff, 0xc3e0000000000001, 0x43f0 << 48, 0x43efffffffffffff, 0xbfe0 << 48, 0xbfefffffffffffff,
             0x47efffffe0000000, 0x47effffff0000000, 0x47efffffefffffff, 0x3810 << 48, 0x380fffffffffffff,
             0x380fffffe0000000, 0x36a0 << 48, 0x3690 << 48, 0x3690000000000001, 0x1ff0 << 48, 0x5ff0 << 48]
SPECIAL_S = [0, 1 << 31, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc00123, 0xffa00000, 1, 0x80000001,
             0x007fffff, 0x00800000, 0x80800000, 0x00800001, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0xbf800000,
             0x3f800001, 0x3f7fffff, 0x3f000000, 0x3fc00000, 0x40200000, 0x40400000, 0x4effffff, 0x4f000000, 0xcf000000,
             0xcf000001, 0x4f7fffff, 0x4f800000, 0x5effffff, 0x5f000000, 0xdf000000, 0xdf000001, 0x5f7fffff,
             0x5f800000, 0xbf000000, 0xbf7fffff, 0x1f800000, 0x5f000001]


class Floats:
    """Writes the tests of one precision."""

    def __init__(self, w, rng, fmt):
        self.w, self.rng, self.fmt = w, rng, fmt
        self.s = ".d" if fmt is D else ".s"
        self.covered = set()

    def number(self):
        """A random operand, often near others in exponent."""
        r = self.rng
        kind = r.randrange(8)
        if kind < 3:
            return r.choice(SPECIAL_D if self.fmt is D else SPECIAL_S)
        f = r.getrandbits(self.fmt.fbits)
        if kind == 3:
            f &= ~0 << (self.fmt.fbits - 3)
        e = self.fmt.bias + r.randrange(-4, 5) if kind < 6 else r.randrange(0, (1 << self.fmt.ebits) - 1)
        if kind == 7:
            e = r.choice([0, 1, 2, self.fmt.fbits, 2 * self.fmt.bias])
        return r.getrandbits(1) << (self.fmt.bits - 1) | e << self.fmt.fbits | f

    def register(self, bits):
        """What the FP register holds for it."""
        return bits if self.fmt is D else BOX | bits

    def operand(self):
        """(register contents, the number they mean): at times a single that is not boxed and so a NaN."""
        bits = self.number()
        if self.fmt is S and self.rng.randrange(12) == 0:
            return self.rng.choice([bits, (self.rng.getrandbits(32) & ~1) << 32 | bits]), S.nan
        return self.register(bits), bits

    def emit(self, name, rows, line, loads, result_int, target=None):
        """rows: (a, b, c, fcsr, result, flags). `loads`: (register, offset) in fs1, fs2, fs3 order."""
        body = [f"{'fld' if r[0] == 'f' else 'ld'} {r},{o}(x31)" for r, o in loads]
        body += ["ld x9,24(x31)", "fscsr x9", line, "frflags x9"]
        body += [f"mv x7,{target}" if result_int else f"fmv.x.d x7,{target}", "ld x6,40(x31)", "bne x9,x6,8f",
                 "mv x12,x7", "ld x4,32(x31)", "bne x7,x4,8f", "j 7f", "8: mv x12,x7", "slli x9,x9,56",
                 "xor x12,x12,x9", "j insn_fail", "7:"]
        self.w.test(name, rows, body + ["ld x4,32(x31)"], "x7", 32)

    def arithmetic(self, name, f, count, n):
        """fd = f(operands, rm): each static mode, and the dynamic one with every frm."""
        self.covered.add(name)
        for k, regs in enumerate(QUADS):
            mode = k % 6
            rows = []
            for _ in range(n):
                ops = [self.operand() for _ in range(count)]
                rm = mode if mode < 5 else self.rng.randrange(5)
                frm = self.rng.randrange(5) if mode < 5 else rm
                bits, flags = f(*[o[1] for o in ops], rm)
                sticky = self.rng.choice([0, 0, 0, 31])
                ops += [(0, 0)] * (3 - count)
                rows.append((ops[0][0], ops[1][0], ops[2][0], frm << 5 | sticky, self.register(bits), flags | sticky))
            suffix = f",{MODES[mode]}" if mode < 5 else ""
            used = [regs[0]] + list(regs[1:1 + count])
            loads = [(r, 8 * i) for i, r in enumerate(used[1:])]
            self.emit(f"{name} {','.join(used)}{suffix}", rows, f"{name} {','.join(used)}{suffix}", loads, False, regs[0])
        # The dynamic mode is what programs use: once more, over many operands, in registers of both kinds.
        for regs in (QUADS[0], QUADS[1], QUADS[2], QUADS[6]):
            rows = []
            for i in range(2 * n):
                ops = [self.operand() for _ in range(count)]
                bits, flags = f(*[o[1] for o in ops], i % 5)
                ops += [(0, 0)] * (3 - count)
                rows.append((ops[0][0], ops[1][0], ops[2][0], i % 5 << 5, self.register(bits), flags))
            used = [regs[0]] + list(regs[1:1 + count])
            loads = [(r, 8 * i) for i, r in enumerate(used[1:])]
            self.emit(f"{name} {','.join(used)}", rows, f"{name} {','.join(used)},dyn", loads, False, regs[0])

    def same_register(self, name, f, count, n):
        """All operands in one register."""
        for r in ("f10", "f20"):
            rows = []
            for i in range(n):
                o = self.operand()
                bits, flags = f(*[o[1]] * count, i % 5)
                rows.append((o[0], 0, 0, i % 5 << 5, self.register(bits), flags))
            regs = ",".join([r] * (count + 1))
            self.emit(f"{name} {regs}", rows, f"{name} {regs}", [(r, 0)], False, r)

    def plain(self, name, f, n):
        """fd = f(a, b) without rounding; (bits, flags)."""
        self.covered.add(name)
        for regs in QUADS:
            rows = []
            for _ in range(n):
                (ra, a), (rb, b) = self.operand(), self.operand()
                bits, flags = f(a, b)
                rows.append((ra, rb, 0, 0, self.register(bits), flags))
            used = regs[:3]
            self.emit(f"{name} {','.join(used)}", rows, f"{name} {','.join(used)}", [(used[1], 0), (used[2], 8)], False,
                      used[0])
        for r in ("f10", "f20"):
            rows = []
            for _ in range(n):
                ra, a = self.operand()
                bits, flags = f(a, a)
                rows.append((ra, 0, 0, 0, self.register(bits), flags))
            self.emit(f"{name} {r},{r},{r}", rows, f"{name} {r},{r},{r}", [(r, 0)], False, r)

    def comparisons(self):
        """feq, flt, fle, fclass."""
        for kind in ("eq", "lt", "le"):
            name = f"f{kind}{self.s}"
            self.covered.add(name)
            for rd, a, b in [("x10", "f10", "f11"), ("x28", "f20", "f21"), ("x10", "f20", "f10"), ("x28", "f10", "f20"),
                             ("x10", "f10", "f10")]:
                rows = []
                for _ in range(80):
                    (ra, va), (rb, vb) = self.operand(), self.operand()
                    if self.rng.randrange(4) == 0:
                        rb, vb = ra, va
                    r, flags = fm.compare(self.fmt, vb if a == b else va, vb, kind)
                    rows.append((ra, rb, 0, 0, r, flags))
                self.emit(f"{name} {rd},{a},{b}", rows, f"{name} {rd},{a},{b}", [(a, 0), (b, 8)], True, rd)
        name = f"fclass{self.s}"
        self.covered.add(name)
        for rd, a in [("x10", "f10"), ("x28", "f20")]:
            rows = [(r, 0, 0, 0, fm.classify(self.fmt, v), 0) for r, v in (self.operand() for _ in range(120))]
            self.emit(f"{name} {rd},{a}", rows, f"{name} {rd},{a}", [(a, 0)], True, rd)

    def conversions(self):
        """To and from integers, in every mode."""
        for t, bits, signed in (("w", 32, True), ("wu", 32, False), ("l", 64, True), ("lu", 64, False)):
            to, back = f"fcvt.{t}{self.s}", f"fcvt{self.s}.{t}"
            self.covered |= {to, back}
            for k in range(12):
                mode = k % 6
                rd, a = [("x10", "f10"), ("x28", "f20"), ("x10", "f20")][k % 3]
                rows, from_rows = [], []
                for i in range(60):
                    rm = mode if mode < 5 else i % 5
                    frm = self.rng.randrange(5) if mode < 5 else rm
                    reg, v = self.operand()
                    n, flags = fm.to_int(self.fmt, v, rm, bits, signed)
                    n = n - (1 << 32) if bits == 32 and n >= 1 << 31 else n
                    rows.append((reg, 0, 0, frm << 5, n & (1 << 64) - 1, flags))
                    x = self.rng.choice([0, 1, (1 << 64) - 1, 1 << 63, (1 << 63) - 1, 1 << 31, 0xffffffff, 1 << 53,
                                         (1 << 53) + 1, (1 << 24) + 1, (1 << 24) + 3, 0x7fffffffffffffbf,
                                         self.rng.getrandbits(64), self.rng.getrandbits(64) >> self.rng.randrange(64),
                                         self.rng.getrandbits(27), (1 << 64) - self.rng.getrandbits(30) - 1])
                    meant = x & ((1 << bits) - 1)
                    meant = meant - (1 << bits) if signed and meant >> (bits - 1) else meant
                    b, flags = fm.from_int(self.fmt, meant, rm)
                    from_rows.append((x, 0, 0, frm << 5, self.register(b), flags))
                suffix = f",{MODES[mode]}" if mode < 5 else ""
                self.emit(f"{to} {rd},{a}{suffix}", rows, f"{to} {rd},{a}{suffix or ',dyn'}", [(a, 0)], True, rd)
                exact = self.fmt is D and bits == 32
                line = f"{back} {a},{rd}" + ("" if exact else suffix or ",dyn")
                self.emit(line, from_rows, line, [(rd, 0)], False, a)

    def moves(self):
        """fmv, and FP loads and stores: bits as they are."""
        to, back = ("fmv.x.d", "fmv.d.x") if self.fmt is D else ("fmv.x.w", "fmv.w.x")
        load, store = ("fld", "fsd") if self.fmt is D else ("flw", "fsw")
        self.covered |= {to, back, load, store}
        self.w.reserve(f"fp_area{self.s[1]}", 8192)
        for x, f in [("x10", "f10"), ("x28", "f20"), ("x10", "f20"), ("x28", "f10")]:
            rows, back_rows, mem = [], [], []
            for i in range(40):
                v = self.rng.getrandbits(64)
                low = v & 0xffffffff
                extended = low - (1 << 32) & (1 << 64) - 1 if low >> 31 else low
                rows.append((v, 0, 0, 0, v if self.fmt is D else extended, 0))
                back_rows.append((v, 0, 0, 0, v if self.fmt is D else BOX | low, 0))
                at = [4096 - 8, 4096 - 3, 4096 - 1, 4096, 16, 17, 4096 - 4, 4096 - 7][i % 8]
                mem.append((v, f"fp_area{self.s[1]}+{at}", 0, 0, v if self.fmt is D else BOX | low, 0))
            self.emit(f"{to} {x},{f}", rows, f"{to} {x},{f}", [(f, 0)], True, x)
            self.emit(f"{back} {f},{x}", back_rows, f"{back} {f},{x}", [(x, 0)], False, f)
            other = "f11" if f == "f10" else "f21"
            self.emit(f"{store} {f},0({x}); {load} {other},0({x})", mem,
                      f"{store} {f},0({x}); {load} {other},0({x})", [(f, 0), (x, 8)], False, other)

    def write(self):
        """All of this precision."""
        fmt, s = self.fmt, self.s
        for name, f in (("fadd", fm.add), ("fsub", fm.sub), ("fmul", fm.mul), ("fdiv", fm.div)):
            self.arithmetic(name + s, lambda a, b, rm, f=f: f(fmt, a, b, rm), 2, 70)
            self.same_register(name + s, lambda a, b, rm, f=f: f(fmt, a, b, rm), 2, 40)
        self.arithmetic("fsqrt" + s, lambda a, rm: fm.sqrt(fmt, a, rm), 1, 40)
        for name, product, c in (("fmadd", False, False), ("fmsub", False, True), ("fnmsub", True, False),
                                 ("fnmadd", True, True)):
            self.arithmetic(name + s, lambda a, b, d, rm, p=product, c=c: fm.fma(fmt, a, b, d, rm, p, c), 3, 60)
        self.plain("fmin" + s, lambda a, b: fm.minmax(fmt, a, b, False), 60)
        self.plain("fmax" + s, lambda a, b: fm.minmax(fmt, a, b, True), 60)
        sign = fmt.sign_bit
        self.plain("fsgnj" + s, lambda a, b: (a & ~sign | b & sign, 0), 30)
        self.plain("fsgnjn" + s, lambda a, b: (a & ~sign | ~b & sign, 0), 30)
        self.plain("fsgnjx" + s, lambda a, b: (a ^ b & sign, 0), 30)
        self.comparisons()
        self.conversions()
        self.moves()


def widths(w, rng):
    """Between the precisions."""
    d, s = Floats(w, rng, D), Floats(w, rng, S)
    for k, (fd, fs) in enumerate([("f10", "f11"), ("f20", "f21"), ("f10", "f10"), ("f20", "f20"), ("f10", "f20"),
                                  ("f20", "f10")] * 2):
        mode = k % 6
        narrow, wide = [], []
        for i in range(60):
            rm = mode if mode < 5 else i % 5
            frm = rng.randrange(5) if mode < 5 else rm
            reg, v = d.operand()
            bits, flags = fm.convert(S, D, v, rm)
            narrow.append((reg, 0, 0, frm << 5, BOX | bits, flags))
            reg, v = s.operand()
            bits, flags = fm.convert(D, S, v, rm)
            wide.append((reg, 0, 0, frm << 5, bits, flags))
        suffix = f",{MODES[mode]}" if mode < 5 else ",dyn"
        d.emit(f"fcvt.s.d {fd},{fs}{suffix}", narrow, f"fcvt.s.d {fd},{fs}{suffix}", [(fs, 0)], False, fd)
        d.emit(f"fcvt.d.s {fd},{fs}", wide, f"fcvt.d.s {fd},{fs}", [(fs, 0)], False, fd)
    return {"fcvt.s.d", "fcvt.d.s"}


def write(w, rng):
    """Writes all; the rows covered."""
    covered = set()
    for fmt in (D, S):
        part = Floats(w, rng, fmt)
        part.write()
        covered |= part.covered
    return covered | widths(w, rng)
