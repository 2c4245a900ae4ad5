#!/usr/bin/env python3
"""Differential fuzzing of the execution engines.

Boots the bare-metal fuzz guest under each engine with the same seed and compares what the streams left behind: the
interpreter against the translator, against QEMU.  A failing iteration is found, cut down and shown.

    fuzz.py --weft build/weft --guest build/tests/engine/fuzz.elf                  the default run
    fuzz.py ... --seed 7 --insns 100000000                                         more of it
    fuzz.py ... --time 3600                                                        seeds one after another for an hour
    fuzz.py ... --seed 7 --iteration 1234                                          one stream again, cut down

Exit status: 0 all agree, 1 they do not, 2 something did not run, 77 nothing to compare with."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

EXT_COMMON = "zba,zbb,zbs,svinval,zihintpause"
EXT_NEWER = "zicond,zicbom,zicboz,zawrs"
STEP = 16


class Failed(Exception):
    """An engine did not get through."""


class Engine:
    """One way to run the guest."""

    def __init__(self, name, command, harts=1, kind="weft"):
        self.name, self.command, self.harts, self.kind = name, command, harts, kind

    def run(self, guest, args, timeout):
        """The guest's lines."""
        append = " ".join(f"{k}={v}" for k, v in args.items()) + f" harts={self.harts}"
        command = self.command + ["-M", "virt", "-bios", "none", "-m", "128M", "-smp", str(self.harts), "-nographic",
                                  "-kernel", guest, "-append", append]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as e:
            raise Failed(f"{self.name}: no end after {timeout} s: {' '.join(command)}") from e
        if done.returncode:
            raise Failed(f"{self.name}: exit {done.returncode}: {' '.join(command)}\n{done.stderr.decode()[-2000:]}")
        return done.stdout.decode(errors="replace").replace("\r", "").splitlines()


def qemu_cpu(qemu, log):
    """(-cpu argument, ext list, is old) with everything that this QEMU has of the newer extensions."""
    def accepts(prop):
        probe = subprocess.run([qemu, "-M", "virt", "-bios", "none", "-nographic", "-S", "-monitor", "none", "-serial",
                                "none", "-cpu", f"rv64,{prop}=on", "-kernel", "/nonexistent"],
                               stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return b"not found" not in probe.stderr
    version = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False).stdout
    major = int(re.search(r"version (\d+)", version)[1])
    have = [e for e in EXT_NEWER.split(",") if accepts(e)]
    log(f"{qemu} (version {major}): also {', '.join(have) or 'none of the newer extensions'}")
    return "rv64,svinval=on" + "".join(f",{e}=on" for e in have), ",".join([EXT_COMMON] + have), int(major < 8)


def hashes(lines):
    """{first iteration of a step: (common, exact)} and the closing line's figures."""
    table, figures = {}, {}
    for line in lines:
        m = re.match(r"H (\d+) ([0-9a-f]{16}) ([0-9a-f]{16})$", line)
        if m:
            table[int(m[1])] = (m[2], m[3])
        m = re.match(r"made (\d+) executed (\d+) traps (\d+)$", line)
        if m:
            figures = {"made": int(m[1]), "executed": int(m[2]), "traps": int(m[3])}
    if not figures:
        raise Failed("the guest did not end with its figures:\n" + "\n".join(lines[-5:]))
    return table, figures


def differing(a, b, exact):
    """The steps over which two runs differ."""
    n = 2 if exact else 1
    return [k for k in sorted(set(a) | set(b)) if a.get(k, ("", ""))[:n] != b.get(k, ("", ""))[:n]]


