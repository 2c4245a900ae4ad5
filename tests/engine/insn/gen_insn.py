#!/usr/bin/env python3
"""Writes the assembly of the instruction tests: for each row of insn.def code that runs the instruction over a table of
operands in several registers, and the results that intmodel.py and floatmodel.py expect.

    gen_insn.py INSN.DEF OUTPUT.S

A row that no test covers is an error."""

import random
import re
import sys

import floattests
import intmodel as im
from writer import Writer

# Rows that priv.c tests.
PRIVILEGED = {"ecall", "ebreak", "sret", "mret", "wfi", "sfence.vma", "sinval.vma", "sfence.w.inval",
              "sfence.inval.ir", "wrs.nto", "wrs.sto", "cbo.inval", "cbo.clean", "cbo.flush", "cbo.zero", "pause",
              "fence.i"}

# rd, rs1, rs2: some of them live in host registers under the translator, some in memory; with overlaps of every kind.
TRIPLES = [("x10", "x11", "x12"), ("x10", "x10", "x11"), ("x10", "x11", "x10"), ("x28", "x29", "x30"),
           ("x28", "x28", "x29"), ("x28", "x29", "x28"), ("x10", "x28", "x11"), ("x10", "x11", "x28"),
           ("x28", "x10", "x8"), ("x8", "x28", "x29"), ("x2", "x9", "x13"), ("x15", "x2", "x14")]
PAIRS = [("x10", "x11"), ("x10", "x10"), ("x28", "x29"), ("x28", "x28"), ("x10", "x28"), ("x28", "x10"), ("x8", "x2"),
         ("x2", "x2")]

INTERESTING = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
               0x80000000, 0x80000001, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
               0x8000000000000001, 0xffffffff80000000, 0xffffffff7fffffff, 0xfffffffffffffffe, 0xffffffffffffffff,
               0x0123456789abcdef, 0xfedcba9876543210, 0x00ff00ff00ff00ff, 0x8040201008040201]


