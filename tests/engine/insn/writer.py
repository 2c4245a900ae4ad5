"""Writes tests as assembly: each is a loop over a table of operands and the expected result."""


class Writer:
    """Registers of a test's loop: x31 the table's row, x3 its end, x4 what is expected, x1 the test's number."""

    def __init__(self, out):
        self.out, self.tests, self.labels = out, 0, 0
        self.names, self.tables = [], []
        out.write("""    .option norelax
    .attribute unaligned_access, 1
    .text
    .globl insn_run
insn_run:
    la      x5,insn_saved
    sd      x1,0(x5)
    sd      x2,8(x5)
    sd      x8,16(x5)
    sd      x9,24(x5)
    sd      x3,32(x5)
    sd      x4,40(x5)
""")
        self.data = []

    def label(self):
        """A new local label."""
        self.labels += 1
        return f".Lx{self.labels}"

    @staticmethod
    def insn(name, rd, rs1, rs2=None):
        """The line of an instruction; those that Debian 12's assembler does not know by their numbers."""
        if name in ("czero.eqz", "czero.nez"):
            return f".insn r 0x33,{5 if name == 'czero.eqz' else 7},7,{rd},{rs1},{rs2}"
        return f"{name} {rd},{rs1}" + (f",{rs2}" if rs2 else "")

    def data_bytes(self, name, data):
        """A page-aligned area with contents."""
        self.data.append(f"    .balign 4096\n{name}:\n" + "".join(
            "    .byte " + ",".join(str(b) for b in data[i:i + 64]) + "\n" for i in range(0, len(data), 64)))

    def reserve(self, name, size):
        """A page-aligned empty area."""
        self.data.append(f"    .balign 4096\n{name}:\n    .space {size}\n")

    def test(self, name, rows, body, result, expect_at):
        """One loop. rows: tuples of 64-bit numbers or address expressions; `result` is compared with the word at
        expect_at of the row. Every other test is assembled with compressed instructions where they fit."""
        n = self.tests
        self.tests += 1
        self.names.append(name)
        width = 8 * len(rows[0])
        o = self.out
        o.write(f"    .option {'rvc' if n & 1 else 'norvc'}\n")
        o.write(f"    la x31,T{n}\n    la x3,T{n}e\n    li x1,{n}\n1:\n")
        for line in body:
            o.write(f"    {line}\n")
        o.write(f"    ld x4,{expect_at}(x31)\n    beq {result},x4,2f\n    mv x12,{result}\n    j insn_fail\n")
        o.write(f"2:  addi x31,x31,{width}\n    bltu x31,x3,1b\n")
        self.tables.append(f"T{n}:\n" + "".join(
            "    .dword " + ",".join(v if isinstance(v, str) else hex(v) for v in row) + "\n" for row in rows)
            + f"T{n}e:\n")

    def finish(self):
        """What comes behind the tests."""
        o = self.out
        o.write("""    .option norvc
    la      x5,insn_saved
    ld      x1,0(x5)
    ld      x2,8(x5)
    ld      x8,16(x5)
    ld      x9,24(x5)
    ld      x3,32(x5)
    ld      x4,40(x5)
    ret
insn_fail:
    la      x5,insn_saved
    ld      x2,8(x5)
    mv      x10,x1
    mv      x11,x31
    mv      x13,x4
    call    insn_failed
    .data
    .balign 8
insn_saved: .space 64
    .globl insn_count
""")
        o.write(f"insn_count: .dword {self.tests}\n    .globl insn_names\ninsn_names:\n")
        for n in range(self.tests):
            o.write(f"    .dword N{n}\n")
        for text in self.tables:
            o.write(text)
        for n, name in enumerate(self.names):
            o.write(f'N{n}: .asciz "{name}"\n')
        for text in self.data:
            o.write(text)
