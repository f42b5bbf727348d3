"""Numbers that no file has to hold."""

import math

import numpy as np
import torch


def mix(tensor, count):
    """splitmix64 of tensor * 2^32 + i for i < count, as uint64."""
    z = np.arange(count, dtype=np.uint64) + np.uint64(tensor << 32)
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def signed(tensor, shape):
    """Doubles in [-1, 1) of the given shape."""
    h = mix(tensor, math.prod(shape))
    return torch.from_numpy(2 * ((h >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1).reshape(tuple(shape))
