#!/usr/bin/env python3
"""Reads the machine code of kernels and checks how they go about global memory.

usage: check.py CUOBJDUMP FILE ARCHITECTURE RULE ...

FILE is what nvcc has built: a cubin, an object or a shared library. A rule is KERNEL:WHAT, with a regular expression for
kernels, their names without namespaces and spaces, each of which must keep it. WHAT is one of
  BYTES:COUNT  A loop has COUNT loads of BYTES bytes in flight: issued before the first instruction that needs what one of
               them brings. A loop with such loads has no narrower ones, and where BYTES is 16 nothing before the first
               loop is loaded in pieces either.
  waits        Nothing is read or written before the kernel waits for those before it (griddepcontrol.wait, sm_90).

Exit code 1 where a kernel breaks its rule or there is none; 77 where the tools that take machine code apart are missing.
"""
import os
import re
import shutil
import subprocess
import sys

listed = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@\S+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;")
register = re.compile(r"(?<![A-Za-z0-9_.])R(\d+)")
global_access = ("LD", "LDG", "ST", "STG", "ATOM", "ATOMG", "RED", "REDG")
narrow = {"64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}


class Instruction:
    def __init__(self, address, opcode, operands):
        self.address = int(address, 16)
        self.name, *parts = opcode.split(".")
        registers = [int(number) for number in register.findall(operands)]
        self.loads = 0  # bytes, from global memory
        if self.name in ("LD", "LDG"):
            self.loads = 16 if "128" in parts else next((narrow[part] for part in parts if part in narrow), 4)
            first = registers.pop(0)
            self.loaded = set(range(first, first + max(self.loads // 4, 1)))
        self.needs = set(registers)
        target = re.fullmatch(r".*?0x([0-9a-f]+)", operands) if self.name == "BRA" else None
        self.target = int(target.group(1), 16) if target else None


def innermost_loops(body):
    """Of instructions that end in a jump back, those without another such jump among them."""
    jumps = [at for at in body if at.target is not None and at.target < at.address]
    loops = [[at for at in body if jump.target <= at.address <= jump.address] for jump in jumps]
    return [loop for loop in loops if sum(at in jumps for at in loop) == 1]


def in_flight(loop, width):
    most, pending, count = 0, set(), 0
    for at in loop:
        if at.needs & pending or at.name in ("BAR", "WARPSYNC"):
            pending, count = set(), 0
        if at.loads == width:
            pending |= at.loaded
            count += 1
            most = max(most, count)
    return most


def accesses_early(body):
    waits = next((at.address for at in body if at.name == "ACQBULK"), None)
    if waits is None:
        return "it never waits for earlier kernels"
    if any(at.address < waits and (at.target is not None or at.name in global_access) for at in body):
        return "it reads, writes or jumps before it waits for earlier kernels"
    return None


def loads_badly(body, width, wanted):
    loops = innermost_loops(body)
    loading = [loop for loop in loops if any(at.loads == width for at in loop)]
    most = max((in_flight(loop, width) for loop in loading), default=0)
    if most < wanted:
        return f"{most} loads of {width} bytes in flight, {wanted} at least would be right"
    if any(0 < at.loads < width for loop in loading for at in loop):
        return f"a loop with loads of {width} bytes has narrower ones too"
    if width == 16 and any(0 < at.loads < width and at.address < loading[0][0].address for at in body):
        return "before its first loop it loads in pieces of less than 16 bytes"
    return None


def kernels_in(listing):
    """Name, without namespaces and spaces -> instructions, of every kernel."""
    bodies = {}
    for line in listing.splitlines():
        if "Function :" in line:
            body = bodies.setdefault(line.split("Function :")[1].strip(), [])
        elif match := listed.match(line):
            body.append(Instruction(*match.groups()))
    names = subprocess.run(["c++filt"], input="\n".join(bodies), capture_output=True, text=True, check=True).stdout
    short = [re.sub(r"\(anonymous namespace\)::|\w+::| ", "", name) for name in names.splitlines()]
    return dict(zip(short, bodies.values(), strict=True))


def main():
    cuobjdump, file, architecture, *rules = sys.argv[1:]
    path = os.path.dirname(cuobjdump) + os.pathsep + os.environ["PATH"]
    if not shutil.which(cuobjdump) or not shutil.which("nvdisasm", path=path):
        print("skipped: cuobjdump and nvdisasm are not installed; the CUDA toolkit has them, and PyPI as "
              "nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm")
        sys.exit(77)
    dump = [cuobjdump, "-sass", "-arch", architecture, file]
    listing = subprocess.run(dump, stdout=subprocess.PIPE, text=True, env={**os.environ, "PATH": path}, check=True).stdout
    kernels = kernels_in(listing)
    failed = False
    for rule in rules:
        pattern, what = rule.split(":", 1)
        wrong = accesses_early if what == "waits" else lambda body: loads_badly(body, *map(int, what.split(":")))
        found = {name: body for name, body in kernels.items() if re.search(pattern, name)}
        failures = {name: why for name, body in found.items() if (why := wrong(body))}
        for name, why in failures.items():
            print(f"FAILED {name}: {why}")
        if not found:
            print(f"FAILED {pattern}: there is no such kernel in {file} for {architecture}")
        failed = failed or not found or bool(failures)
        print(f"{len(found) - len(failures)} of {len(found)} kernels keep the rule {rule}")
    sys.exit(failed)


main()
