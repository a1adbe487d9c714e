"""Training in one process, or in several that share each batch (`torchrun -m train fit ...`)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from train import TrainError

_TIMEOUT = timedelta(days=1)  # the others wait while the first evaluates; torchrun ends them all when one dies


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def mean(self, value: float) -> float:
        """The mean of `value` over all processes."""
        if self.world == 1:
            return value
        total = torch.tensor(value, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.world

    def from_first(self, value: Any) -> Any:
        """The first process's `value` in all processes."""
        if self.world == 1:
            return value
        shared = [value if self.first else None]
        distributed.broadcast_object_list(shared, device=self.device)
        return shared[0]


def gathered_from_all(tensor: Tensor) -> Tensor:
    """The tensors [N, ...] of all processes, one after the other: [processes * N, ...].

    For a loss that each process computes over the whole batch: when DistributedDataParallel averages the gradients,
    they are those of a single process.
    """
    if not distributed.is_initialized():
        return tensor
    gathered: Tensor = _Gathered.apply(tensor)
    return gathered


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.world, ctx.rank, ctx.size = distributed.get_world_size(), distributed.get_rank(), len(tensor)
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(ctx.world)]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The loss is the same in all processes, so the sum of their gradients is this process's own, times their
        number: nothing needs to be sent.
        """
        total: Tensor = gradients[0][ctx.rank * ctx.size : (ctx.rank + 1) * ctx.size] * ctx.world
        return total


@contextmanager
def started(device: str = "auto", threads: int | None = None) -> Iterator[Processes]:
    """Join the group of processes that torchrun names in the environment, if any, and leave it at the end.

    `auto` uses a GPU where there is one: NCCL between GPUs, gloo between CPU processes. `threads` are those of the
    arithmetic, by default PyTorch's own choice. Raises `TrainError` for a device that is not there.
    """
    if threads:
        torch.set_num_threads(threads)
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        place = torch.device(f"cuda:{local}" if kind == "cuda" else kind)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built for the CPU alone
        raise TrainError(f"PyTorch finds no device {device!r} here; expected auto, cpu or cuda") from error
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world > 1:
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(rank, world, place)
    finally:
        if world > 1:
            distributed.destroy_process_group()
