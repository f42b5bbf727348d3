"""Layers.

layers      layers.safetensors
    conv_{3x3_s1,3x3_s2,1x1_s2,7x7_s2}/{x,w,y,dy,dx,dw}; padding 1, 1, 0, 3
    batch_norm_train/{x,weight,bias,running_mean,running_var,y,mean,var,new_running_mean,new_running_var,dy,dx,dweight,
    dbias} (var: biased; new_running_var: unbiased), batch_norm_eval/{x,weight,bias,running_mean,running_var,y,dy,dx};
    eps 1e-5, momentum 0.1
    linear/{x,w,b,y,dy,dx,dw,db}
    cross_entropy{,_large}/{logits,labels (int64),per_sample,loss (1),dlogits (of the mean)}
    global_average_pool/{x,y,dy,dx}; max_pool/{x,y,dy,dx} (3x3, stride 2, padding 1)
"""

import torch
from torch.nn import functional as F

from parts.files import save


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
