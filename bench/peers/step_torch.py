#!/usr/bin/env python3
"""Time one training or evaluation step of a ResNet in PyTorch on the CPU: a CIFAR one at 32 px, or torchvision's
resnet18 or resnet34 at 224 px.

A training step is: clear the gradients, forward, cross entropy, backward, SGD (Nesterov 0.9, weight decay 5e-4). An
evaluation step is a forward pass without gradients. The inputs are one random batch, ready in memory: no loading, no
augmentation, no normalisation. Prints one JSON line. Preload another malloc (LD_PRELOAD) to see PyTorch at its best.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import time

import torch
from torch.nn import functional as F

from cifar_resnet import BLOCKS, make_model


TORCHVISION = ["resnet18", "resnet34"]


def make_network(name):
    """The network and the side of its pictures."""
    if name in BLOCKS:
        return make_model(name), 32
    import torchvision

    return torchvision.models.get_model(name, num_classes=100), 224


def make_step(args):
    """A function that runs one step, synchronously."""
    torch.manual_seed(0)
    layout = torch.channels_last if args.layout == "nhwc" else torch.contiguous_format
    model, side = make_network(args.model)
    model = model.to(memory_format=layout)
    images = torch.randn(args.batch, 3, side, side).contiguous(memory_format=layout)
    labels = torch.randint(0, 100, (args.batch,))

    def precision():
        return torch.autocast("cpu", dtype=torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()

    if args.mode == "eval":
        model.eval()

        def evaluate():
            with torch.no_grad(), precision():
                model(images)

        return evaluate

    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def train():
        optimiser.zero_grad(set_to_none=True)
        with precision():
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimiser.step()

    return train


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*BLOCKS, *TORCHVISION], default="resnet32")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mode", choices=["train", "eval"], default="train")
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    step = make_step(args)
    for _ in range(args.warmup):
        step()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times)
    print(json.dumps({
        "program": "torch", "version": torch.__version__, "preload": os.environ.get("LD_PRELOAD", ""), **vars(args),
        "step_ms": {"median": median, "min": min(times), "max": max(times)},
        "images_per_second": 1e3 * args.batch / median,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }))


if __name__ == "__main__":
    main()
