"""How golden files are written."""

import json

import numpy as np
import torch
from safetensors.numpy import save_file


def save(path, tensors):
    """Write named arrays (torch or numpy, scalars as shape (1)) as safetensors."""
    arrays = {}
    for name, value in tensors.items():
        value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        arrays[name] = np.ascontiguousarray(np.atleast_1d(value))
    save_file(arrays, path)
    path.chmod(0o644)


def save_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")
