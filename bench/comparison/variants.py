"""What is compared: programs in the ways they can be run."""

import fnmatch
import re
import shutil
import subprocess
from dataclasses import dataclass

STYLES = {  # of PyTorch, by device and mode
    ("cpu", "train"): ("eager", "compile"),
    ("cpu", "eval"): ("eager", "compile", "freeze"),
    ("cuda", "train"): ("eager", "compile", "graph", "compile-graph"),
    ("cuda", "eval"): ("eager", "compile", "freeze", "graph", "compile-graph"),
}
LAYOUTS = ("nchw", "nhwc")
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("bf16", "tf32", "fp32")}
MODES = {"train": "training", "eval": "evaluation"}


@dataclass(frozen=True)
class Group:
    """Rows that are compared with one another."""

    mode: str
    precision: str
    models: int = 1  # trained at once

    def title(self):
        several = f", {self.models} models at once" if self.models > 1 else ""
        return f"{MODES[self.mode]} {self.precision}{several}"


@dataclass(frozen=True)
class Variant:
    group: Group
    label: str
    ours: bool = False
    style: str = ""
    layout: str = ""
    malloc: str = ""  # a library to preload; empty: the default
    arrangement: str = "serial"  # of several models
    tuned: bool = False  # ours, with cuDNN's engines measured before


def find_malloc(name):
    """The first library that the loader knows under this name, or None."""
    listing = subprocess.run([shutil.which("ldconfig") or "/sbin/ldconfig", "-p"], capture_output=True, text=True,
                             check=False).stdout
    found = re.search(rf"^\s*lib{name}(?:_minimal)?\.so\S*\s.*=> (\S+)$", listing, re.MULTILINE)
    return found.group(1) if found else None


def mallocs(device):
    """Libraries by name; the host's malloc matters to a step on the CPU alone."""
    found = {"default": ""}
    if device == "cpu":
        found |= {name: path for name in ("jemalloc", "tcmalloc") if (path := find_malloc(name))}
    return found


def peers(device, group, malloc_paths):
    if group.models > 1:
        return [Variant(group, f"{arrangement}-{style}-nhwc", style=style, layout="nhwc", arrangement=arrangement)
                for arrangement in ("serial", "streams", "vmap") for style in ("eager", "graph")]
    return [
        Variant(group, f"{style}-{layout}" + (f"-{name}" if device == "cpu" else ""), style=style, layout=layout,
                malloc=path)
        for style in STYLES[device, group.mode] for layout in LAYOUTS for name, path in malloc_paths.items()
    ]


def ours(device, group):
    if group.models > 1:
        return []  # what is to be said of it follows from the step of one
    variants = [Variant(group, "ours", ours=True)]
    if device == "cuda":
        variants.append(Variant(group, "ours, engines measured", ours=True, tuned=True))
    return variants


def groups(modes, precisions, models):
    """Of one model for each mode and precision; then training of several, for each precision."""
    result = [Group(mode, precision) for mode in modes for precision in precisions]
    if models > 1 and "train" in modes:
        result += [Group("train", precision, models) for precision in precisions]
    return result


def chosen(variants, patterns):
    """Those whose label fits one of the patterns (`*` stands for anything)."""
    return [variant for variant in variants if any(fnmatch.fnmatch(variant.label, pattern) for pattern in patterns)]
