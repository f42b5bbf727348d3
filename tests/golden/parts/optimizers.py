"""PyTorch's optimisers and schedules.

optimizers  optimizers.safetensors, optimizers.json
    "initial" (37) float32, "gradients" (12, 37) float32; for each case NAME of the JSON "NAME/f64" (12, 37) and
    "NAME/f32" (12, 37, float32): the parameter after each of the 12 steps, all in that precision. JSON: {"cases":
    [{"name", "kind": "sgd" | "adam", "lr": [12 rates], "weight_decay", and "momentum", "dampening", "nesterov" or
    "beta1", "beta2", "eps"}], "adam_groups": {"lr", "fc_lr"}}.
    "adam_groups/initial" (37) float32; "adam_groups/backbone", "adam_groups/head" (12, 37): one Adam whose groups have
    the JSON's rates, each by CosineAnnealingLR over the 12 steps. Its parameters are small, as large as its steps.

schedules   schedules.json
    [{"lr0", "epochs", "lr": [rate of epoch 0 .. epochs-1]}] of CosineAnnealingLR, stepped once an epoch.
"""

import math

import torch
from torch import nn

from parts.files import save, save_json

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


def adam_groups(rates, initial, gradients):
    """The parameter of each group after each step."""
    groups = {name: nn.Parameter(initial.double()) for name in ("backbone", "head")}
    optimizer = torch.optim.Adam([{"params": [groups["backbone"]], "lr": rates["lr"]},
                                  {"params": [groups["head"]], "lr": rates["fc_lr"]}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    paths = {name: [] for name in groups}
    for gradient in gradients.double():
        for parameter in groups.values():
            parameter.grad = gradient.clone()
        optimizer.step()
        schedule.step()
        for name, parameter in groups.items():
            paths[name].append(parameter.detach().clone())
    return {name: torch.stack(path) for name, path in paths.items()}


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
    rates = {"lr": 1e-4, "fc_lr": 1e-3}
    tensors["adam_groups/initial"] = initial / 1000
    tensors.update({f"adam_groups/{name}": path
                    for name, path in adam_groups(rates, initial / 1000, gradients).items()})
    save(out / "optimizers.safetensors", tensors)
    save_json(out / "optimizers.json", {"cases": cases, "adam_groups": rates})


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
