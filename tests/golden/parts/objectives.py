"""Unlearning objectives.

objectives  objectives.safetensors, objectives.json
    Unlearning objectives on a small network (conv 3x3 stride 2 to 16 channels, batch norm, ReLU, average pool, fc to 5
    classes) in double: NegGrad+ and SCRUB (Kurmanji et al. 2023). Pictures, labels and the order of an epoch are
    Philox numbers, as tests/engine/test_objectives.cpp draws them. "initial/TENSOR" float32; "CASE/TENSOR" the state
    after the last epoch, "CASE/loss" (1) the mean cross entropy over the last epoch's last pass over what is retained.
    "mask/TENSOR": 1 where the masked case may change an element. JSON: the settings of each case.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from parts.files import save, save_json
from parts.formula import signed


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
