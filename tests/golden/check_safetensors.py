#!/usr/bin/env python3
"""Read safetensors files with the reference package, or write a small fixed one with it.

    check_safetensors.py FILE...        print, as JSON: {file: {"metadata": {...} or null, "tensors":
                                        {name: {"dtype", "shape", "sha256" of the tensor's raw bytes}}}}
    check_safetensors.py --write OUT    write the sample file (see write_sample)

A file that the package refuses ends the program with exit status 1. Needs numpy and safetensors.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save_file


def write_sample(path):
    """Float32, float64 and int64 tensors, a scalar (shape []), an empty tensor and metadata that needs escaping."""
    tensors = {
        "f32": np.array([[0.5, -1.25, 3.0], [1e-30, 1e30, 0.1]], np.float32),
        "f64": np.array([0.1, -2.5, 1e300, 5e-324], np.float64),
        "i64": np.array([[1, -2], [2**62, -(2**62)]], np.int64),
        "scalar": np.array(0.125, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "name with \"quotes\", \\ and \u00e9": np.array([7.0], np.float32),
    }
    # One key: the package writes several in no fixed order.
    save_file(tensors, path, metadata={"note": "line one\nline \"two\"\t\\ \u00e9 \U0001f600"})
    Path(path).chmod(0o644)


def describe(path):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = {
        name: {"dtype": tensor["dtype"], "shape": list(tensor["shape"]),
               "sha256": hashlib.sha256(bytes(tensor["data"])).hexdigest()}
        for name, tensor in deserialize(Path(path).read_bytes())
    }
    return {"metadata": metadata, "tensors": tensors}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--write", metavar="OUT", type=Path)
    args = parser.parse_args()
    if not args.files and not args.write:
        parser.error("nothing to do: name a file, or --write OUT")
    if args.write:
        write_sample(args.write)
    if args.files:
        try:
            print(json.dumps({path: describe(path) for path in args.files}, indent=1))
        except (OSError, SafetensorError) as error:
            sys.exit(f"check_safetensors.py: {error}")


if __name__ == "__main__":
    main()
