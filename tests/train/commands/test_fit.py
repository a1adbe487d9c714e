"""The command `fit`: what it refuses, and what it announces."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.support.training_state_file import write_state
from train.__main__ import main
from train.data.prepare import Prepared
from train.data.split import Fold
from train.recipe import Recipe
from train.trainer import RunOptions, fold_task


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fit` leaves what a killed training leaves after an epoch, without training."""

    def train_fold(
        recipe: Recipe,
        prepared: Prepared,
        fold: Fold,
        number: int,
        folder: Path,
        _: object,
        options: RunOptions,
        *more: object,
    ) -> None:
        (folder / "log.jsonl").touch()
        write_state(folder, recipe, fold_task(recipe, prepared, fold, options))

    monkeypatch.setattr("train.commands.fit.train_fold", train_fold)
    monkeypatch.setattr("train.commands.fit.report_run", lambda folder: "")


@pytest.mark.usefixtures("untrained")
def test_another_fold_is_refused_before_anything_is_written(
    tiny_recipe: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    common = ["fit", "--recipe", str(tiny_recipe), "--data", str(animals), "--out", str(run), "--no-cache"]
    assert main([*common, "--fold", "0"]) == 0
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    shutil.copytree(animals.parent / "disc", tmp_path / "frames" / "blank")
    for other in (["--fold", "1"], ["--all-data"], ["--backgrounds", str(tmp_path / "frames")]):
        assert main([*common, *other, "--resume"]) == 2
        assert "was trained on other samples" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert main([*common, "--fold", "0", "--resume"]) == 0


@pytest.mark.usefixtures("untrained")
def test_what_would_be_refused_later_is_refused_before_anything_is_written(
    tiny_recipe: Path,
    animals: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as where it is not installed
    broken = tmp_path / "frames" / "blank"
    shutil.copytree(animals.parent / "disc", broken)
    (broken / "003.jpg").write_bytes((broken / "003.jpg").read_bytes()[:-200])
    run = tmp_path / "run"
    common = ["fit", "--recipe", str(tiny_recipe), "--data", str(animals), "--out", str(run), "--no-cache"]
    with monkeypatch.context() as unread:
        unread.setattr("train.commands.fit.prepare", None)  # nor before the data is read
        for wrong, message in (
            (["--tensorboard"], "needs the package tensorboard"),
            (["--set", "optimiser.accumulate=5"], "does not divide"),
            (["--fold", "2"], "there is no fold 2; the split has folds 0 to 1"),
            (["--all-data", "--figures-of", str(tmp_path)], "holds no predictions"),
            (["--figures-of", str(tmp_path)], "give it with --all-data"),
            (["--backgrounds", str(broken.parent)], "listed above"),
            (["--out", str(animals)], "is a file; give another --out"),
        ):
            assert main([*common, *wrong]) == 2
            assert message in capsys.readouterr().err
            assert not run.exists()
        for option in ("--workers", "--threads"):
            with pytest.raises(SystemExit):
                main([*common, option, "-1"])
    assert main([*common, "--backgrounds", str(broken.parent), "--skip-bad"]) == 0


@pytest.mark.usefixtures("untrained")
def test_a_label_that_a_fold_does_not_train_on_is_told(
    tiny_recipe: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(animals.parent, data)
    rows = (data / "manifest.csv").read_text().splitlines()
    of_one_place = [row for row in rows if not (row.startswith("disc") and ",s0," not in row)]
    (data / "manifest.csv").write_text("\n".join(of_one_place))
    common = ["fit", "--recipe", str(tiny_recipe), "--data", str(data), "--no-cache", "--cross-validate"]
    assert main([*common, "--out", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().err.count("no training image of disc") == 1
    said = []
    for number in ("0", "1"):
        assert main([*common[:-1], "--out", str(tmp_path / number), "--fold", number]) == 0
        said.append(capsys.readouterr().err)
    assert sorted("no training image of disc" in text for text in said) == [False, True]  # of its own fold alone
    alone = ["loss.classification=none", "loss.metric=triplet", "network.head=metric"]
    settings = [word for setting in alone for word in ("--set", setting)]
    assert main([*common, "--out", str(tmp_path / "b"), *settings]) == 2
    assert "whose prototype would be missing" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_folds_and_the_place_of_results_are_announced(
    tiny_recipe: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def announced(out: Path, *more: str) -> list[str]:
        common = ["fit", "--recipe", str(tiny_recipe), "--data", str(animals), "--out", str(out), "--no-cache"]
        assert main([*common, *more]) == 0
        return [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]

    cv, one, ship = tmp_path / "cv", tmp_path / "one", tmp_path / "ship"
    assert announced(cv, "--cross-validate") == [
        f"results will be in {cv}",
        f"fold 1 of 2 (--fold 0): 18 training images, 18 test images, results in {cv}/fold-0",
        f"fold 2 of 2 (--fold 1): 18 training images, 18 test images, results in {cv}/fold-1",
        f"results are in {cv}",
    ]
    assert announced(one, "--fold", "1")[1].startswith("fold 2 of 2 (--fold 1): 18 training images")
    assert announced(ship, "--all-data") == [
        f"results will be in {ship}",
        f"training on all 36 images, results in {ship}",
        f"results are in {ship}",
    ]
