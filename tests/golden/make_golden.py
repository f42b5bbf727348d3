#!/usr/bin/env python3
"""Write the golden values that the C++ tests compare with: PyTorch's and scikit-learn's answers to small, fixed cases.

Needs torch, torchvision, scikit-learn, numpy (< 2) and safetensors. The stored files were made with the versions named
in versions.json. Everything is computed on one thread, so a second run writes the same bytes (legacy.pt excepted: that
format stores memory addresses). Run `make_golden.py`, or `make_golden.py NAME...` for some of the parts; `--out DIR`
writes elsewhere. What each part writes stands at the head of its file in parts/. Tensor names use "case/quantity"; all
tensors are float64 unless said otherwise, images are NCHW, convolution weights OIHW, linear weights (out, in).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import safetensors
import sklearn
import torch
import torchvision

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench" / "peers"))
sys.dont_write_bytecode = True
from parts.files import save_json  # noqa: E402
from parts.layers import layers  # noqa: E402
from parts.mia import mia  # noqa: E402
from parts.networks import resnet32, resnet34  # noqa: E402
from parts.objectives import objectives  # noqa: E402
from parts.optimizers import optimizers, schedules  # noqa: E402
from parts.other_programs import checkpoints, safetensors_file  # noqa: E402

VERSIONS = {
    "torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__,
    "scikit-learn": sklearn.__version__, "safetensors": safetensors.__version__,
}

PARTS = {"optimizers": optimizers, "schedules": schedules, "resnet32": resnet32, "resnet34": resnet34,
         "layers": layers, "objectives": objectives, "mia": mia, "safetensors": safetensors_file, "checkpoints": checkpoints}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="NAME", help=f"any of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in args.parts or PARTS:
        print(name, flush=True)
        PARTS[name](args.out)
    save_json(args.out / "versions.json", VERSIONS)


if __name__ == "__main__":
    main()
