"""Processes that share a batch do together what one process does alone."""

import json
import math
import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tests.support.made_animals import LABELS
from tests.support.stopped_training import StoppingProcesses
from tests.support.tiny_recipe import TINY
from train import TrainError
from train.data.batch_sampler import BatchOrder
from train.data.image_cache import PixelSource
from train.data.readers import read_dataset
from train.data.sample import Sample
from train.fit.loop import Task, _Training, fit
from train.fit.losses.objective import Batch, Objective
from train.model.network import Network
from train.recipe import LossSettings, NetworkSpec, load_recipe
from train.runtime.distributed import Processes, started

METRICS = ("arcface", "proxy_anchor", "supcon", "triplet")
ALONE = Processes(0, 1, torch.device("cpu"))
COMMON = ["freeze_batchnorm=true", "optimiser.name=sgd", "optimiser.accumulate=2", "optimiser.epochs=2"]
# Mixed by a share of 0 or 1, a batch is the same samples in another order: its loss does not depend on who mixes what.
TRAININGS = {
    "proxies beside mixed batches": ["loss.metric=proxy_anchor", "augment.mixup=1e-3", "optimiser.batch=8"],
    "pairs and centres": ["loss.metric=supcon", "loss.part_centre_weight=1", "optimiser.batch=12"],
}


def gradients(metric: str, processes: Processes) -> dict[str, torch.Tensor]:
    """Of the objective with that metric loss, for this process's share of a batch of 12; and the centres after it."""
    torch.manual_seed(0)
    settings = LossSettings(metric=metric, part_centre_weight=1.0)  # type: ignore[arg-type]
    objective = Objective(Network(NetworkSpec("test_efficientnet"), 3), settings, (4, 4, 4), (None,) * 3, 256).train()
    objective.network.backbone.eval()  # BatchNorm would see its own share alone
    pixels, labels = torch.randn(12, 3, 48, 48), torch.tensor([0, 1, 2, 0, 0, 0, 1, 1, 2, 2, 1, 2])
    share = 12 // processes.world
    mine = slice(processes.rank * share, (processes.rank + 1) * share)
    module = objective if processes.world == 1 else DistributedDataParallel(objective)
    batch = Batch(pixels[mine], labels[mine], labels[mine], torch.full((share, 4), torch.nan), False)
    loss, _ = module(batch)
    loss.backward()
    assert objective.centres is not None
    found = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    return found | {"centres": objective.centres.centres}


def task(animals: Path) -> Task:
    return Task(read_dataset(animals).samples, LABELS, (None,) * 3, PixelSource(48))


def work(rank: int, port: int, folder: Path, animals: Path, recipe: Path) -> None:
    """What each of two processes does, with a folder of its own, as on two machines that share none."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    torch.set_num_threads(1)
    with started("cpu") as processes:
        for metric in METRICS:
            torch.save(gradients(metric, processes), folder / f"{metric}-{rank}.pt")
        for number, settings in enumerate(TRAININGS.values()):
            own = folder / f"{number}-{rank}"
            own.mkdir()
            chosen = load_recipe(str(recipe), [*COMMON, *settings])
            with pytest.raises(KeyboardInterrupt):
                fit(chosen, task(animals), own, StoppingProcesses(rank, processes.world, processes.device))
            network = fit(chosen, task(animals), own, processes, resume=True)
            torch.save(network.state_dict(), own / "network.pt")
        step = _Training._step
        if rank:
            _Training._step = lambda *given: math.nan * step(*given)  # type: ignore[method-assign]
        (folder / f"diverging-{rank}").mkdir()
        with pytest.raises(TrainError) as stopped:
            fit(load_recipe(str(recipe), COMMON), task(animals), folder / f"diverging-{rank}", processes)
        (folder / f"diverging-{rank}" / "said.txt").write_text(str(stopped.value))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, animals: Path) -> Path:
    """The folder that two processes wrote to."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = torch.multiprocessing.spawn  # type: ignore[attr-defined]
    context = spawn(work, (port, folder, animals, folder / "tiny.toml"), nprocs=2, join=False)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + 300
    try:
        while not context.join(max(0.0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, "the processes wait for each other in vain"
    finally:
        for process in context.processes:
            process.kill()
    return folder


@pytest.mark.parametrize("metric", METRICS)
def test_metric_losses_see_the_whole_batch(metric: str, two: Path) -> None:
    wanted = gradients(metric, ALONE)
    for rank in (0, 1):
        found = torch.load(two / f"{metric}-{rank}.pt")
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=f"{name} of process {rank}")


@pytest.mark.parametrize("number", range(len(TRAININGS)), ids=list(TRAININGS))
def test_stopped_and_resumed_by_two_is_as_trained_by_one(number: int, two: Path, tmp_path: Path, animals: Path) -> None:
    recipe = load_recipe(str(two / "tiny.toml"), [*COMMON, *list(TRAININGS.values())[number]])
    network = fit(recipe, task(animals), tmp_path, ALONE)
    assert network is not None

    def curve(folder: Path) -> list[float]:
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        return [row["mean_loss"] for row in rows if "mean_loss" in row]

    first, second = (torch.load(two / f"{number}-{rank}" / "network.pt") for rank in (0, 1))
    assert curve(two / f"{number}-0") == pytest.approx(curve(tmp_path), rel=1e-3)
    for name, value in network.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-2, atol=1e-4)


def test_a_loss_that_is_no_number_in_one_process_stops_both_at_once(two: Path) -> None:
    said = [(two / f"diverging-{rank}" / "said.txt").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert said[0].startswith("training diverged: the loss is nan in epoch 1, step 1;")


def test_parts_of_a_batch_are_the_same_however_many_share_it() -> None:
    samples = [Sample(Path(f"{number}.jpg"), "a") for number in range(24)]

    def batches(rank: int, world: int) -> list[list[tuple[int, int]]]:
        return list(BatchOrder(samples, "plain", 12, 0, rank, world, parts=2))

    for whole, one, other in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        assert whole == one[:3] + other[:3] + one[3:] + other[3:]


def test_processes_wait_as_long_as_an_evaluation_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[timedelta] = []
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, timeout: asked.append(timeout))
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with started("cpu"):
        pass
    assert asked[0] >= timedelta(hours=6)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_told_in_one_line(device: str) -> None:
    with (
        pytest.raises(TrainError, match=f"PyTorch finds no device '{device}' here; expected auto"),
        started(device),
    ):
        pass