class Integers:
    """Tests of the integer rows."""

    def __init__(self, w, rng):
        self.w, self.rng = w, rng
        self.covered = set()

    def operands(self, n):
        """n values, telling ones first."""
        more = [self.rng.getrandbits(64) >> self.rng.randrange(64) for _ in range(max(0, n - len(INTERESTING)))]
        return self.rng.sample(INTERESTING, min(n, len(INTERESTING))) + more

    def pairs(self, n):
        """n operand pairs; all pairs of the most telling among them."""
        edge = [0, 1, im.M64, 1 << 63, (1 << 63) - 1, 1 << 31, 0xffffffff80000000]
        return [(a, b) for a in edge for b in edge] + list(zip(self.operands(n), self.operands(n)))

    def binary(self, name, f):
        """rd = f(rs1, rs2)."""
        self.covered.add(name)
        pairs = self.pairs(60)
        for rd, rs1, rs2 in TRIPLES + [("x10", "x11", "x11"), ("x28", "x28", "x28"), ("x10", "x10", "x10")]:
            rows = [(a, b, f(b if rs1 == rs2 else a, b) & im.M64) for a, b in pairs]
            self.w.test(f"{name} {rd},{rs1},{rs2}", rows, [f"ld {rs1},0(x31)", f"ld {rs2},8(x31)",
                        self.w.insn(name, rd, rs1, rs2)], rd, 16)
        for rd, rs1, rs2 in [("x10", "x0", "x11"), ("x10", "x11", "x0"), ("x28", "x29", "x0"), ("x28", "x0", "x29"),
                             ("x10", "x0", "x10"), ("x28", "x28", "x0"), ("x10", "x0", "x0")]:
            rows = [(a, a, f(0 if rs1 == "x0" else a, 0 if rs2 == "x0" else a) & im.M64) for a in self.operands(20)]
            loads = [f"ld {r},0(x31)" for r in {rs1, rs2} - {"x0"}]
            self.w.test(f"{name} {rd},{rs1},{rs2}", rows, sorted(loads) + [self.w.insn(name, rd, rs1, rs2)], rd, 16)
        rows = [(a, b, 0) for a, b in pairs[:8]]
        self.w.test(f"{name} x0", rows, ["ld x10,0(x31)", "ld x11,8(x31)", self.w.insn(name, "x0", "x10", "x11")],
                    "x0", 16)

    def unary(self, name, f):
        """rd = f(rs1)."""
        self.covered.add(name)
        for rd, rs1 in PAIRS:
            rows = [(a, f(a) & im.M64) for a in self.operands(60)]
            self.w.test(f"{name} {rd},{rs1}", rows, [f"ld {rs1},0(x31)", self.w.insn(name, rd, rs1)], rd, 8)

    def immediate(self, name, f, values):
        """rd = f(rs1, imm) for each of some immediates."""
        self.covered.add(name)
        for i, imm in enumerate(values):
            for rd, rs1 in (PAIRS[i % len(PAIRS)], PAIRS[(i + 2) % len(PAIRS)], ("x10", "x0")):
                rows = [(a, f(0 if rs1 == "x0" else a, imm) & im.M64) for a in self.operands(16)]
                load = [f"ld {rs1},0(x31)"] if rs1 != "x0" else []
                self.w.test(f"{name} {rd},{rs1},{imm}", rows, load + [f"{name} {rd},{rs1},{imm}"], rd, 8)

    def computation(self):
        """All of them."""
        for name, f in im.BINARY.items():
            self.binary(name, f)
        for name, f in im.UNARY.items():
            self.unary(name, f)
        imms = [0, 1, -1, 2, 31, 32, 127, 255, 256, 1023, 1024, 2047, -2048, -2047, -128]
        for name, base in im.IMMEDIATE.items():
            f = im.BINARY[base]
            self.immediate(name, lambda a, i, f=f: f(a, i & im.M64), imms)
        for name, (base, bits) in im.SHIFT.items():
            self.immediate(name, im.BINARY[base], [0, 1, 2, 7, 8, 15, 16, 31] + ([32, 33, 48, 63] if bits == 64 else []))
        for name, f in im.SHIFT_UW.items():
            self.immediate(name, f, [0, 1, 3, 31, 32, 33, 63])

    def upper(self):
        """lui and auipc."""
        self.covered |= {"lui", "auipc"}
        for imm in [0, 1, 2, 31, 32, 0x7ffff, 0x80000, 0x80001, 0xfffff, 0xfffe0, 0x12345]:
            value = im.s32(imm << 12) & im.M64
            for rd in ("x10", "x28", "x2"):
                self.w.test(f"lui {rd},{imm}", [(value,)], [f"lui {rd},{imm}"], rd, 0)
                here = self.w.label()
                self.w.test(f"auipc {rd},{imm}", [(0, value)], [f"la x5,{here}", "ld x6,8(x31)", "add x5,x5,x6",
                            f"{here}: auipc {rd},{imm}", f"sub {rd},{rd},x5"], rd, 0)

    def branches(self):
        """Conditional branches, forward and backward."""
        for name, f in im.BRANCH.items():
            self.covered.add(name)
            for rs1, rs2 in [("x10", "x11"), ("x28", "x29"), ("x10", "x28"), ("x28", "x10"), ("x10", "x0"),
                             ("x0", "x10"), ("x28", "x0"), ("x0", "x28"), ("x10", "x10"), ("x2", "x30")]:
                rows = []
                for a, b in self.pairs(30):
                    x, y = (0 if rs1 == "x0" else a), (0 if rs2 == "x0" else b)
                    rows.append((a, b, int(f(y if rs1 == rs2 else x, y))))
                taken, out, back = self.w.label(), self.w.label(), self.w.label()
                load = [f"ld {r},{8 * i}(x31)" for i, r in enumerate((rs1, rs2)) if r != "x0"]
                self.w.test(f"{name} {rs1},{rs2}", rows, load + ["li x7,0", f"{name} {rs1},{rs2},{taken}", f"j {out}",
                            f"{taken}: li x7,1", f"{out}:"], "x7", 16)
                taken, out = self.w.label(), self.w.label()
                self.w.test(f"{name} {rs1},{rs2} backward", rows, load + ["li x7,0", f"j {taken}", f"{back}: li x7,1",
                            f"j {out}", f"{taken}: {name} {rs1},{rs2},{back}", f"{out}:"], "x7", 16)

    def jumps(self):
        """jal and jalr: the target, the link, the cleared low bit."""
        self.covered |= {"jal", "jalr"}
        for rd in ("x10", "x28", "x5", "x0"):
            to, link = self.w.label(), self.w.label()
            check = [f"la x6,{link}", f"sub {rd},{rd},x6"] if rd != "x0" else []
            self.w.test(f"jal {rd}", [(0, 0)], [f"jal {rd},{to}", f"{link}: li {'x7' if rd == 'x0' else rd},99",
                        "j 9f", f"{to}: li x7,0"] + check + ["9:"], "x7" if rd == "x0" else rd, 8)
        for rd, rs1 in [("x10", "x11"), ("x10", "x10"), ("x28", "x28"), ("x1", "x5"), ("x28", "x10"), ("x0", "x28")]:
            for imm in (0, 4, -4, 2047, -2048, 1):
                to, link = self.w.label(), self.w.label()
                seen = "x7" if rd in ("x0", "x1") else rd
                check = [f"la x6,{link}", f"sub {seen},{rd},x6"] if rd != "x0" else ["li x7,0"]
                self.w.test(f"jalr {rd},{imm}({rs1})", [(0, 0)],
                            ["mv x9,x1", f"la {rs1},{to}", f"li x6,{imm}", f"sub {rs1},{rs1},x6"] +
                            ([f"addi {rs1},{rs1},1"] if not imm & 1 else []) +
                            [f"jalr {rd},{imm}({rs1})", f"{link}: li {seen},99", "j 9f", f"{to}:"] + check +
                            ["9: mv x1,x9"], seen, 8)

    def memory(self):
        """Loads and stores: aligned, misaligned, over a page's end, with offsets."""
        where = [4096 + d for d in range(-9, 9)] + [64 + d for d in range(0, 9)] + [8192 - 8, 4096 - 64 + 61]
        data = bytes((i * 151 + (i >> 5) * 7 + 13) & 255 for i in range(8192))
        self.w.data_bytes("load_area", data)
        for name, (size, signed) in im.LOAD.items():
            self.covered.add(name)
            for k, (rd, rs1) in enumerate(PAIRS):
                imm = [0, 1, -1, 8, 2047, -2048, 16, -8][k]
                rows = []
                for at in where:
                    v = int.from_bytes(data[at:at + size], "little", signed=signed)
                    if at + size <= len(data):
                        rows.append((f"load_area+{at - imm}", v & im.M64))
                self.w.test(f"{name} {rd},{imm}({rs1})", rows, [f"ld {rs1},0(x31)", f"{name} {rd},{imm}({rs1})"], rd, 8)
        self.w.reserve("store_area", 8192 + 64)
        for name, size in im.STORE.items():
            self.covered.add(name)
            for k, (rs2, rs1) in enumerate([("x10", "x11"), ("x28", "x29"), ("x10", "x28"), ("x28", "x10"), ("x8", "x2"),
                                            ("x2", "x8"), ("x0", "x10"), ("x0", "x28")]):
                imm = [0, 1, -1, 8, 2047, -2048, 16, -8][k]
                rows = []
                for at in where:
                    base = at & ~7
                    around = bytearray(b"\x5a" * 24)
                    v = 0 if rs2 == "x0" else self.rng.getrandbits(64)
                    around[at - base:at - base + size] = v.to_bytes(8, "little")[:size]
                    words = [int.from_bytes(around[i:i + 8], "little") for i in (0, 8, 16)]
                    rows.append((f"store_area+{at - imm}", v, f"store_area+{base}", words[0] ^ words[1] * 3 & im.M64,
                                 0))
                load = [f"ld {rs2},8(x31)"] if rs2 != "x0" else []
                self.w.test(f"{name} {rs2},{imm}({rs1})", rows,
                            ["ld x5,16(x31)", "li x6,0x5a5a5a5a5a5a5a5a", "sd x6,0(x5)", "sd x6,8(x5)"] + load +
                            [f"ld {rs1},0(x31)", f"{name} {rs2},{imm}({rs1})", "ld x5,16(x31)", "ld x6,0(x5)",
                             "ld x7,8(x5)", "slli x9,x7,1", "add x7,x7,x9", "xor x6,x6,x7", "ld x7,24(x31)",
                             "sub x7,x6,x7"], "x7", 32)

    def atomics(self):
        """AMOs, and LR/SC: success, other address, no reservation, used up."""
        self.w.reserve("amo_area", 64)
        regs = [("x10", "x11", "x12"), ("x28", "x29", "x30"), ("x10", "x28", "x11"), ("x28", "x10", "x29"),
                ("x10", "x10", "x11"), ("x28", "x28", "x10"), ("x10", "x11", "x11"), ("x0", "x10", "x28"),
                ("x12", "x0", "x28")]
        for name, f in im.AMO.items():
            for suffix, bits in ((".w", 32), (".d", 64)):
                self.covered.add(name + suffix)
                for k, (rd, rs2, rs1) in enumerate(regs):
                    order = ["", ".aq", ".rl", ".aqrl"][k % 4]
                    rows = []
                    for m, v in self.pairs(20):
                        v = 0 if rs2 == "x0" else v
                        mask = (1 << bits) - 1
                        if rs2 == rs1:
                            continue
                        new = (m & ~mask) | (f(m & mask, v & mask, bits) & mask)
                        old = im.s32(m) & im.M64 if bits == 32 else m
                        rows.append((m, v, new, 0 if rd == "x0" else old))
                    if rs2 == rs1:
                        continue
                    load = [f"ld {rs2},8(x31)"] if rs2 != "x0" else []
                    seen = "x9" if rd == "x0" else rd
                    self.w.test(f"{name}{suffix}{order} {rd},{rs2},({rs1})", rows,
                                ["la x5,amo_area", "ld x6,0(x31)", "sd x6,0(x5)"] + load +
                                [f"mv {rs1},x5", f"{name}{suffix}{order} {rd},{rs2},({rs1})",
                                 f"{'li x9,0' if rd == 'x0' else 'nop'}", "ld x6,0(x5)", "ld x7,16(x31)",
                                 "beq x6,x7,9f", f"not {seen},{seen}", "9:"], seen, 24)
        for suffix, bits in ((".w", 32), (".d", 64)):
            self.covered |= {"lr" + suffix, "sc" + suffix}
            self.reserved(suffix, bits)

    def reserved(self, suffix, bits):
        """One width of LR/SC."""
        mask = (1 << bits) - 1
        for rd, rs2, rs1, order in [("x10", "x11", "x12", ""), ("x28", "x29", "x30", ".aqrl"),
                                    ("x10", "x28", "x8", ".aq"), ("x28", "x10", "x29", ".rl")]:
            ok, other, twice, none = [], [], [], []
            for m, v in self.pairs(10):
                old = im.s32(m) & im.M64 if bits == 32 else m
                ok.append((m, v, (m & ~mask | v & mask) ^ old, 0))
                other.append((m, v, m, 1))
                twice.append((m, v, m & ~mask | v & mask, 1))
                none.append((m, v, m, 1))
            setup = ["la x5,amo_area", "ld x6,0(x31)", "sd x6,0(x5)", "sd x6,8(x5)", f"ld {rs2},8(x31)", f"mv {rs1},x5"]
            check = ["ld x7,16(x31)", "beq x6,x7,9f", f"li {rd},77", "9:"]
            lr, sc = f"lr{suffix}{order}", f"sc{suffix}{order}"
            self.w.test(f"{lr} {sc}", ok, setup + [f"{lr} x7,({rs1})", f"{sc} {rd},{rs2},({rs1})", "ld x6,0(x5)",
                        "xor x6,x6,x7"] + check, rd, 24)
            self.w.test(f"{sc} other address", other, setup + [f"{lr} x7,({rs1})", f"addi {rs1},{rs1},8",
                        f"{sc} {rd},{rs2},({rs1})", "ld x6,8(x5)"] + check, rd, 24)
            self.w.test(f"{sc} twice", twice, setup + [f"{lr} x7,({rs1})", f"{sc} x7,{rs2},({rs1})",
                        f"{sc} {rd},{rs2},({rs1})", "ld x6,0(x5)"] + check, rd, 24)
            self.w.test(f"{sc} without lr", none, setup + [f"{sc} x7,x0,({rs1})", "ld x6,0(x31)", "sd x6,0(x5)",
                        f"{sc} {rd},{rs2},({rs1})", "ld x6,0(x5)"] + check, rd, 24)

    def csrs(self):
        """The six CSR instructions on a register that holds any value."""
        f = {"csrrw": lambda o, v: v, "csrrs": lambda o, v: o | v, "csrrc": lambda o, v: o & ~v & im.M64}
        for name, g in f.items():
            self.covered |= {name, name + "i"}
            for rd, rs1 in PAIRS + [("x0", "x10"), ("x10", "x0"), ("x28", "x0")]:
                rows = []
                for old, v in self.pairs(10):
                    v = 0 if rs1 == "x0" else v
                    rows.append((old, v, g(old, v), 0 if rd == "x0" else old))
                load = [f"ld {rs1},8(x31)"] if rs1 != "x0" else []
                seen = "x9" if rd == "x0" else rd
                tail = ["li x9,0" if rd == "x0" else "nop", "csrr x6,sscratch", "ld x7,16(x31)", "beq x6,x7,9f",
                        f"not {seen},{seen}", "9:"]
                self.w.test(f"{name} {rd},{rs1}", rows, ["ld x6,0(x31)", "csrw sscratch,x6"] + load +
                            [f"{name} {rd},sscratch,{rs1}"] + tail, seen, 24)
            for rd, imm in [("x10", 0), ("x28", 31), ("x0", 5), ("x10", 16), ("x28", 1)]:
                rows = [(o, 0, g(o, imm), 0 if rd == "x0" else o) for o in self.operands(20)]
                seen = "x9" if rd == "x0" else rd
                tail = ["li x9,0" if rd == "x0" else "nop", "csrr x6,sscratch", "ld x7,16(x31)", "beq x6,x7,9f",
                        f"not {seen},{seen}", "9:"]
                self.w.test(f"{name}i {rd},{imm}", rows, ["ld x6,0(x31)", "csrw sscratch,x6",
                            f"{name}i {rd},sscratch,{imm}"] + tail, seen, 24)

    def fences(self):
        """Fences have no result; they must not disturb."""
        self.covered.add("fence")
        for kind in ("fence", "fence rw,w", "fence r,rw", "fence w,r", "fence i,o", "fence.tso"):
            self.w.test(kind, [(5, 5)], ["ld x10,0(x31)", kind], "x10", 8)


def main():
    """Writes the tests and holds them against insn.def."""
    with open(sys.argv[1], encoding="ascii") as f:
        rows = set(re.findall(r'^INSN\(\w+, "([^"]+)"', f.read(), re.M))
    rng = random.Random(2024)
    with open(sys.argv[2], "w", encoding="ascii") as out:
        w = Writer(out)
        ints = Integers(w, rng)
        for part in (ints.computation, ints.upper, ints.branches, ints.jumps, ints.memory, ints.atomics, ints.csrs,
                     ints.fences):
            part()
        covered = ints.covered | floattests.write(w, rng) | PRIVILEGED
        w.finish()
    if rows - covered or covered - rows:
        sys.exit(f"gen_insn.py: not tested: {sorted(rows - covered)}; not in insn.def: {sorted(covered - rows)}")


if __name__ == "__main__":
    main()
