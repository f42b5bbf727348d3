#!/usr/bin/env python3
"""Time training or evaluation steps of a ResNet in PyTorch: a CIFAR one at 32 px, or torchvision's at 224 px.

A training step is: clear the gradients, forward, cross entropy, backward, SGD (Nesterov 0.9, weight decay 5e-4). An
evaluation step is a forward pass without gradients. On the CPU the input is one random batch, ready in memory. On CUDA
it is made in the step, from bytes on the GPU: gathered, in training cropped and flipped at random, normalised and, for
224 px, enlarged. Prints one JSON line.

Styles: eager; compile (torch.compile of everything but backward and optimiser); freeze (the same with weights taken for
constants, so that batch normalisation folds into the filters; evaluation alone); graph (the whole step captured as a
CUDA graph); compile-graph (both, kernels tuned). Several models train one after another (serial), on a stream each
(streams), or as one program over stacked weights (vmap).
"""

import argparse
import contextlib
import copy
import functools
import json
import os
import resource
import statistics
import time

begin = time.perf_counter()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import_seconds = time.perf_counter() - begin

from cifar_resnet import BLOCKS, make_model  # noqa: E402

TORCHVISION = ("resnet18", "resnet34")
CLASSES, PAD, RECORDS = 100, 4, 25600
MOMENTUM, WEIGHT_DECAY, RATE = 0.9, 5e-4, 0.01


def peak_of_process():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def make_network(args):
    if args.model in BLOCKS:
        network = make_model(args.model, CLASSES)
    else:
        import torchvision

        network = torchvision.models.get_model(args.model, num_classes=CLASSES)
    return network.to(args.device, memory_format=args.memory_format)


class ReadyBatch:
    """One random batch, in memory."""

    def __init__(self, args, batch):
        side = args.image_size
        images = torch.randn(batch, 3, side, side, device=args.device)
        self.images = images.contiguous(memory_format=args.memory_format)
        self.labels = torch.randint(0, CLASSES, (batch,), device=args.device)

    def __call__(self):
        return self.images, self.labels


@functools.cache
def data_set(device):
    """Pictures with a margin, bytes (N, 3, 40, 40), and labels: one for all models."""
    side = 32 + 2 * PAD
    return (torch.randint(0, 256, (RECORDS, 3, side, side), dtype=torch.uint8, device=device),
            torch.randint(0, CLASSES, (RECORDS,), device=device))


class GatheredBatch:
    """A batch made anew in each step from bytes on the device, as a training does it."""

    def __init__(self, args, batch):
        device = args.device
        self.args, self.batch = args, batch
        self.padded, self.all_labels = data_set(device)
        self.ids = torch.randint(0, RECORDS, (batch,), device=device)
        self.scale = torch.full((1, 3, 1, 1), 1 / 64.0, device=device)
        self.shift = torch.full((1, 3, 1, 1), 2.0, device=device)
        self.places = torch.arange(32, device=device)

    def pictures(self):
        if self.args.mode == "eval":
            return self.padded[self.ids, :, PAD:-PAD, PAD:-PAD]
        device = self.args.device
        down, right = torch.randint(0, 2 * PAD + 1, (2, self.batch, 1), device=device)
        flip = torch.rand(self.batch, 1, device=device) < 0.5
        rows = down + self.places
        columns = torch.where(flip, 31 - self.places, self.places) + right
        # (N, 32, 32, 3)
        picked = self.padded[self.ids[:, None, None], :, rows[:, :, None], columns[:, None, :]]
        return picked.permute(0, 3, 1, 2)

    def __call__(self):
        images = self.pictures().float() * self.scale - self.shift
        if self.args.image_size != 32:
            images = F.interpolate(images, size=self.args.image_size, mode="nearest")
        return images.contiguous(memory_format=self.args.memory_format), self.all_labels[self.ids]


def make_source(args, batch):
    return GatheredBatch(args, batch) if args.device == "cuda" else ReadyBatch(args, batch)


def precision_of(args):
    return torch.autocast(args.device, dtype=torch.bfloat16) if args.precision == "bf16" else contextlib.nullcontext()


def compiled(args, function):
    if args.style == "freeze":
        from torch._inductor import config

        config.freezing = True
    if args.style == "compile-graph":
        return torch.compile(function, mode="max-autotune-no-cudagraphs")
    return torch.compile(function) if args.style in ("compile", "freeze") else function


