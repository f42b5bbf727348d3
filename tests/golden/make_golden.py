#!/usr/bin/env python3
"""Write the golden values that the C++ tests compare with: PyTorch's and scikit-learn's answers to small, fixed cases.

Needs torch, scikit-learn, numpy (< 2) and safetensors. The stored files were made with the versions named in
versions.json. Everything is computed on one thread, so a second run writes the same bytes (legacy.pt excepted: that
format stores memory addresses). Run `make_golden.py`, or `make_golden.py NAME...` for some of the parts below;
`--out DIR` writes elsewhere. Tensor names use "case/quantity"; all tensors are float64 unless said otherwise, images
are NCHW, convolution weights OIHW, linear weights (out, in).

optimizers  optimizers.safetensors, optimizers.json
    "initial" (37) float32, "gradients" (12, 37) float32; for each case NAME of the JSON "NAME/f64" (12, 37) and
    "NAME/f32" (12, 37, float32): the parameter after each of the 12 steps, all in that precision. JSON: {"cases":
    [{"name", "kind": "sgd" | "adam", "lr": [12 rates], "weight_decay", and "momentum", "dampening", "nesterov" or
    "beta1", "beta2", "eps"}]}.

schedules   schedules.json
    [{"lr0", "epochs", "lr": [rate of epoch 0 .. epochs-1]}] of CosineAnnealingLR, stepped once an epoch.

resnet32    resnet32.safetensors, resnet32.json
    A whole ResNet32 (100 classes) in double. Weights, inputs and labels come from a formula (below), not from the file.
    JSON: "parameters" [{"name", "shape"}] in the order t = 0, 1, ..; "buffers" likewise (running statistics, the order
    going on from the parameters); hyperparameters.
    batch4/loss, batch32/loss (1)            the first training step's loss in double, batch statistics
    batch4/grad/{norm,dot,head,tail}         its gradients, one row a parameter: 2-norm (P), dot product with the sign
    batch32/grad/{...}                         vector of that tensor (P), first and last four elements (P, 4)
    batch{4,32}/loss_nchw, loss_nhwc (1)     the same step in PyTorch float32, contiguous and channels-last
    batch{4,32}/error_nchw, error_nhwc (P)   ||grad32 - grad64|| / ||grad64|| of each parameter for them
    steps/loss (10)                          losses of ten training steps in double: step s on batch s of 4 images; SGD
                                             with the JSON's lr, momentum, nesterov and weight_decay
    steps/{norm,dot,head,tail}               of every parameter, then of every buffer (P + B rows), after those steps
    steps/logits (4, 100)                    evaluation mode, inputs of step 0, after those steps
    steps/repeat_loss (10)                   relative difference of the losses when PyTorch computes them channels-last,
    steps/repeat (P + B)                     and of each tensor in norm: how far equally good double answers differ

    Formula. mix(x): z = x + 0x9E3779B97F4A7C15; z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB; z ^ z >> 31, all modulo 2^64 (Steele, Lea and Flood 2014, splitmix64).
    signed(t, i) = 2 * ((mix(t * 2^32 + i) >> 11) * 2^-53) - 1 in [-1, 1).
    Element i (flat, row major) of parameter t: signed(t, i) * bound, in double, then rounded to float32;
    bound = sqrt(3) * sqrt(2 / (k * k * out_channels)) for convolutions and 1/8 for fc.weight and fc.bias.
    Batch norm: weight float32(1 + 0.1 * signed), bias float32(0.1 * signed); running mean 0, variance 1.
    Inputs (N, 3, 32, 32) of step s: float32(sqrt(3) * signed(1000 + s, i)); label j: mix((2000 + s) * 2^32 + j) % 100.
    The batch of 32 is s = 100 of this formula. Sign vector of tensor t: +1 where signed(3000 + t, i) >= 0, else -1.

layers      layers.safetensors
    conv_{3x3_s1,3x3_s2,1x1_s2,7x7_s2}/{x,w,y,dy,dx,dw}; padding 1, 1, 0, 3
    batch_norm_train/{x,weight,bias,running_mean,running_var,y,mean,var,new_running_mean,new_running_var,dy,dx,dweight,
    dbias} (var: biased; new_running_var: unbiased), batch_norm_eval/{x,weight,bias,running_mean,running_var,y,dy,dx};
    eps 1e-5, momentum 0.1
    linear/{x,w,b,y,dy,dx,dw,db}
    cross_entropy{,_large}/{logits,labels (int64),per_sample,loss (1),dlogits (of the mean)}
    global_average_pool/{x,y,dy,dx}; max_pool/{x,y,dy,dx} (3x3, stride 2, padding 1)

objectives  objectives.safetensors, objectives.json
    Unlearning objectives on a small network (conv 3x3 stride 2 to 16 channels, batch norm, ReLU, average pool, fc to 5
    classes) in double: NegGrad+ and SCRUB (Kurmanji et al. 2023). Pictures, labels and the order of an epoch are
    Philox numbers, as tests/engine/test_objectives.cpp draws them. "initial/TENSOR" float32; "CASE/TENSOR" the state
    after the last epoch, "CASE/loss" (1) the mean cross entropy over the last epoch's last pass over what is retained.
    "mask/TENSOR": 1 where the masked case may change an element. JSON: the settings of each case.

mia         mia.safetensors, mia.json
    The attack of the study. For each case of the JSON's list: "CASE/members", "CASE/nonmembers" (losses, exact in
    float32), "CASE/test" (10, k) int64: the test samples of scikit-learn's StratifiedShuffleSplit(10, test_size=0.1,
    random_state=0), as positions in members followed by nonmembers; the training samples are all the others.
    "CASE/accuracy" (10), "CASE/coefficient" (10), "CASE/intercept" (10) of LogisticRegression on each split;
    "CASE/auc" (1) with score = -loss, "CASE/tpr" (2): the largest TPR of a threshold with FPR <= 0.001 and <= 0.01.

safetensors from_python.safetensors: written by the safetensors package itself, see check_safetensors.py.

checkpoints checkpoints/*.pt and checkpoints/expected.json
    plain.pt      OrderedDict: contiguous, transposed, sharing, empty and scalar tensors of several types
    parameter.pt  a dict whose values are nn.Parameter
    nested.pt     {"state_dict": {...}, "epoch": 3, "name": "x", ...}
    beside_pP.pt  pickle protocol P: {"state_dict": {...}} with attributes, beside everything that
                  torch.load(weights_only=True) lets through and some that it refuses (a NumPy scalar, a Namespace)
    legacy.pt     the format before zip files: to be refused
    evil.pt       a pickle that calls os.system, evil_eval.pt one that calls builtins.eval: to be refused; either would
                  only create an empty file nepenthe_evil in the temporary folder
    expected.json {file: {tensor name: {"dtype", "shape", "values" (row major)}}}
"""