class Fuzz:
    """The engines, and what they are given."""

    def __init__(self, opts):
        self.o = opts
        self.timeout = opts.timeout
        self.ext = ",".join([EXT_COMMON, EXT_NEWER])
        self.old = 0
        weft = [opts.weft, "run"]
        self.reference = Engine("interp", weft + ["-accel", "tcg,tier=interp"], opts.harts)
        self.others = [Engine("t1", weft + ["-accel", "tcg,tier=t1"], opts.harts),
                       Engine("t1-single", weft + ["-accel", "tcg,tier=t1,thread=single"], opts.harts),
                       Engine("t1-small", weft + ["-accel", "tcg,tier=t1,tb-size=1"], opts.harts)]
        if opts.qemu:
            cpu, self.ext, self.old = qemu_cpu(opts.qemu, print)
            self.others.append(Engine("qemu", [opts.qemu, "-cpu", cpu], opts.harts, "qemu"))
        if opts.engines:
            names = opts.engines.split(",")
            self.others = [e for e in self.others if e.name in names]
        if not self.others:
            sys.exit("fuzz.py: --engines leaves nothing to compare")

    def args(self, seed, first, count, **more):
        """The guest's arguments."""
        return {"seed": seed, "first": first, "count": count, "step": STEP, "groups": self.o.groups, "ext": self.ext,
                "old": self.old,
                **({"mode": self.o.mode} if self.o.mode is not None else {}), **more}

    def agree(self, engine, args):
        """Whether reference and engine agree over one run of a single step; a hang of one is a difference."""
        try:
            a = hashes(self.reference.run(self.o.guest, args, 60))[0]
            b = hashes(engine.run(self.o.guest, args, 60))[0]
        except Failed:
            return False
        return not differing(a, b, engine.kind == "weft")

    def find_iteration(self, engine, seed, first, count):
        """The first single iteration in a range over which they differ, or None."""
        args = self.args(seed, first, count, step=1)
        try:
            a = hashes(self.reference.run(self.o.guest, args, self.timeout))[0]
            b = hashes(engine.run(self.o.guest, args, self.timeout))[0]
            bad = differing(a, b, engine.kind == "weft")
            return bad[0] if bad else None
        except Failed:
            for i in range(first, first + count):
                if not self.agree(engine, self.args(seed, i, 1)):
                    return i
        return None

    def minimise(self, engine, seed, iteration):
        """The groups that can be left out with the difference still there, as the guest's drop= list."""
        total = 600
        kept = list(range(total))
        size = total // 4

        def drop_list(groups):
            out, missing = [], sorted(set(range(total)) - set(groups))
            while missing:
                end = 0
                while end + 1 < len(missing) and missing[end + 1] == missing[end] + 1:
                    end += 1
                out.append(f"{missing[0]}-{missing[end]}")
                missing = missing[end + 1:]
            return ",".join(out)

        def fails(groups):
            drop = drop_list(groups)
            if len(drop) > 700:
                return False
            args = self.args(seed, iteration, 1, **({"drop": drop} if drop else {}))
            return not self.agree(engine, args)

        while size:
            i = 0
            while i < len(kept):
                attempt = kept[:i] + kept[i + size:]
                if fails(attempt):
                    kept = attempt
                else:
                    i += size
            size //= 2
        return drop_list(kept)

    def show(self, engine, seed, iteration):
        """Prints the difference, cut down."""
        print(f"seed {seed} iteration {iteration}: interp and {engine.name} differ")
        print(f"again: {sys.argv[0]} --weft {self.o.weft} --guest {self.o.guest}"
              f"{' --qemu ' + self.o.qemu if self.o.qemu else ''} --groups {self.o.groups} --seed {seed} "
              f"--iteration {iteration} --engines {engine.name}")
        drop = self.minimise(engine, seed, iteration)
        args = self.args(seed, iteration, 1, dump=1, **({"drop": drop} if drop else {}))
        dumps = []
        for e in (self.reference, engine):
            try:
                dumps.append(e.run(self.o.guest, args, 60))
            except Failed as failed:
                print(failed)
                dumps.append([])
        print("guest arguments:", " ".join(f"{k}={v}" for k, v in args.items()))
        for line in dumps[0]:
            if line.startswith("iteration"):
                print(line)
            if line.startswith("code"):
                self.disassemble(line.split()[1:])
        a, b = dumps
        for line in a:
            if line not in b:
                print(f"  interp     {line}")
        for line in b:
            if line not in a:
                print(f"  {engine.name:10s} {line}")
        before = [line for line in a if line.startswith("before")]
        print("\n".join(before))

    def disassemble(self, halves):
        """Prints code given as hex halfwords."""
        objdump = shutil.which("riscv64-linux-gnu-objdump")
        if not objdump:
            print("code", *halves)
            return
        with tempfile.NamedTemporaryFile(suffix=".bin") as f:
            f.write(b"".join(int(h, 16).to_bytes(2, "little") for h in halves))
            f.flush()
            out = subprocess.run([objdump, "-D", "-b", "binary", "-m", "riscv:rv64", "-M", "no-aliases", f.name],
                                 capture_output=True, text=True, check=False).stdout
        print("\n".join(out.splitlines()[7:]))

    def batch(self, seed, first, count):
        """One boot of each engine; (figures, all agree)."""
        args = self.args(seed, first, count)
        good = True
        table, figures = hashes(self.reference.run(self.o.guest, args, self.timeout))
        for engine in self.others:
            try:
                other = hashes(engine.run(self.o.guest, args, self.timeout))[0]
                bad = differing(table, other, engine.kind == "weft")
            except Failed as failed:
                print(failed)
                bad = [first]
            if bad:
                good = False
                print(f"interp and {engine.name}: {len(bad)} of {len(table)} steps differ")
                where = self.find_iteration(engine, seed, bad[0], STEP if len(bad) > 1 or bad[0] else count)
                if where is None:
                    print(f"seed {seed}, steps {bad[:8]}: only in a longer run, not alone (harts={self.o.harts})")
                else:
                    self.show(engine, seed, where)
        return figures, good


