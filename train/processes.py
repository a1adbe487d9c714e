"""One process, or several that share each batch (`torchrun -m train fit ...`)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's place among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """The one that writes files and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes came here."""
        if self.world > 1:
            distributed.barrier()

    def mean(self, value: float) -> float:
        """Over all processes."""
        if self.world == 1:
            return value
        total = torch.tensor(value, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.world


@contextmanager
def started(device: str = "auto") -> Iterator[Processes]:
    """Join the group that torchrun announces in the environment, if any; leave it at the end.

    `auto` takes a GPU where there is one: NCCL between GPUs, gloo between CPU processes.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    place = torch.device(f"cuda:{local}" if kind == "cuda" else kind)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world > 1:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        if world > 1:
            distributed.destroy_process_group()