def captured(step):
    """The step as a CUDA graph, replayed."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(11):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def evaluation(args):
    network, source = make_network(args).eval(), make_source(args, args.batch)

    def logits():
        images, _ = source()
        return network(images)

    forward = compiled(args, logits)

    def step():
        with torch.no_grad(), precision_of(args):
            forward()

    return step


def training(args):
    network, source = make_network(args).train(), make_source(args, args.batch)
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True,
                                weight_decay=WEIGHT_DECAY, fused=True)

    def loss():
        images, labels = source()
        return F.cross_entropy(network(images), labels)

    forward = compiled(args, loss)

    def step():
        optimiser.zero_grad(set_to_none=True)
        with precision_of(args):
            value = forward()
        value.backward()
        optimiser.step()

    return step


def stacked_training(args):
    """All models in one program; batch normalisation without running statistics, which vmap cannot update."""
    from torch.func import functional_call, grad, stack_module_state, vmap

    networks = [make_network(args).train() for _ in range(args.models)]
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False
                module.running_mean = module.running_var = module.num_batches_tracked = None
    weights, buffers = stack_module_state(networks)
    base = copy.deepcopy(networks[0]).to("meta")
    momenta = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    source = make_source(args, args.models * args.batch)

    def loss(weights, buffers, images, labels):
        return F.cross_entropy(functional_call(base, (weights, buffers), (images,)), labels)

    gradients_of = vmap(grad(loss))

    def step():
        images, labels = source()
        with precision_of(args):
            gradients = gradients_of(weights, buffers, images.unflatten(0, (args.models, args.batch)),
                                     labels.view(args.models, args.batch))
        with torch.no_grad():
            for name, weight in weights.items():
                gradient = gradients[name] + WEIGHT_DECAY * weight
                momenta[name].mul_(MOMENTUM).add_(gradient)
                weight.sub_(RATE * (gradient + MOMENTUM * momenta[name]))

    return step


def make_step(args):
    """A function that makes one step of every model; on CUDA it returns before the work is done."""
    make = evaluation if args.mode == "eval" else training
    steps = [stacked_training(args)] if args.arrangement == "vmap" else [make(args) for _ in range(args.models)]
    if "graph" in args.style:
        for step in steps:
            step()
        steps = [captured(step) for step in steps]
    if len(steps) == 1:
        return steps[0]
    if args.arrangement == "serial":
        return lambda: [step() for step in steps]
    torch.cuda.synchronize()  # what was made so far is on another stream
    streams = [torch.cuda.Stream() for _ in steps]

    def on_streams():
        for step, stream in zip(steps, streams):
            with torch.cuda.stream(stream):
                step()

    return on_streams


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--model", choices=[*BLOCKS, *TORCHVISION], default="resnet32")
    parser.add_argument("--image-size", type=int, help="side of the pictures (the model's own)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--mode", choices=["train", "eval"], default="train")
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    parser.add_argument("--style", choices=["eager", "compile", "freeze", "graph", "compile-graph"], default="eager")
    parser.add_argument("--models", type=int, default=1, help="trained at once")
    parser.add_argument("--arrangement", choices=["serial", "streams", "vmap"], default="serial")
    parser.add_argument("--steps", type=int, default=30, help="times to take, each of a group of steps")
    parser.add_argument("--warmup", type=int, default=5, help="groups before, not timed")
    parser.add_argument("--group", type=int, default=1, help="steps between two looks at the clock")
    args = parser.parse_args()
    if args.mode == "eval" and (args.models > 1 or args.arrangement != "serial"):
        parser.error("several models are trained, not evaluated")
    if args.device == "cpu" and ("graph" in args.style or args.arrangement == "streams" or args.precision == "tf32"):
        parser.error("graphs, streams and tf32 are CUDA's")
    args.image_size = args.image_size or (32 if args.model in BLOCKS else 224)
    args.memory_format = torch.channels_last if args.layout == "nhwc" else torch.contiguous_format
    return args


def main():
    args = parse()
    memory_at_start = peak_of_process() if args.device == "cpu" else 0
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.precision != "fp32"
    finish = torch.cuda.synchronize if args.device == "cuda" else lambda: None

    step = make_step(args)
    for _ in range(args.warmup * args.group):
        step()
    finish()
    times = []
    for _ in range(args.steps):
        start = time.perf_counter()
        for _ in range(args.group):
            step()
        finish()
        times.append(1e3 * (time.perf_counter() - start) / args.group)
    median = statistics.median(times)
    settings = {name: value for name, value in vars(args).items() if name != "memory_format"}
    print(json.dumps({
        "program": "torch", "version": torch.__version__, "preload": os.environ.get("LD_PRELOAD", ""), **settings,
        "step_ms": {"median": median, "min": min(times), "max": max(times)},
        "images_per_second": 1e3 * args.batch * args.models / median,
        "peak_memory_bytes": torch.cuda.max_memory_reserved() if args.device == "cuda" else peak_of_process(),
        "memory_at_start_bytes": memory_at_start, "import_seconds": import_seconds,
    }))


if __name__ == "__main__":
    main()