import argparse
import io
import json
import math
import pickle
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import safetensors
import sklearn
import torch
from safetensors.numpy import save_file
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench" / "peers"))
sys.dont_write_bytecode = True
from cifar_resnet import make_model  # noqa: E402
from check_safetensors import write_sample  # noqa: E402

VERSIONS = {
    "torch": torch.__version__, "numpy": np.__version__,
    "scikit-learn": sklearn.__version__, "safetensors": safetensors.__version__,
}


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


# ---- optimisers and schedules ----------------------------------------------------------------------------------------

STEPS = 12
BASE_LR = {"sgd": 0.1, "adam": 1e-3}


def optimizer_cases():
    cosine = [(1 + math.cos(math.pi * k / STEPS)) / 2 for k in range(STEPS)]
    plain = {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
    kinds = {
        "sgd": plain,
        "momentum": {**plain, "momentum": 0.9},
        "dampening": {**plain, "momentum": 0.9, "dampening": 0.1},
        "nesterov": {**plain, "momentum": 0.9, "nesterov": True},
    }
    cases = []
    for name, options in kinds.items():
        for decay in (0.0, 5e-4):
            cases.append({"name": f"{name}_wd{decay:g}", "kind": "sgd", **options, "weight_decay": decay})
    for decay in (0.0, 1e-2):
        cases.append({"name": f"adam_wd{decay:g}", "kind": "adam", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
                      "weight_decay": decay})
    for case in cases:
        case["lr"] = [BASE_LR[case["kind"]] * factor for factor in cosine]
    for name in ("nesterov_wd0.0005", "adam_wd0"):
        case = next(case for case in cases if case["name"] == name)
        cases.append({**case, "name": name + "_constant", "lr": [BASE_LR[case["kind"]]] * STEPS})
    return cases


def make_optimizer(case, parameter):
    if case["kind"] == "adam":
        return torch.optim.Adam([parameter], lr=1.0, betas=(case["beta1"], case["beta2"]), eps=case["eps"],
                                weight_decay=case["weight_decay"])
    return torch.optim.SGD([parameter], lr=1.0, **{key: case[key] for key in
                                                   ("momentum", "dampening", "nesterov", "weight_decay")})


def optimizers(out):
    generator = torch.Generator().manual_seed(1)
    initial = torch.randn(37, generator=generator)
    gradients = torch.randn(STEPS, 37, generator=generator)
    gradients[:, 0] = 0  # never any gradient: weight decay alone
    gradients[:, 1] *= 1e-7  # near Adam's eps
    gradients[:, 2] *= 1e3
    gradients[6:, 3] = 0  # momentum running out
    tensors = {"initial": initial, "gradients": gradients}
    cases = optimizer_cases()
    for case in cases:
        for suffix, dtype in (("f64", torch.float64), ("f32", torch.float32)):
            parameter = nn.Parameter(initial.to(dtype, copy=True))
            optimizer = make_optimizer(case, parameter)
            path = []
            for lr, gradient in zip(case["lr"], gradients.to(dtype)):
                optimizer.param_groups[0]["lr"] = lr
                parameter.grad = gradient.clone()
                optimizer.step()
                path.append(parameter.detach().clone())
            tensors[f"{case['name']}/{suffix}"] = torch.stack(path)
    save(out / "optimizers.safetensors", tensors)
    save_json(out / "optimizers.json", {"cases": cases})


def schedules(out):
    entries = []
    for lr0, epochs in ((0.1, 20), (0.1, 200), (1e-3, 5), (0.1, 1)):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr0)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        rates = []
        for _ in range(epochs):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        entries.append({"lr0": lr0, "epochs": epochs, "lr": rates})
    save_json(out / "schedules.json", entries)


