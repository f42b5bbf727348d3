"""Whole networks.

resnet32    resnet32.safetensors, resnet32.json: CIFAR's ResNet32, pictures of 32x32, batches of 4 and 32, ten steps
resnet34    resnet34.safetensors, resnet34.json: torchvision's ResNet34, pictures of 64x64, a batch of 4, three steps
    A whole network (100 classes) in double. Weights, inputs and labels come from a formula (below), not from the file.
    JSON: "side" of the pictures; "parameters" [{"name", "shape"}] in the order t = 0, 1, ..; "buffers" likewise (running
    statistics, the order going on from the parameters); hyperparameters.
    batchN/loss (1)                      the first training step's loss in double, batch statistics
    batchN/grad/{norm,dot,head,tail}     its gradients, one row a parameter: 2-norm (P), dot product with the sign
                                         vector of that tensor (P), first and last four elements (P, 4)
    batchN/loss_nchw, loss_nhwc (1)      the same step in PyTorch float32, contiguous and channels-last
    batchN/error_nchw, error_nhwc (P)    ||grad32 - grad64|| / ||grad64|| of each parameter for them
    steps/loss (S)                       losses of S training steps in double: step s on batch s of 4 images; SGD with
                                         the JSON's lr, momentum, nesterov and weight_decay
    steps/{norm,dot,head,tail}           of every parameter, then of every buffer (P + B rows), after those steps
    steps/logits (4, 100)                evaluation mode, inputs of step 0, after those steps
    steps/repeat_loss (S)                relative difference of the losses when PyTorch computes them channels-last,
    steps/repeat (P + B)                 and of each tensor in norm: how far equally good double answers differ

    Formula. mix(x): z = x + 0x9E3779B97F4A7C15; z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB; z ^ z >> 31, all modulo 2^64 (Steele, Lea and Flood 2014, splitmix64).
    signed(t, i) = 2 * ((mix(t * 2^32 + i) >> 11) * 2^-53) - 1 in [-1, 1).
    Element i (flat, row major) of parameter t: signed(t, i) * bound, in double, then rounded to float32;
    bound = sqrt(3) * sqrt(2 / (k * k * out_channels)) for convolutions and 1/8 for fc.weight and fc.bias.
    Batch norm: weight float32(1 + 0.1 * signed), bias float32(0.1 * signed); running mean 0, variance 1.
    Inputs (N, 3, side, side) of step s: float32(sqrt(3) * signed(1000 + s, i)); label j: mix((2000 + s) * 2^32 + j) % 100.
    The batch of 32 is s = 100 of this formula. Sign vector of tensor t: +1 where signed(3000 + t, i) >= 0, else -1.
"""

import math
from dataclasses import dataclass
from typing import Callable

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from cifar_resnet import make_model
from parts.files import save, save_json
from parts.formula import mix, signed

CLASSES = 100
# At the study's 0.1, ten steps on batches of 4 amplify the last bit of a double to 4e-3: two correct programs differ.
# At 0.01 they agree to 1e-13 (steps/repeat), so that an error shows.
STEP_LR = 0.01


