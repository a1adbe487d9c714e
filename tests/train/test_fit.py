"""The loop: the same seed gives the same network, however it got there."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.made_animals import LABELS
from train import TrainError
from train.datasets import read_dataset
from train.fit import Task, fit
from train.network import Network
from train.pixels import PixelSource
from train.processes import Processes
from train.recipe import Recipe, load_recipe
from train.weights import build_with_weights

ALONE = Processes(0, 1, torch.device("cpu"))


def task(animals: Path) -> Task:
    return Task(read_dataset(animals).samples, LABELS, (None,) * 3, PixelSource(48))


def same(one: Network | None, other: Network | None) -> bool:
    assert one is not None
    assert other is not None
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def whole(recipe: Recipe, animals: Path, folder: Path) -> Network:
    folder.mkdir()
    network = fit(recipe, task(animals), folder, ALONE)
    assert network is not None
    return network


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_resumed_training_ends_in_the_same_network(
    tiny_recipe: Path, animals: Path, tmp_path: Path, amp: str
) -> None:
    recipe = load_recipe(
        str(tiny_recipe),
        [
            "optimiser.ema_decay=0.9", "augment.mixup=0.2", "network.drop_rate=0.2", f"optimiser.amp={amp}",
            "loss.metric=arcface", "data.balance=class_and_sequence", "augment.policy=trivial",
        ],
    )  # fmt: skip
    through = whole(recipe, animals, tmp_path / "through")
    parted = tmp_path / "parted"
    parted.mkdir()
    assert fit(recipe, task(animals), parted, ALONE, stop_after_epoch=1) is None
    assert same(through, fit(recipe, task(animals), parted, ALONE, resume=True))
    other = replace(recipe, seed=1)
    assert not same(through, whole(other, animals, tmp_path / "other"))
    with pytest.raises(TrainError, match="another recipe"):
        fit(other, task(animals), parted, ALONE, resume=True)


def test_loader_processes_change_nothing(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe), ["optimiser.epochs=1", "augment.colour_cast=1"])
    (tmp_path / "b").mkdir()
    alone = whole(recipe, animals, tmp_path / "a")
    assert same(alone, fit(recipe, task(animals), tmp_path / "b", ALONE, workers=1))


def test_accumulated_gradients_are_those_of_the_whole_batch(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["optimiser.epochs=1", "freeze_batchnorm=true", "optimiser.name=sgd"]
    once = whole(load_recipe(str(tiny_recipe), settings), animals, tmp_path / "a")
    parts = whole(load_recipe(str(tiny_recipe), [*settings, "optimiser.accumulate=3"]), animals, tmp_path / "b")
    for one, other in zip(once.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-4)


def test_head_first_leaves_the_backbone_alone(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        str(tiny_recipe), ["optimiser.epochs=1", "optimiser.head_epochs=1", "optimiser.layer_decay=0.8"]
    )
    torch.manual_seed(recipe.seed)
    before = build_with_weights(recipe.network, 3, "none").state_dict()
    after = whole(recipe, animals, tmp_path / "a").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}


def test_frozen_groups_stay_as_they_were(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        str(tiny_recipe), ["optimiser.epochs=1", "optimiser.frozen_groups=2", "optimiser.layer_decay=0.9"]
    )
    torch.manual_seed(recipe.seed)
    before = build_with_weights(recipe.network, 3, "none").state_dict()
    after = whole(recipe, animals, tmp_path / "a").state_dict()
    same_names = {name for name in before if torch.equal(before[name], after[name])}
    assert {"backbone.model.conv_stem.weight", "backbone.model.bn1.running_mean"} <= same_names
    assert "backbone.model.conv_head.weight" not in same_names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimiser.accumulate=5", "does not divide"),
        ("loss.box_attention_weight=1", "needs learned attention"),
        ("loss.classification=none", "minimises nothing"),
        ("loss.classification=none loss.metric=arcface", "network.head=metric"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tiny_recipe: Path, animals: Path, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(TrainError, match=message):
        fit(load_recipe(str(tiny_recipe), change.split()), task(animals), tmp_path, ALONE)


def command(recipe: Path, animals: Path, out: Path, *more: str) -> list[str]:
    return [
        "-m", "train", "fit", "--recipe", str(recipe), "--data", str(animals), "--out", str(out), "--no-cache",
        "--threads", "1", "--workers", "0", *more,
    ]  # fmt: skip


def test_killed_and_resumed_is_as_if_never_killed(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = ["--set", "optimiser.epochs=6"]
    subprocess.run(
        [sys.executable, *command(tiny_recipe, animals, through, *arguments)],
        check=True, env=environment, capture_output=True,
    )  # fmt: skip
    victim = subprocess.Popen(
        [sys.executable, *command(tiny_recipe, animals, killed, *arguments)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (killed / "state.pt").exists():
        assert victim.poll() is None
        os.sched_yield()
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    subprocess.run(
        [sys.executable, *command(tiny_recipe, animals, killed, *arguments, "--resume")],
        check=True, env=environment, capture_output=True,
    )  # fmt: skip
    with np.load(through / "predictions.npz") as one, np.load(killed / "predictions.npz") as other:
        assert np.array_equal(one["logits"], other["logits"])


def test_two_processes_follow_the_loss_curve_of_one(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    # A backbone of which some parameters bear on nothing, which is what processes could wait for in vain.
    settings = ["freeze_batchnorm=true", "optimiser.name=sgd", "network.backbone=test_convnext"]
    settings = [word for change in settings for word in ("--set", change)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    curves = []
    for name, launcher in (
        ("one", []),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        subprocess.run(
            [sys.executable, *launcher, *command(tiny_recipe, animals, tmp_path / name, *settings)],
            check=True, env=environment, capture_output=True,
        )  # fmt: skip
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        curves.append([row["mean_loss"] for row in rows if "mean_loss" in row])
    assert len(curves[0]) == 2
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    assert curves[0][0] != curves[0][1]


def test_a_policy_does_not_go_with_attention_led_by_boxes(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["network.pooling=attention", "loss.box_attention_weight=0.1", "augment.policy=trivial"]
    with pytest.raises(TrainError, match="moves the animal out of its box"):
        fit(load_recipe(str(tiny_recipe), settings), task(animals), tmp_path, ALONE)
