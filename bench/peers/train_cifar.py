#!/usr/bin/env python3
"""Train a CIFAR ResNet on CIFAR-100 with PyTorch: the peer that our own training runs are laid beside.

The recipe is the study's baseline: SGD (lr 0.1, Nesterov 0.9, weight decay 5e-4 on every parameter), cosine schedule
stepped per epoch, batch 128 with the last partial batch used, cross entropy averaged over the batch. Training images
are padded by 4 black pixels (raw value 0, before normalisation), cropped at random to 32x32 and flipped with
probability 1/2; test images are only normalised.

Prints one JSON line per seed: test top-1, top-5 and mean loss, the mean training loss of each epoch, and seconds.

    train_cifar.py --data cifar-100-binary --model resnet20 --epochs 3 --seeds 1,2,3
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from cifar_resnet import BLOCKS, make_model

MEAN = torch.tensor([0.5070, 0.4865, 0.4409])
STD = torch.tensor([0.2673, 0.2564, 0.2761])
PAD = 4


def read_records(path):
    """Images as uint8 (N, 3, 32, 32) and fine labels as int64 (N) of a CIFAR-100 binary file."""
    records = np.fromfile(path, dtype=np.uint8).reshape(-1, 2 + 3072)
    labels = torch.from_numpy(records[:, 1].astype(np.int64))
    images = torch.from_numpy(records[:, 2:].reshape(-1, 3, 32, 32).copy())
    return images, labels


def normalise(images, layout):
    """Bytes (N, 3, 32, 32) to normalised float32 in the given memory format."""
    scale = (1 / (255 * STD)).view(1, 3, 1, 1)
    shift = (MEAN / STD).view(1, 3, 1, 1)
    return (images.float() * scale - shift).contiguous(memory_format=layout)


def augment(padded, ids, rng):
    """Random crops and flips of the padded bytes (N, 3, 40, 40) of the given sample ids."""
    count = len(ids)
    down, right = rng.integers(0, 2 * PAD + 1, size=(2, count))
    flip = rng.random(count) < 0.5
    rows = down[:, None] + np.arange(32)
    columns = np.where(flip[:, None], np.arange(31, -1, -1), np.arange(32)) + right[:, None]
    picked = padded[ids[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, 32, 32, 3)
    return torch.from_numpy(picked.transpose(0, 3, 1, 2))


@torch.no_grad()
def evaluate(model, images, labels, layout, batch=500):
    """Top-1, top-5 and mean cross entropy in evaluation mode."""
    model.eval()
    top1 = top5 = loss = 0
    for x, y in zip(images.split(batch), labels.split(batch)):
        logits = model(normalise(x, layout))
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        hits = logits.topk(5).indices == y[:, None]
        top1 += hits[:, 0].sum().item()
        top5 += hits.sum().item()
    count = len(labels)
    return {"top1": top1 / count, "top5": top5 / count, "loss": loss / count}


def train(args, seed, train_set, test_set):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    layout = torch.channels_last if args.layout == "nhwc" else torch.contiguous_format
    model = make_model(args.model).to(memory_format=layout)
    optimiser = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.epochs)

    images, labels = train_set
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)))
    epoch_losses = []
    start = time.perf_counter()
    for epoch in range(args.epochs):
        model.train()
        order = rng.permutation(len(labels))
        total = 0.0
        for first in range(0, len(order), args.batch):
            ids = order[first : first + args.batch]
            x = normalise(augment(padded, ids, rng), layout)
            loss = F.cross_entropy(model(x), labels[ids])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.item() * len(ids)
        schedule.step()
        epoch_losses.append(total / len(order))
        print(f"seed {seed} epoch {epoch + 1}: loss {epoch_losses[-1]:.4f}, "
              f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - start
    return {
        "model": args.model, "epochs": args.epochs, "batch": args.batch, "lr": args.lr, "seed": seed,
        "threads": args.threads, "layout": args.layout, "torch": torch.__version__,
        **evaluate(model, *test_set, layout), "epoch_losses": epoch_losses, "train_seconds": seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.bin and test.bin of CIFAR-100")
    parser.add_argument("--model", choices=BLOCKS, default="resnet20")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seeds", default="1", help="comma-separated; one run and one line each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=["nchw", "nhwc"], default="nhwc")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT records of both sets, for a quick check")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    train_set, test_set = (
        tuple(part[: args.limit] for part in read_records(args.data / name)) for name in ("train.bin", "test.bin")
    )
    for seed in map(int, args.seeds.split(",")):
        print(json.dumps(train(args, seed, train_set, test_set)), flush=True)


if __name__ == "__main__":
    main()