def find_qemu():
    """The newest QEMU at hand."""
    cache = os.environ.get("WEFT_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "weft")
    fetched = os.path.join(cache, "qemu10", "qemu-system-riscv64")
    return os.environ.get("WEFT_QEMU") or (fetched if os.path.exists(fetched) else None) or \
        shutil.which("qemu-system-riscv64")


def options():
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weft", required=True, help="the weft program")
    p.add_argument("--guest", required=True, help="fuzz.elf")
    p.add_argument("--qemu", default=find_qemu(),
                   help="qemu-system-riscv64 to compare with (default: $WEFT_QEMU, the newer one that the benchmark "
                        "fetched, PATH); '' for none")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--insns", type=int, default=100_000_000, help="random instructions to execute on each engine")
    p.add_argument("--time", type=float, help="run seed after seed for so many seconds")
    p.add_argument("--iteration", type=int, help="only this one of the seed")
    p.add_argument("--engines", help="a list of t1, t1-single, t1-small (a code cache of 1 MiB), qemu")
    p.add_argument("--groups", type=int, default=150, help="size of a stream")
    p.add_argument("--harts", type=int, default=2, help="harts that run streams at once")
    p.add_argument("--mode", type=int, help="0 M, 1 S-Sv39, 2 U-Sv39, 3 S-Sv48, 4 U-Sv48, 5 S-Sv57, 6 U-Sv57")
    p.add_argument("--timeout", type=float, default=900, help="seconds for one boot")
    return p.parse_args()


def main():
    """Runs what was asked."""
    o = options()
    fuzz = Fuzz(o)
    if o.iteration is not None:
        bad = [e for e in fuzz.others if not fuzz.agree(e, fuzz.args(o.seed, o.iteration, 1))]
        for engine in bad:
            fuzz.show(engine, o.seed, o.iteration)
        print(f"seed {o.seed} iteration {o.iteration}: {'differs' if bad else 'all agree'}")
        return 1 if bad else 0
    total = {"made": 0, "executed": 0, "traps": 0}
    begin, seed, first, good = time.monotonic(), o.seed, 0, True
    count = 512
    while good:
        figures, good = fuzz.batch(seed, first, count)
        for k, v in figures.items():
            total[k] += v
        spent = time.monotonic() - begin
        if o.time is not None:
            if spent >= o.time:
                break
            seed, count = seed + 1, 2048
        else:
            if total["executed"] >= o.insns:
                break
            first += count
    print(f"{'ok' if good else 'FAILED'}: interp, {', '.join(e.name for e in fuzz.others)}; seed {o.seed}: "
          f"{total['executed']} random instructions executed on each, {total['made']} made, {total['traps']} traps, "
          f"{time.monotonic() - begin:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failure:
        print(failure)
        sys.exit(2)