@dataclass
class Network:
    name: str
    make: Callable[[], nn.Module]
    side: int
    first_steps: tuple  # (step of the formula's inputs, pictures)
    steps: int

    def batch(self, step, count):
        """Inputs (count, 3, side, side), as doubles exact in float32, and labels of a step."""
        images = (math.sqrt(3) * signed(1000 + step, (count, 3, self.side, self.side))).float().double()
        labels = torch.from_numpy((mix(2000 + step, count) % CLASSES).astype("int64"))
        return images, labels

    def model(self):
        """In double with the formula's weights."""
        model = self.make().double()
        with torch.no_grad():
            for index, (name, parameter) in enumerate(model.named_parameters()):
                noise = signed(index, parameter.shape)
                if parameter.dim() == 4:
                    out_channels, _, k, _ = parameter.shape
                    value = noise * (math.sqrt(3) * math.sqrt(2 / (k * k * out_channels)))
                elif name.startswith("fc."):
                    value = noise * 0.125
                else:
                    value = 0.1 * noise + (1 if name.endswith("weight") else 0)
                parameter.copy_(value.float())
        return model

    def first_gradients(self, step, count, dtype, layout):
        """Loss and gradients (as doubles) of one training step at the formula's weights."""
        model = self.model().to(dtype=dtype, memory_format=layout).train()
        images, labels = self.batch(step, count)
        loss = F.cross_entropy(model(images.to(dtype=dtype, memory_format=layout)), labels)
        loss.backward()
        return loss.double(), [parameter.grad.double().contiguous() for parameter in model.parameters()]

    def train(self, layout):
        """Losses of the steps in double, the state after them, and the logits of step 0's inputs in evaluation mode."""
        model = self.model().to(memory_format=layout).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=STEP_LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
        losses = []
        for step in range(self.steps):
            images, labels = self.batch(step, 4)
            loss = F.cross_entropy(model(images.contiguous(memory_format=layout)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        state = list(model.parameters()) + [b for _, b in running_statistics(model)]
        with torch.no_grad():
            logits = model.eval()(self.batch(0, 4)[0])
        return torch.stack(losses), state, logits


def digest(prefix, tensors):
    """Norm, signed sum, first and last four elements of each tensor, stacked."""
    flat = [tensor.detach().double().contiguous().flatten() for tensor in tensors]
    signs = [torch.where(signed(3000 + t, x.shape) >= 0, 1.0, -1.0).double() for t, x in enumerate(flat)]
    return {
        f"{prefix}/norm": torch.stack([x.norm() for x in flat]),
        f"{prefix}/dot": torch.stack([(x * s).sum() for x, s in zip(flat, signs)]),
        f"{prefix}/head": torch.stack([x[:4] for x in flat]),
        f"{prefix}/tail": torch.stack([x[-4:] for x in flat]),
    }


def running_statistics(model):
    return [(name, b) for name, b in model.named_buffers() if not name.endswith("num_batches_tracked")]


def write(network, out):
    tensors = {}
    layouts = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    for step, count in network.first_steps:
        loss, exact = network.first_gradients(step, count, torch.float64, torch.contiguous_format)
        tensors[f"batch{count}/loss"] = loss
        tensors.update(digest(f"batch{count}/grad", exact))
        for name, layout in layouts.items():
            loss32, rounded = network.first_gradients(step, count, torch.float32, layout)
            tensors[f"batch{count}/loss_{name}"] = loss32
            tensors[f"batch{count}/error_{name}"] = torch.stack(
                [(a - b).norm() / b.norm() for a, b in zip(rounded, exact)])
    losses, state, logits = network.train(torch.contiguous_format)
    tensors["steps/loss"] = losses
    tensors.update(digest("steps", state))
    tensors["steps/logits"] = logits
    again, state_again, _ = network.train(torch.channels_last)
    tensors["steps/repeat_loss"] = (again - losses).abs() / losses
    tensors["steps/repeat"] = torch.stack([(a - b).norm() / b.norm() for a, b in zip(state_again, state)])
    save(out / f"{network.name}.safetensors", tensors)

    model = network.make()
    save_json(out / f"{network.name}.json", {
        "model": network.name, "classes": CLASSES, "side": network.side, "lr": STEP_LR, "momentum": 0.9,
        "nesterov": True, "weight_decay": 5e-4, "steps": network.steps,
        "parameters": [{"name": name, "shape": list(p.shape)} for name, p in model.named_parameters()],
        "buffers": [{"name": name, "shape": list(b.shape)} for name, b in running_statistics(model)],
    })


def resnet32(out):
    write(Network("resnet32", lambda: make_model("resnet32"), 32, ((0, 4), (100, 32)), 10), out)


def resnet34(out):
    write(Network("resnet34", lambda: torchvision.models.resnet34(num_classes=CLASSES), 64, ((0, 4),), 3), out)
