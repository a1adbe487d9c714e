"""The figures of a run folder: of all folds that are there, and said when some are not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from train import TrainError
from train.__main__ import main
from train.commands.ablate import _is_done
from train.commands.fit import FitSettings, settings_of
from train.data.taxa_table import card_labels
from train.evaluation.predictions import Predictions
from train.evaluation.report import report_run
from train.recipe import load_recipe
from train.run_folder import begin_run, write_json, write_labels

LABELS = ("bar", "cross", "disc")


def write_fold(run: Path, number: int, tiny_recipe: Path) -> None:
    """As `fit --fold NUMBER --out RUN/fold-NUMBER` leaves it: nine images, of which the first is told wrongly."""
    folder = run / f"fold-{number}"
    folder.mkdir(parents=True)
    write_json(folder / "recipe.json", load_recipe(str(tiny_recipe), ["data.folds=3"]).document())
    write_labels(folder, card_labels(LABELS, {}))
    answers = np.eye(3, dtype=np.float32)[[1, *range(1, 9)] % np.array(3)]
    Predictions(
        LABELS,
        name=np.array([f"{number}-{place}" for place in range(9)]),
        truth_label=np.array(LABELS * 3),
        location=np.full(9, f"s{number}"),
        sequence=np.array([f"s{number}-{place // 3}" for place in range(9)]),
        fold=np.full(9, number),
        logits=3 * answers,
        embedding=answers,
        prototype_similarity=answers,
    ).save(folder / "predictions.npz")


@pytest.mark.parametrize("file", ["report.txt", "per_label.csv", "confusion.png"])
def test_a_disk_that_fills_while_the_report_is_written_is_told_in_a_line(
    file: str, tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    write_fold(run, 0, tiny_recipe)
    (run / file).symlink_to("/dev/full")
    assert main(["evaluate", str(run)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "cannot be written (No space left on device); make room and run it again" in said[0]
    assert not (run / "metrics.json").exists()
    (run / file).unlink()
    assert main(["evaluate", str(run)]) == 0
    assert (run / "metrics.json").exists()


def test_folds_are_pooled_anew_and_missing_ones_are_named(
    tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fold(tmp_path, 1, tiny_recipe)
    said = report_run(tmp_path)
    assert said.splitlines()[0] == "9 held-out images, 3 sequences"
    assert "missing folds: 0, 2;" in said.splitlines()[1]
    assert "missing folds: 0, 2" in json.loads((tmp_path / "metrics.json").read_text())["warnings"]
    write_fold(tmp_path, 0, tiny_recipe)
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 0
    assert "18 images held out by both" in capsys.readouterr().out
    said = report_run(tmp_path)
    assert said.startswith("18 held-out images")
    assert "missing folds: 2;" in said
    write_fold(tmp_path, 2, tiny_recipe)
    said = report_run(tmp_path)
    assert said.startswith("27 held-out images")
    assert "missing" not in said
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["figures"]["images"], "warnings" in metrics) == (27, False)
    assert (tmp_path / "report.txt").read_text() == said + "\n"


def test_metrics_come_last(tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fold(tmp_path, 0, tiny_recipe)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.evaluation.report.draw_coverage", killed)
    with pytest.raises(KeyboardInterrupt):
        report_run(tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_predictions_are_there_whole_or_not_at_all(
    tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fold(tmp_path, 0, tiny_recipe)
    path = tmp_path / "fold-0" / "predictions.npz"
    before = path.read_bytes()
    found = Predictions.load(path)
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="full"):
        replace(found, fold=found.fold + 1).save(path)
    assert path.read_bytes() == before


def test_a_row_of_an_ablation_is_done_when_all_its_folds_are(tiny_recipe: Path, tmp_path: Path) -> None:
    def asked(*more: str, data: Path = tmp_path) -> FitSettings:
        common = ["--recipe", str(tiny_recipe), "--data", str(data), "--out", str(tmp_path), "--set", "data.folds=3"]
        return settings_of([*common, *more])

    write_fold(tmp_path, 1, tiny_recipe)
    assert _is_done(tmp_path, asked("--fold", "1"))
    assert not _is_done(tmp_path, asked("--cross-validate"))
    with pytest.raises(TrainError, match="held out fold 1, not 0"):
        _is_done(tmp_path, asked("--fold", "0"))
    begin_run(tmp_path, asked().recipe, [], tmp_path / "data")
    with pytest.raises(TrainError, match=f"was trained on {tmp_path}/data"):
        _is_done(tmp_path, asked("--fold", "1", data=tmp_path / "other"))


def test_only_a_whole_cross_validation_is_quoted(
    tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fold(tmp_path, 1, tiny_recipe)
    report_run(tmp_path)
    for run, missing in ((tmp_path, "0, 2"), (tmp_path / "fold-1", "0, 2")):
        arguments = ["--recipe", str(tiny_recipe), "--data", str(tmp_path), "--out", str(tmp_path / "new")]
        assert main(["fit", *arguments, "--all-data", "--figures-of", str(run)]) == 2
        assert f"is no complete cross-validation: fold {missing} is missing" in capsys.readouterr().err


def test_the_same_fold_twice_and_damaged_predictions_are_refused(
    tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fold(tmp_path, 1, tiny_recipe)
    shutil.copytree(tmp_path / "fold-1", tmp_path / "fold-2")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "fold-2 held out fold 1, as another does" in capsys.readouterr().err
    path = tmp_path / "fold-1" / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-300])
    assert main(["evaluate", str(path.parent)]) == 2
    assert "predictions.npz is damaged" in capsys.readouterr().err
    path.rename(path.with_name("checkpoint.pt"))
    assert main(["evaluate", str(path.parent)]) == 2
    assert "held nothing out; give labelled images with --data" in capsys.readouterr().err


def full(path: Path, **_: object) -> None:
    path.write_bytes(b"half")
    raise OSError("full")