# ---- ResNet32 --------------------------------------------------------------------------------------------------------


# At the study's 0.1, ten steps on batches of 4 amplify the last bit of a double to 4e-3: two correct programs differ.
# At 0.01 they agree to 1e-13 (steps/repeat), so that an error shows.
STEP_LR = 0.01


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


def formula_batch(step, count):
    """Inputs (count, 3, 32, 32), as doubles exact in float32, and labels of a step."""
    images = (math.sqrt(3) * signed(1000 + step, (count, 3, 32, 32))).float().double()
    labels = torch.from_numpy((mix(2000 + step, count) % np.uint64(100)).astype(np.int64))
    return images, labels


def formula_model():
    """ResNet32 in double with the formula's weights."""
    model = make_model("resnet32").double()
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


def first_gradients(step, count, dtype, layout):
    """Loss and gradients (as doubles) of one training step at the formula's weights."""
    model = formula_model().to(dtype=dtype, memory_format=layout).train()
    images, labels = formula_batch(step, count)
    loss = F.cross_entropy(model(images.to(dtype=dtype, memory_format=layout)), labels)
    loss.backward()
    return loss.double(), [parameter.grad.double().contiguous() for parameter in model.parameters()]


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


def ten_steps(layout):
    """Losses of ten steps in double, the state after them, and the logits of step 0's inputs in evaluation mode."""
    model = formula_model().to(memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=STEP_LR, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses = []
    for step in range(10):
        images, labels = formula_batch(step, 4)
        loss = F.cross_entropy(model(images.contiguous(memory_format=layout)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    state = list(model.parameters()) + [b for _, b in running_statistics(model)]
    with torch.no_grad():
        logits = model.eval()(formula_batch(0, 4)[0])
    return torch.stack(losses), state, logits


def running_statistics(model):
    return [(name, b) for name, b in model.named_buffers() if not name.endswith("num_batches_tracked")]


def resnet32(out):
    tensors = {}
    layouts = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    for step, count in ((0, 4), (100, 32)):
        loss, exact = first_gradients(step, count, torch.float64, torch.contiguous_format)
        tensors[f"batch{count}/loss"] = loss
        tensors.update(digest(f"batch{count}/grad", exact))
        for name, layout in layouts.items():
            loss32, rounded = first_gradients(step, count, torch.float32, layout)
            tensors[f"batch{count}/loss_{name}"] = loss32
            tensors[f"batch{count}/error_{name}"] = torch.stack(
                [(a - b).norm() / b.norm() for a, b in zip(rounded, exact)])
    losses, state, logits = ten_steps(torch.contiguous_format)
    tensors["steps/loss"] = losses
    tensors.update(digest("steps", state))
    tensors["steps/logits"] = logits
    again, state_again, _ = ten_steps(torch.channels_last)
    tensors["steps/repeat_loss"] = (again - losses).abs() / losses
    tensors["steps/repeat"] = torch.stack([(a - b).norm() / b.norm() for a, b in zip(state_again, state)])
    save(out / "resnet32.safetensors", tensors)

    model = make_model("resnet32")
    save_json(out / "resnet32.json", {
        "model": "resnet32", "classes": 100, "lr": STEP_LR, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4,
        "steps": 10,
        "parameters": [{"name": name, "shape": list(p.shape)} for name, p in model.named_parameters()],
        "buffers": [{"name": name, "shape": list(b.shape)} for name, b in running_statistics(model)],
    })


# ---- objectives ------------------------------------------------------------------------------------------------------


def philox(index, epoch, shard, stage, purpose, seed):
    """Philox4x32-10 (Salmon et al. 2011) as engine/base/philox.h keys it: four 32-bit words."""
    x, y, z, w = index, epoch, (shard << 16) | stage, purpose
    key_x, key_y = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product_x, product_z = 0xD2511F53 * x, 0xCD9E8D57 * z
        x, y = (product_z >> 32) ^ y ^ key_x, product_z & 0xFFFFFFFF
        z, w = (product_x >> 32) ^ w ^ key_y, product_x & 0xFFFFFFFF
        key_x, key_y = (key_x + 0x9E3779B9) & 0xFFFFFFFF, (key_y + 0xBB67AE85) & 0xFFFFFFFF
    return x, y, z, w


RETAIN, FORGET = list(range(20)), list(range(20, 27))
RETAIN_BATCH, FORGET_BATCH, EPOCHS = 8, 4, 3
OBJECTIVES = {
    "neggrad_sgd": {"method": "neggrad", "alpha": 0.8, "optimizer": "sgd", "lr": 0.05, "masked": False},
    "neggrad_adam": {"method": "neggrad", "alpha": 0.8, "optimizer": "adam", "lr": 2e-3, "masked": False},
    "neggrad_masked": {"method": "neggrad", "alpha": 0.8, "optimizer": "sgd", "lr": 0.05, "masked": True},
    "scrub_sgd": {"method": "scrub", "alpha": 0.5, "gamma": 0.9, "temperature": 4.0, "max_epochs": 2, "decay_after": 2,
                  "optimizer": "sgd", "lr": 0.02, "masked": False},
    "scrub_adam": {"method": "scrub", "alpha": 0.5, "gamma": 0.9, "temperature": 4.0, "max_epochs": 2,
                   "decay_after": 2, "optimizer": "adam", "lr": 2e-3, "masked": False},
}


def small_network():
    return OrderedDict([("conv", nn.Conv2d(3, 16, 3, 2, 1, bias=False)), ("bn", nn.BatchNorm2d(16)),
                        ("relu", nn.ReLU()), ("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()),
                        ("fc", nn.Linear(16, 5))])


def batches(ids, batch, epoch):
    """The batches of an epoch over `ids`: keyed order, a last batch of one sample joins the one before."""
    def key(sample):
        x, y, _, _ = philox(sample, epoch, 1, 2, 2, 5)
        return (y << 32) | x, sample
    order = sorted(ids, key=key)
    cut = [order[begin:begin + batch] for begin in range(0, len(order), batch)]
    if len(cut) > 1 and len(cut[-1]) == 1:
        cut[-2] += cut.pop()
    return cut


def run_objective(settings, initial, masks, images, labels):
    model, teacher = (nn.Sequential(small_network()).double() for _ in range(2))
    for network in (model, teacher):
        network.load_state_dict(initial, strict=False)
    model.train()
    teacher.eval()
    if settings["optimizer"] == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = []

    def step(*parts):
        optimizer.zero_grad()
        for part in parts:
            part().backward()
        if settings["masked"]:
            for name, p in model.named_parameters():
                p.grad *= masks[name]
        optimizer.step()
        if settings["masked"]:
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p.copy_(torch.where(masks[name] > 0, p, start[name]))
                    optimizer.state[p]["momentum_buffer"] *= masks[name]

    def cross_entropy(ids, log=False):
        loss = F.cross_entropy(model(images[ids]), labels[ids])
        if log:
            losses.append(loss.item() * len(ids))
        return loss

    def both(ids, gamma, alpha, log=False):
        temperature, student = settings["temperature"], model(images[ids])
        with torch.no_grad():
            target = F.log_softmax(teacher(images[ids]) / temperature, 1)
        distillation = temperature**2 * F.kl_div(F.log_softmax(student / temperature, 1), target, log_target=True,
                                                 reduction="batchmean")
        loss = F.cross_entropy(student, labels[ids])
        if log:
            losses.append(loss.item() * len(ids))
        return gamma * loss + alpha * distillation

    for epoch in range(EPOCHS):
        losses.clear()
        factor = 1.0
        if settings["method"] == "scrub" and epoch >= settings["decay_after"]:
            factor = 0.1
        optimizer.param_groups[0]["lr"] = settings["lr"] * factor
        retain, forget = batches(RETAIN, RETAIN_BATCH, epoch), batches(FORGET, FORGET_BATCH, epoch)
        if settings["method"] == "neggrad":
            alpha = settings["alpha"]
            for i, ids in enumerate(retain):
                step(lambda: alpha * cross_entropy(ids, True),
                     lambda: -(1 - alpha) * cross_entropy(forget[i % len(forget)]))
        else:
            if epoch < settings["max_epochs"]:
                for ids in forget:
                    step(lambda: both(ids, 0.0, -1.0))
            for ids in retain:
                step(lambda: both(ids, settings["gamma"], settings["alpha"], True))
    state = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    return state, sum(losses) / len(RETAIN)


def objectives(out):
    count = len(RETAIN) + len(FORGET)
    pixels = [philox(i, 0, 0, 0, 0, 11)[0] >> 24 for i in range(count * 3 * 8 * 8)]
    images = torch.tensor(pixels, dtype=torch.float64).reshape(count, 3, 8, 8) / 255
    mean, std = (torch.tensor(v, dtype=torch.float32).double().reshape(1, 3, 1, 1)
                 for v in ((0.5, 0.4, 0.6), (0.25, 0.3, 0.2)))
    images = (images - mean) / std
    labels = torch.tensor([philox(i, 0, 0, 0, 12, 20240918)[0] * 5 >> 32 for i in range(count)])
    torch.manual_seed(6)
    initial = {name: value.detach().clone() for name, value in nn.Sequential(small_network()).state_dict().items()
               if not name.endswith("num_batches_tracked")}
    masks = {name: (signed(i, initial[name].shape) >= 0).double() for i, name in enumerate(initial)}
    tensors = {f"initial/{name}": value for name, value in initial.items()}
    tensors.update({f"mask/{name}": mask for name, mask in masks.items()})
    for case, settings in OBJECTIVES.items():
        state, loss = run_objective(settings, initial, masks, images, labels)
        tensors.update({f"{case}/{name}": value for name, value in state.items()})
        tensors[f"{case}/loss"] = torch.tensor(loss, dtype=torch.float64)
    save(out / "objectives.safetensors", tensors)
    save_json(out / "objectives.json", {"retain": RETAIN, "forget": FORGET, "retain_batch": RETAIN_BATCH,
                                        "forget_batch": FORGET_BATCH, "epochs": EPOCHS, "cases": OBJECTIVES})


# ---- layers ----------------------------------------------------------------------------------------------------------


def layers(out):
    generator = torch.Generator().manual_seed(2)
    tensors = {}

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def record(case, inputs, function, extra=None):
        """Store a case's inputs, its output y, a random dy and the gradients d<input> of every input named."""
        leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
        y = function(**leaves)
        dy = random(*y.shape)
        gradients = torch.autograd.grad(y, list(leaves.values()), dy)
        values = {**inputs, "y": y, "dy": dy, **{f"d{name}": g for name, g in zip(leaves, gradients)}, **(extra or {})}
        tensors.update({f"{case}/{name}": value for name, value in values.items()})

    for name, size, stride, padding, shape in (("3x3_s1", 3, 1, 1, (2, 3, 7, 9)), ("3x3_s2", 3, 2, 1, (2, 3, 7, 9)),
                                               ("1x1_s2", 1, 2, 0, (2, 3, 7, 9)), ("7x7_s2", 7, 2, 3, (2, 3, 11, 9))):
        outputs = 2 if size == 7 else 5
        record(f"conv_{name}", {"x": random(*shape), "w": random(outputs, 3, size, size)},
               lambda x, w: F.conv2d(x, w, stride=stride, padding=padding))

    x, weight, bias = random(3, 4, 3, 5) * 2 + 1, random(4), random(4)
    running_mean, running_var = random(4), random(4).square() + 0.5
    new_mean, new_var = running_mean.clone(), running_var.clone()
    affine = {"x": x, "weight": weight, "bias": bias}
    # Keeps the updated statistics: F.batch_norm changes its running arguments in place.
    record("batch_norm_train", affine,
           lambda x, weight, bias: F.batch_norm(x, new_mean, new_var, weight, bias, True, 0.1, 1e-5),
           {"running_mean": running_mean, "running_var": running_var, "new_running_mean": new_mean,
            "new_running_var": new_var, "mean": x.mean(dim=(0, 2, 3)), "var": x.var(dim=(0, 2, 3), unbiased=False)})
    record("batch_norm_eval", affine,
           lambda x, weight, bias: F.batch_norm(x, running_mean, running_var, weight, bias, False, 0.1, 1e-5),
           {"running_mean": running_mean, "running_var": running_var})

    record("linear", {"x": random(5, 7), "w": random(3, 7), "b": random(3)},
           lambda x, w, b: F.linear(x, w, b))
    record("global_average_pool", {"x": random(2, 5, 3, 7)}, lambda x: x.mean(dim=(2, 3)))
    record("max_pool", {"x": random(2, 3, 9, 7)}, lambda x: F.max_pool2d(x, 3, 2, 1))

    large = random(6, 10) * 500  # exp overflows unless the largest logit is taken off first
    for name, logits in (("cross_entropy", random(6, 10) * 3), ("cross_entropy_large", large)):
        labels = torch.randint(0, 10, (6,), generator=generator)
        leaf = logits.clone().requires_grad_()
        loss = F.cross_entropy(leaf, labels)
        loss.backward()
        tensors.update({f"{name}/logits": logits, f"{name}/labels": labels, f"{name}/loss": loss,
                        f"{name}/per_sample": F.cross_entropy(logits, labels, reduction="none"),
                        f"{name}/dlogits": leaf.grad})
    save(out / "layers.safetensors", tensors)


# ---- membership inference --------------------------------------------------------------------------------------------


def mia_cases():
    rng = np.random.default_rng(3)
    return {
        "shifted": (rng.exponential(0.5, 400), rng.exponential(1.0, 400)),
        "heavy_tailed": (rng.lognormal(-3, 2.5, 400), rng.pareto(0.7, 400) * 0.05),
        "identical": (rng.gamma(0.5, 1.0, 300), rng.gamma(0.5, 1.0, 300)),
        "tiny": (rng.exponential(0.5, 10), rng.exponential(1.0, 10)),
        "constant": (np.full(50, 1.25), np.full(50, 1.25)),
        "ties": (np.round(rng.exponential(0.7, 200) * 4) / 4, np.round(rng.exponential(1.0, 200) * 4) / 4),
        "unequal": (rng.exponential(0.5, 137), rng.exponential(1.0, 251)),
    }


def fit(x, y):
    """Coefficient and intercept of L2-regularised logistic regression (C = 1, free intercept), fitted to convergence.

    scikit-learn's Newton solver hands over to lbfgs, which stops early, where its line search meets rounding (all
    features equal, or very long tails); so damped Newton steps from its answer finish the job. Also returns how far
    that moved the coefficient.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=10000).fit(x, y)
    design = np.column_stack([x[:, 0], np.ones(len(y))])
    penalty = np.array([1.0, 0.0])
    found = np.array([model.coef_[0, 0], model.intercept_[0]])
    best = found

    def gradient(theta):
        return design.T @ (1 / (1 + np.exp(-(design @ theta))) - y) + penalty * theta

    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ best)))
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient(best))
        size = 1.0
        while size > 1e-3 and np.linalg.norm(gradient(best - size * step)) >= np.linalg.norm(gradient(best)):
            size /= 2
        if size <= 1e-3:
            break
        best = best - size * step
    scale = np.abs(design).sum(axis=0) + 1
    assert np.all(np.abs(gradient(best)) <= 1e-12 * scale), f"not converged: gradient {gradient(best)}"
    moved = abs(best[0] - found[0])
    model.coef_[0, 0], model.intercept_[0] = best
    return model, best[0], best[1], moved


def largest_tpr(members, nonmembers, limit):
    best = 0.0
    for threshold in np.unique(np.concatenate([members, nonmembers])):
        if np.count_nonzero(nonmembers <= threshold) / len(nonmembers) <= limit:
            best = max(best, np.count_nonzero(members <= threshold) / len(members))
    return best


def mia(out):
    tensors = {}
    cases = mia_cases()
    for name, losses in cases.items():
        members, nonmembers = (part.astype(np.float32).astype(np.float64) for part in losses)
        x = np.concatenate([members, nonmembers])[:, None]
        y = np.concatenate([np.ones(len(members), np.int64), np.zeros(len(nonmembers), np.int64)])
        splits = StratifiedShuffleSplit(n_splits=10, test_size=0.1, random_state=0)
        tests, accuracy, coefficient, intercept = [], [], [], []
        for train, test in splits.split(x, y):
            assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
            model, a, b, moved = fit(x[train], y[train])
            if moved > 1e-6 * (1 + abs(a)):
                print(f"  {name}: scikit-learn stopped {moved:.1e} short of the coefficient {a:.4f}")
            tests.append(test)
            accuracy.append(model.score(x[test], y[test]))
            coefficient.append(a)
            intercept.append(b)
        tensors.update({
            f"{name}/members": members, f"{name}/nonmembers": nonmembers, f"{name}/test": np.stack(tests),
            f"{name}/accuracy": np.array(accuracy), f"{name}/coefficient": np.array(coefficient),
            f"{name}/intercept": np.array(intercept), f"{name}/auc": roc_auc_score(y, -x[:, 0]),
            f"{name}/tpr": np.array([largest_tpr(members, nonmembers, limit) for limit in (0.001, 0.01)]),
        })
    save(out / "mia.safetensors", tensors)
    save_json(out / "mia.json", {"cases": list(cases), "splits": 10, "test_size": 0.1, "random_state": 0, "C": 1.0,
                                 "fpr": [0.001, 0.01]})


# ---- files of other programs -----------------------------------------------------------------------------------------


def safetensors_file(out):
    write_sample(out / "from_python.safetensors")


def evil_archive(path, module, function, argument):
    """A zip laid out as torch.save does, whose pickle calls module.function(argument) inside an ordinary dict."""
    program = io.BytesIO()
    program.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK)
    text = b"conv1.weight"
    program.write(pickle.BINUNICODE + len(text).to_bytes(4, "little") + text)
    program.write(pickle.GLOBAL + f"{module}\n{function}\n".encode())
    text = argument.encode()
    program.write(pickle.BINUNICODE + len(text).to_bytes(4, "little") + text)
    program.write(pickle.TUPLE1 + pickle.REDUCE + pickle.SETITEMS + pickle.STOP)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("archive/data.pkl", program.getvalue()), ("archive/version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(name), content)


def with_attribute(tensor):
    tensor.note = "kept in the pickle"
    return tensor


def checkpoints(out):
    folder = out / "checkpoints"
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(4)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    shared = random(10)
    plain = OrderedDict([
        ("conv1.weight", random(4, 3, 3, 3)),
        ("bn1.weight", random(4)),
        ("bn1.num_batches_tracked", torch.tensor(1234567890123)),
        ("transposed", random(3, 5).t()),
        ("strided", random(6, 8)[1::2, 2::3]),
        ("shared.all", shared),
        ("shared.part", shared[3:7]),
        ("half", random(2, 3).half()),
        ("bfloat16", random(2, 3).bfloat16()),
        ("double", random(2, 3).double() / 3),
        ("scalar", torch.tensor(0.1)),
        ("empty", torch.empty(0, 3)),
    ])
    parameter = {"weight": nn.Parameter(random(2, 3)), "frozen": nn.Parameter(random(2), requires_grad=False)}
    nested = {"fc.weight": random(3, 2), "fc.bias": random(3)}
    extras = {"epoch": 3, "name": "x", "best": 0.5, "history": [1, -2, 2**40], "flags": (True, False, None)}
    torch.save(plain, folder / "plain.pt")
    torch.save(parameter, folder / "parameter.pt")
    torch.save({"state_dict": nested, **extras}, folder / "nested.pt")
    attributed = OrderedDict(nested)
    attributed._metadata = OrderedDict([("fc", {"version": 1})])
    beside = {"set": {1, 2}, "frozen": frozenset((3,)), "size": torch.Size((2, 3)), "dtype": torch.float16,
              "device": torch.device("cpu"), "bytes": b"\x00\xff", "array": bytearray(b"ab"), "big": -(2**70),
              "huge": 2**3000, "complex": 1 + 2j, "counter": Counter("aab"), "default": defaultdict(list, a=[1]),
              "parameter": with_attribute(nn.Parameter(random(2))), "tensor": with_attribute(random(2)),
              "complex_tensor": torch.zeros(2, dtype=torch.complex64), "sparse": torch.eye(2).to_sparse(),
              "scalar": np.float64(0.5), "numpy": np.arange(3), "args": argparse.Namespace(lr=0.1),
              "path": Path("a/b"), "optimizer": torch.optim.SGD([nn.Parameter(random(2))], 0.1).state_dict()}
    for protocol in range(2, 6):
        torch.save({"before": beside, "state_dict": attributed, "after": beside, **beside},
                   folder / f"beside_p{protocol}.pt", pickle_protocol=protocol)
    torch.save({"weight": random(2)}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    evil_archive(folder / "evil.pt", "os", "system", "touch /tmp/nepenthe_evil")
    evil_archive(folder / "evil_eval.pt", "builtins", "eval", "open('/tmp/nepenthe_evil', 'w').close()")

    def expected(tensors):
        return {name: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape),
                       "values": t.detach().to(torch.int64 if t.dtype == torch.int64 else torch.float64)
                                  .flatten().tolist()} for name, t in tensors.items()}

    save_json(folder / "expected.json", {"plain.pt": expected(plain), "parameter.pt": expected(parameter),
                                         "nested.pt": expected(nested),
                                         **{f"beside_p{protocol}.pt": expected(nested) for protocol in range(2, 6)}})


PARTS = {"optimizers": optimizers, "schedules": schedules, "resnet32": resnet32, "layers": layers,
         "objectives": objectives, "mia": mia, "safetensors": safetensors_file, "checkpoints": checkpoints}


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
