"""What the figures are figures of: the machine, its limits, compilers and versions."""

import json
import os
import platform
import re
import subprocess
from pathlib import Path

from comparison.peers import FACTS
from comparison.runner import Failed, last_line, run_program

ROOT = Path(__file__).resolve().parent.parent.parent


def output(*command):
    """What a program prints, or None where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def first_match(pattern, text):
    found = re.search(pattern, text or "", re.MULTILINE)
    return found.group(1).strip() if found else None


def read(path):
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def load():
    return [round(value, 2) for value in os.getloadavg()]


def compiler(ours):
    """That of the build which the programs are from, else the machine's."""
    cache = read(ours.parent / "CMakeCache.txt")
    program = first_match(r"^CMAKE_CXX_COMPILER:\w+=(.*)$", cache) or "c++"
    version = output(program, "--version")
    return {"compiler": version.splitlines()[0] if version else None,
            "build_type": first_match(r"^CMAKE_BUILD_TYPE:\w+=(.*)$", cache)}


def facts(device, ours, python):
    """Of the machine and of what is compared on it; None where something cannot be said."""
    commit = output("git", "rev-parse", "--short", "HEAD")
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    memory = first_match(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"))
    result = {
        "processor": first_match(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo")),
        "instructions": sorted(set(re.findall(r"\b(?:avx2|avx512f|avx512_bf16|amx_bf16)\b", read("/proc/cpuinfo")))),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory) * 1024 if memory else None,
        "system": first_match(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release")),
        "kernel": platform.release(),
        "load": load(),
        "commit": commit and commit + ("+changes" if changed else ""),
        **compiler(ours),
    }
    if device == "cuda":
        result["gpu"] = output("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit",
                               "--format=csv,noheader")
    peer = output(str(python), "-c", FACTS) if python else None
    if peer:
        peer = json.loads(last_line(peer))
        onednn = first_match(r"(?:MKL-DNN|oneDNN)\s+v?([\d.]+)", peer.pop("built_with"))
        result["peer"] = {**peer, "onednn": onednn}
    return result


def ceilings(options, work, tick=lambda: None):
    """What the machine does at best: bytes_per_second of a copy, <precision>_flops. Raises Failed."""
    def run(*command):
        return run_program([str(word) for word in command], dict(os.environ), options.limit, tick)

    if options.device == "cuda":
        file = work / "ceilings.json"
        run(options.ours / "bench_kernels", "--only-ceilings", "--json", file)
        found = json.loads(file.read_text())["ceilings"]
        found["bytes_per_second"] = max(found["copy_bytes_per_second"], found["add_bytes_per_second"])
        return found
    said = run(options.ours / "bench_cpu_ceilings", "--threads", options.threads)
    try:
        found = json.loads(said)
    except ValueError as error:
        raise Failed(f"bench_cpu_ceilings says no JSON: {last_line(said)}") from error
    return {**found, "bytes_per_second": found["copy_bytes_per_second"]}


def name(machine, device, threads):
    """For the names of files: letters, digits and dashes."""
    if device == "cuda":
        what = (machine.get("gpu") or "gpu").split(",")[0]
    else:
        what = f"{machine['processor'] or 'cpu'}-{threads}-threads"
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((?:R|TM)\)", "", what).lower()).strip("-")
