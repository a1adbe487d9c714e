"""Compares training throughput with torchvision's reference recipe: same images, backbone, size and batch.

python -m benchmarks.training_speed ../shared/data/cub100 [--size 224] [--batch 32] [--steps 6] [--rounds 3]
    [--threads N]

The reference is the data path and step of pytorch/vision `references/classification` (`train.py`, `presets.py`): class
folders read by PIL, RandomResizedCrop, flip, PILToTensor, float, normalise; cross-entropy, SGD with momentum. It is
compared with the loop of `train/` with the same techniques, and with the augmentation of the recipe `porini`. Each runs
in a process of its own, started as its users start it: ours with the memory settings of docs/train.md. Rounds
alternate, so that a shared machine is equally slow for each of them; only the ratio counts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from msgspec import structs
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from train.data.batch_sampler import BatchOrder
from train.data.image_cache import PixelSource
from train.data.readers import read_dataset
from train.data.sample import Sample
from train.fit.augment.training_images import TrainingImages
from train.fit.loop import Task, _Training
from train.model.network import Network
from train.recipe import AugmentSettings, NetworkSpec, OptimiserSettings, Recipe, load_recipe
from train.runtime.distributed import Processes

KEEP_FREED_MEMORY = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456:"
    "glibc.malloc.hugetlb=1"
}
"""The environment that docs/train.md recommends on Linux."""

REFERENCE, SAME = "torchvision reference", "ours, same techniques"
LOOPS = (REFERENCE, SAME, "ours, recipe porini")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loop:
        print(_speed(options))
        return
    speeds: dict[str, list[float]] = {name: [] for name in LOOPS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name, values in speeds.items():
                command = [*sys.orig_argv, "--loop", name, "--folder", folder]
                environment = {**os.environ, **({} if name == REFERENCE else KEEP_FREED_MEMORY)}
                values.append(float(subprocess.check_output(command, env=environment).split()[-1]))
    base = median(speeds[REFERENCE])
    print("| loop | images/s (median) | ratio |\n|---|---|---|")
    for name, values in speeds.items():
        print(f"| {name} | {median(values):.1f} | {median(values) / base:.2f} |")


def _speed(options: argparse.Namespace) -> float:
    """Images per second of one loop, after a first epoch that warms up."""
    if options.threads:
        torch.set_num_threads(options.threads)
    samples = tuple(read_dataset(options.data).samples[: options.steps * options.batch])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.loop == REFERENCE:
        epochs = _reference(samples, options, device, options.folder / "folders")
    else:
        plain = Recipe(
            "plain",
            optimiser=OptimiserSettings(name="sgd", batch=options.batch, channels_last=True),
            augment=AugmentSettings(view_scale=(0.08, 1.0)),
            weights="none",
        )
        recipe = plain if options.loop == SAME else structs.replace(load_recipe("porini"), weights="none")
        epochs = _ours(recipe, samples, options, device, options.folder / "cache")
    next(epochs)
    return next(epochs)


def _reference(
    samples: Sequence[Sample], options: argparse.Namespace, device: torch.device, folder: Path
) -> Iterator[float]:
    for sample in samples:
        link = folder / sample.label / f"{sample.path.parent.name}-{sample.path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(sample.path.resolve())
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(options.size, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = ImageFolder(str(folder), transform)
    loader = DataLoader(images, options.batch, shuffle=True, drop_last=True)
    network = Network(NetworkSpec(), len(images.classes)).to(device).train()
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    loss_of = nn.CrossEntropyLoss()
    while True:
        began, seen = time.perf_counter(), 0
        for batch, labels in loader:
            loss = loss_of(network(batch.to(device)).logits, labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()
            seen += len(labels)
        yield seen / (time.perf_counter() - began)


def _ours(
    recipe: Recipe, samples: Sequence[Sample], options: argparse.Namespace, device: torch.device, cache: Path
) -> Iterator[float]:
    recipe = structs.replace(recipe, optimiser=structs.replace(recipe.optimiser, batch=options.batch, head_epochs=0))
    labels = tuple(sorted({sample.label for sample in samples}))
    source = PixelSource(options.size, None, cache)
    task = Task(tuple(samples), labels, (None,) * len(labels), source)
    training = _Training(recipe, task, Processes(0, 1, device))
    order = BatchOrder(samples, recipe.data.balance, options.batch, 0)
    dataset = TrainingImages(samples, labels, source, recipe.augment, options.size)
    loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=order)
    progress = _Silent()
    epoch = 0
    while True:
        order.epoch = epoch
        began = time.perf_counter()
        training.epoch(epoch, loader, len(order), progress)  # type: ignore[arg-type]
        yield len(order) * options.batch / (time.perf_counter() - began)
        epoch += 1


class _Silent:
    def step(self, epoch: float, images: int, loss: float, rate: float) -> None:
        """Print nothing."""


if __name__ == "__main__":
    main()
