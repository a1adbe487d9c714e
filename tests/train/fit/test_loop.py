"""The loop: the same seed gives the same network, however it got there."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from tests.support.made_animals import LABELS
from tests.support.stopped_training import StoppingProcesses
from train import TrainError
from train.commands import fit as commands_fit
from train.data.image_cache import PixelSource
from train.data.readers import read_dataset
from train.fit.loop import STATE_FILE, Task, _Training, fit
from train.fit.losses import objective
from train.fit.losses.attention import box_attention_loss
from train.model.network import Network
from train.model.pretrained import build_with_weights
from train.recipe import Recipe, load_recipe
from train.run_folder import CHECKPOINT
from train.runtime.distributed import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


def task(animals: Path) -> Task:
    return Task(read_dataset(animals).samples, LABELS, (None,) * 3, PixelSource(48))


def same(one: Network | None, other: Network | None) -> bool:
    assert one is not None
    assert other is not None
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def whole(recipe: Recipe, animals: Path, folder: Path) -> Network:
    folder.mkdir()
    return fit(recipe, task(animals), folder, ALONE)


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_resumed_training_ends_in_the_same_network(
    tiny_recipe: Path, animals: Path, tmp_path: Path, amp: str
) -> None:
    changes = ["optimiser.ema_decay=0.9", "augment.mixup=0.2", "network.drop_rate=0.2", f"optimiser.amp={amp}"]
    changes += ["loss.metric=arcface", "data.balance=class_and_sequence", "augment.policy=trivial"]
    recipe = load_recipe(str(tiny_recipe), changes)
    through = whole(recipe, animals, tmp_path / "through")
    parted = tmp_path / "parted"
    parted.mkdir()
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, task(animals), parted, StoppingProcesses(0, 1, torch.device("cpu")))
    assert same(through, fit(recipe, task(animals), parted, ALONE, resume=True))
    other = structs.replace(recipe, seed=1)
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


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
    return state


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_result_is_the_average_of_the_weights(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe), ["optimiser.ema_decay=0.9"])
    torch.manual_seed(recipe.seed)
    first = build_with_weights(recipe.network, 3, "none").head.weight.detach()
    result = whole(recipe, animals, tmp_path / "a").state_dict()
    state = state_of(tmp_path / "a")
    assert all(torch.equal(value, state["ema"][name]) for name, value in result.items())
    averaged, last = result["head.weight"], state["objective"]["network.head.weight"]
    # On the way from the first weights to the last ones, at neither end.
    assert 0 < float((averaged - last).norm()) < float((first - last).norm())
    assert 0 < float((averaged - first).norm()) < float((first - last).norm())


def test_layers_learn_by_their_depth(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["optimiser.layer_decay=0.5", "optimiser.backbone_lr_factor=0.1", "optimiser.schedule=constant"]
    settings += ["optimiser.epochs=1", "optimiser.batch=36"]
    for backbone in ("test_resnet", "torchvision:mobilenet_v3_small"):
        folder = tmp_path / backbone.replace(":", "-")
        whole(load_recipe(str(tiny_recipe), [*settings, f"network.backbone={backbone}"]), animals, folder)
        rates = {group["lr"] / 2e-3 for group in state_of(folder)["optimiser"]["param_groups"]}
        wanted = [1.0, *(0.1 * 0.5**depth for depth in range(len(rates) - 1))]
        assert len(rates) > 4
        assert sorted(rates, reverse=True) == pytest.approx(wanted)


def test_the_rate_warms_up_and_falls(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    whole(load_recipe(str(tiny_recipe), ["optimiser.warmup_epochs=1", "optimiser.batch=4"]), animals, tmp_path / "a")
    logged = [row for row in rows(tmp_path / "a") if "lr" in row]
    assert logged[0]["lr"] == pytest.approx(2e-3 / 10)  # nine steps of warm-up
    assert logged[-1]["lr"] < 2e-3 / 10
    assert logged[-1]["left_s"] == 0


def test_the_prior_is_that_of_what_is_drawn(tiny_recipe: Path, animals: Path) -> None:
    samples = task(animals).samples
    uneven = replace(task(animals), samples=samples[:12] + samples[12:14] + samples[24:26])
    for balance, wanted in (("plain", [12 / 16, 2 / 16, 2 / 16]), ("class", [1 / 3] * 3)):
        settings = ["loss.classification=balanced_softmax", f"data.balance={balance}"]
        training = _Training(load_recipe(str(tiny_recipe), settings), uneven, ALONE)
        assert training.objective.classification.log_prior.exp().tolist() == pytest.approx(wanted)


def test_boxes_lead_attention_beside_mixed_batches(
    tiny_recipe: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []

    def spy(maps: Tensor, boxes: Tensor) -> Tensor:
        calls.append(None)
        return box_attention_loss(maps, boxes)

    monkeypatch.setattr(objective, "box_attention_loss", spy)
    settings = ["network.pooling=attention", "loss.box_attention_weight=1", "augment.cutmix=1", "optimiser.batch=4"]
    whole(load_recipe(str(tiny_recipe), settings), animals, tmp_path / "a")
    assert 0 < len(calls) < 18


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_a_diverged_training_stops_and_says_so(tiny_recipe: Path, animals: Path, tmp_path: Path, amp: str) -> None:
    recipe = load_recipe(str(tiny_recipe), ["optimiser.lr=1e30", "optimiser.name=sgd", f"optimiser.amp={amp}"])
    with pytest.raises(TrainError, match=r"diverged.* in epoch 1, step \d; lower optimiser.lr") as caught:
        whole(recipe, animals, tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert "NaN" not in (tmp_path / "a" / "log.jsonl").read_text()
    assert not (tmp_path / "a" / STATE_FILE).exists()


def test_steps_that_float16_skips_are_no_divergence_until_all_are(
    tiny_recipe: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["optimiser.amp=fp16", "optimiser.epochs=1", "optimiser.batch=2", "network.pooling=parts"]
    recipe = load_recipe(str(tiny_recipe), [*settings, "input.size_px=32"])
    scaler = torch.amp.GradScaler
    monkeypatch.setattr("train.fit.loop._SKIPPED_STEPS", 14)
    monkeypatch.setattr(torch.amp, "GradScaler", partial(scaler, init_scale=2.0**26))
    before = build_with_weights(recipe.network, 3, "none").head.weight
    assert not torch.equal(whole(recipe, animals, tmp_path / "few").head.weight, before)
    assert 0 < state_of(tmp_path / "few")["scaler"]["scale"] < 2.0**24
    monkeypatch.setattr(torch.amp, "GradScaler", partial(scaler, init_scale=2.0**100))
    with pytest.raises(TrainError, match="gradients overflow in 15 steps in a row"):
        whole(recipe, animals, tmp_path / "all")


def test_a_clipped_gradient_moves_no_farther(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["optimiser.name=sgd", "optimiser.momentum=0", "optimiser.weight_decay=0", "optimiser.batch=36"]
    settings += ["optimiser.epochs=1", "optimiser.schedule=constant", "optimiser.lr=1", "optimiser.clip_norm=0.01"]
    recipe = load_recipe(str(tiny_recipe), settings)
    torch.manual_seed(recipe.seed)
    before = build_with_weights(recipe.network, 3, "none")
    after = whole(recipe, animals, tmp_path / "a")
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    moved = [one.detach() - other.detach() for one, other in pairs]
    assert float(torch.cat([part.flatten() for part in moved]).norm()) == pytest.approx(0.01, rel=0.01)


def test_the_order_of_axes_in_memory_changes_nothing(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["optimiser.epochs=1", "optimiser.name=sgd"]
    last = whole(load_recipe(str(tiny_recipe), settings), animals, tmp_path / "a")
    first = whole(load_recipe(str(tiny_recipe), [*settings, "optimiser.channels_last=false"]), animals, tmp_path / "b")
    for one, other in zip(last.state_dict().values(), first.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    weight = next(
        parameter for parameter in last.backbone.parameters() if parameter.ndim == 4 and parameter.shape[1] > 1
    )
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.is_contiguous() for parameter in first.parameters())


def test_a_compiled_network_learns_the_same(
    tiny_recipe: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its graphs are traced and run by torch itself: making machine code of them takes a compiler, and a minute.
    compiled, graphs = nn.Module.compile, CompileCounter()
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled(module, backend=graphs))
    settings = ["optimiser.epochs=1", "optimiser.batch=36", "optimiser.name=sgd", "optimiser.ema_decay=0.5"]
    plain = whole(load_recipe(str(tiny_recipe), settings), animals, tmp_path / "a")
    assert graphs.frame_count == 0
    traced = whole(load_recipe(str(tiny_recipe), [*settings, "optimiser.compile=true"]), animals, tmp_path / "b")
    assert graphs.frame_count > 0
    for (name, one), other in zip(plain.state_dict().items(), traced.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimiser.accumulate=5", "does not divide"),
        ("loss.box_attention_weight=1", "needs learned attention"),
        ("loss.classification=none", "has no loss"),
        ("loss.classification=none loss.metric=arcface", "network.head=metric"),
        ("loss.taxonomy_beta=0.5 loss.label_smoothing=0", "set loss.label_smoothing"),
        ("network.backbone=levit_128s", "gives no feature map of 48 px images"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tiny_recipe: Path, animals: Path, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(TrainError, match=message):
        fit(load_recipe(str(tiny_recipe), change.split()), task(animals), tmp_path, ALONE)


def command(recipe: Path, animals: Path, out: Path, *more: str) -> list[str]:
    paths = ["--recipe", str(recipe), "--data", str(animals), "--out", str(out)]
    return ["-m", "train", "fit", *paths, "--no-cache", "--threads", "1", "--workers", "0", *more]


def test_killed_and_resumed_is_as_if_never_killed(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = ["--set", "optimiser.epochs=6"]
    whole_run = [sys.executable, *command(tiny_recipe, animals, through, *arguments)]
    subprocess.run(whole_run, check=True, env=environment, capture_output=True)
    killed_run = [sys.executable, *command(tiny_recipe, animals, killed, *arguments)]
    victim = subprocess.Popen(killed_run, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (killed / "state.pt").exists():
        assert victim.poll() is None
        os.sched_yield()
    victim.send_signal(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    subprocess.run([*killed_run, "--resume"], check=True, env=environment, capture_output=True)
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
        whole_run = [sys.executable, *launcher, *command(tiny_recipe, animals, tmp_path / name, *settings)]
        subprocess.run(whole_run, check=True, env=environment, capture_output=True)
        rows = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        curves.append([row["mean_loss"] for row in rows if "mean_loss" in row])
    assert len(curves[0]) == 2
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    assert curves[0][0] != curves[0][1]


def test_a_policy_does_not_go_with_attention_led_by_boxes(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["network.pooling=attention", "loss.box_attention_weight=0.1", "augment.policy=trivial"]
    with pytest.raises(TrainError, match="moves the animal out of its box"):
        fit(load_recipe(str(tiny_recipe), settings), task(animals), tmp_path, ALONE)


def test_what_diverges_in_its_last_step_is_not_kept(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    settings = ["optimiser.lr=1e30", "optimiser.name=sgd", "optimiser.epochs=1", "optimiser.batch=36"]
    changes = [word for change in settings for word in ("--set", change)]
    with pytest.raises(TrainError, match="outputs of the trained network are not finite"):
        commands_fit.main(command(tiny_recipe, animals, tmp_path / "a", *changes)[3:])
    assert (tmp_path / "a" / STATE_FILE).exists()
    assert not (tmp_path / "a" / CHECKPOINT).exists()
