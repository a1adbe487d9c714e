"""From labelled images to figures, a gallery, an enrolled species and a comparison, by the commands alone."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import softmax

from tests.support.made_animals import write_animals
from train.__main__ import COMMANDS, main
from train.evaluation.calibration import fit_temperature
from train.evaluation.predictions import Predictions
from train.model.checkpoint import Checkpoint
from train.trained_model import TrainedModel

PLAIN = ["--threads", "1", "--workers", "0"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validated run on 72 made photographs, that has learned what they show."""
    folder = tmp_path_factory.mktemp("taught")
    recipe = folder / "shapes.toml"
    recipe.write_text(
        'about = "made shapes"\nweights = "none"\n[data]\nsplit = "location"\nfolds = 2\n[input]\nsize_px = 48\n'
        '[network]\nbackbone = "test_efficientnet"\n[augment]\nview_scale = [0.9, 1.0]\n'
        "[optimiser]\nepochs = 24\nwarmup_epochs = 1\nbatch = 12\nlr = 4e-3\n"
    )
    data = write_animals(folder / "data", each=24)
    arguments = ["--data", str(data), "--cache", str(folder / "cache"), *PLAIN]
    assert main(["fit", "--recipe", str(recipe), "--out", str(folder / "run"), "--cross-validate", *arguments]) == 0
    return folder


def test_a_run_folder_holds_everything_and_has_learned(taught: Path) -> None:
    run = taught / "run"
    expected = {"recipe.json", "environment.json", "labels.json", "predictions.npz", "metrics.json", "per_label.csv"}
    expected |= {"per_location.csv", "confusion.csv", "confusion.png", "reliability.png", "coverage.png", "report.txt"}
    assert expected <= {file.name for file in run.iterdir()}
    of_fold = {"split.csv", "log.jsonl", "checkpoint.pt", "gallery.png", "mistakes.png", "prototypes.npz"}
    assert of_fold <= {file.name for file in (run / "fold-0").iterdir()}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["figures"]["images"] == 72
    assert metrics["figures"]["accuracy"]["value"] > 0.6  # chance is a third
    with (run / "fold-1" / "split.csv").open() as file:
        parts = list(csv.DictReader(file))
    tested = {row["location"] for row in parts if row["part"] == "test"}
    assert tested.isdisjoint({row["location"] for row in parts if row["part"] == "train"})


def test_the_checkpoint_says_what_its_card_will_say(taught: Path) -> None:
    checkpoint = Checkpoint.load(taught / "run" / "fold-0" / "checkpoint.pt")
    assert [label.name for label in checkpoint.labels] == ["bar", "cross", "disc"]
    assert checkpoint.recipe["name"] == "shapes"
    assert set(checkpoint.prototypes) == {"bar", "cross", "disc"}
    checkpoint.build_network()


def test_evaluate_on_other_data_and_compare(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = write_animals(tmp_path / "fresh", each=8, seed=9)
    for number in (0, 1):
        run, out = taught / "run" / f"fold-{number}", tmp_path / f"out-{number}"
        arguments = ["evaluate", str(run), "--data", str(fresh), "--out", str(out), "--cache", str(tmp_path / "c")]
        assert main(arguments) == 0
    shutil.copytree(taught / "run", tmp_path / "folds", ignore=shutil.ignore_patterns("*.npz", "labels.json"))
    for number in (0, 1):  # as if each fold had been trained on a machine of its own
        for name in ("predictions.npz", "labels.json"):
            shutil.copy(taught / "run" / f"fold-{number}" / name, tmp_path / "folds" / f"fold-{number}" / name)
    assert main(["evaluate", str(tmp_path / "folds")]) == 0
    assert "72 held-out images" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "out-0"), str(tmp_path / "out-1")]) == 0
    assert "24 images held out by both" in capsys.readouterr().out


def evaluate(run: Path, data: Path, out: Path, *more: str) -> int:
    return main(["evaluate", str(run), "--data", str(data), "--out", str(out), *more])


def test_evaluate_says_what_its_images_are(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, fresh = taught / "run" / "fold-0", write_animals(tmp_path / "fresh", each=6, seed=9)
    rows = fresh.read_text().splitlines()
    parts = ["split", *(("train", "test", "test")[place % 3] for place in range(len(rows) - 1))]
    fresh.write_text("\n".join(f"{row},{part}" for row, part in zip(rows, parts, strict=True)))
    assert evaluate(run, fresh, tmp_path / "test", "--split", "test") == 0
    said = capsys.readouterr().out
    assert said.startswith("12 images of fresh,")
    assert "warning" not in said
    names = {row.split(",")[0] for row, part in zip(rows, parts, strict=True) if part == "test"}
    assert set(Predictions.load(tmp_path / "test" / "predictions.npz").name) == names
    assert 0 < json.loads((tmp_path / "test" / "metrics.json").read_text())["retrieval"]["recall_at_1"] <= 1
    assert evaluate(run, fresh, tmp_path / "val", "--split", "val") == 2
    assert "no samples of split 'val'" in capsys.readouterr().err
    fresh.write_text(fresh.read_text().replace(",bar,", ",Bar,"))
    assert evaluate(run, fresh, tmp_path / "other", "--split", "test", "--threads", "1") == 0
    assert "warning: 4 images have a label that the model lacks: Bar;" in capsys.readouterr().out
    # Images that were trained on are known again under another name.
    with (run / "split.csv").open() as file:
        trained = [row["sample"] for row in csv.DictReader(file) if row["part"] == "train" and "cross" in row["sample"]]
    shutil.copy(taught / "data" / trained[0], fresh.parent / "cross" / "000.jpg")
    shutil.copy(taught / "data" / trained[1], fresh.parent / "cross" / "001.jpg")
    assert evaluate(run, fresh, tmp_path / "known") == 0
    assert "warning: 2 of these images were trained on" in capsys.readouterr().out


def test_what_cannot_be_evaluated_is_said_in_one_line(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, fresh = taught / "run" / "fold-0", write_animals(tmp_path / "fresh", each=2, seed=9)
    (fresh.parent / "bar" / "001.jpg").write_bytes((fresh.parent / "bar" / "001.jpg").read_bytes()[:-200])
    (fresh.parent / "disc" / "000.jpg").unlink()
    assert evaluate(run, fresh, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"unreadable: {fresh.parent}/bar/001.jpg" in said
    assert f"missing_file: {fresh.parent}/disc/000.jpg" in said
    assert said.splitlines()[-1].startswith("train: fresh has 2 problems")
    assert evaluate(run, fresh, tmp_path / "out", "--skip-bad") == 0
    assert capsys.readouterr().out.startswith("4 images of fresh,")
    fresh.write_text(fresh.read_text().replace(",disc,", ",ring,").replace(",bar,", ",ring,").replace(",cross,", ",x,"))
    assert evaluate(run, fresh, tmp_path / "none", "--skip-bad") == 2
    assert "holds no label that the model knows; it knows bar, cross, disc" in capsys.readouterr().err
    assert evaluate(run, taught / "data", run) == 2
    assert "holds a run, whose figures these would replace" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--split", "test"]) == 2
    assert "--split is for images given with --data" in capsys.readouterr().err
    assert evaluate(taught / "run", fresh, tmp_path / "none") == 2
    assert f"give one, as {taught}/run/fold-0" in capsys.readouterr().err
    gallery = ["predict", str(run), str(fresh.parent), "--out", str(tmp_path / "gallery.png")]
    assert main(gallery) == 2
    assert "train: the gallery has 1 problem" in capsys.readouterr().err
    assert main([*gallery, "--skip-bad"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert main(["enrol", str(run), "--data", str(fresh), "--out", str(tmp_path / "x.pt")]) == 2
    assert "missing_file" in capsys.readouterr().err


def test_evaluate_with_the_attention_crop(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, fresh = taught / "run" / "fold-0", write_animals(tmp_path / "fresh", each=4, seed=9)

    def logits(name: str, *more: str) -> np.ndarray:
        common = ["--data", str(fresh), "--out", str(tmp_path / name), "--cache", str(taught / "cache")]
        assert main(["evaluate", str(model), *common, *more]) == 0
        return Predictions.load(tmp_path / name / "predictions.npz").logits

    once, twice = logits("once"), logits("twice", "--second-look", "0.5")
    assert not np.allclose(twice, once, atol=1e-2)
    with pytest.raises(SystemExit):
        main(["evaluate", str(model), "--data", str(fresh), "--out", str(tmp_path / "no"), "--second-look", "1.5"])
    assert "expected more than 0" in capsys.readouterr().err


def test_predict_draws_a_gallery(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, run = tmp_path / "gallery.png", taught / "run" / "fold-0"
    assert main(["predict", str(run), str(taught / "data" / "disc"), "--out", str(out)]) == 0
    assert out.stat().st_size > 10_000
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert len(lines) == 24
    # The probabilities are calibrated on what the run held out.
    held_out = Predictions.load(run / "predictions.npz")
    temperature = fit_temperature(held_out.logits, held_out.truth)
    assert abs(temperature - 1) > 0.05
    for name, logits in zip(held_out.name, held_out.logits, strict=True):
        if str(name).startswith("disc"):
            sure = softmax(logits.astype(np.float64) / temperature)
            assert lines[f"{taught}/data/{name}"] == f"{held_out.labels[sure.argmax()]} {sure.max():.0%}"
    shutil.copy(run / "checkpoint.pt", tmp_path / "alone.pt")
    assert main(["predict", str(tmp_path / "alone.pt"), str(taught / "data" / "disc"), "--out", str(out)]) == 0
    assert "not calibrated" in capsys.readouterr().err


def test_enrol_adds_a_prototype(taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "new"
    write_animals(data, each=5, seed=3)
    (data / "manifest.csv").unlink()
    (data / "disc").rename(data / "ring")
    out = tmp_path / "enrolled.pt"
    assert main(["enrol", str(taught / "run" / "fold-0"), "--data", str(data), "--out", str(out)]) == 0
    assert "ring: 5 images" in capsys.readouterr().out
    assert set(Checkpoint.load(out).prototypes) == {"bar", "cross", "disc", "ring"}


def test_an_enrolled_species_is_answered_evaluated_and_joined_by_another(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, data = np.random.default_rng(5), tmp_path / "data"
    for label, colour in (("red", (40, 40, 200)), ("blue", (200, 60, 40))):
        (data / label).mkdir(parents=True)
        for number in range(4):
            image = rng.integers(-20, 20, (64, 64, 3)) + np.array(colour)
            cv2.imwrite(str(data / label / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
    first, second = tmp_path / "red.pt", tmp_path / "both.pt"
    run = taught / "run" / "fold-0"
    assert main(["enrol", str(run), "--data", str(data), "--label", "red", "--out", str(first)]) == 0
    assert main(["enrol", str(first), "--data", str(data), "--label", "red", "--out", str(second)]) == 2
    assert (
        "no label among those of --label (red) that the model lacks; it knows bar, cross, disc, red"
        in capsys.readouterr().err
    )
    assert main(["enrol", str(first), "--data", str(data), "--out", str(second)]) == 0
    assert capsys.readouterr().out.startswith("blue: 4 images")
    both = Checkpoint.load(second)
    assert [label.name for label in both.enrolled] == ["red", "blue"]
    assert both.prototypes["red"] == Checkpoint.load(first).prototypes["red"]
    assert main(["predict", str(second), str(data), "--out", str(tmp_path / "gallery.png")]) == 0
    answers = [line.split("\t")[1].split()[0] for line in capsys.readouterr().out.splitlines()]
    assert answers == ["blue"] * 4 + ["red"] * 4
    assert evaluate(second, data, tmp_path / "figures") == 0
    assert "8 of these images were trained on" in capsys.readouterr().out
    found = Predictions.load(tmp_path / "figures" / "predictions.npz")
    assert found.labels == ("bar", "cross", "disc", "red", "blue")
    assert (found.logits.argmax(1) == found.truth).all()
    references = TrainedModel(second).references
    assert references is not None
    assert np.bincount(references.truth)[3:].tolist() == [4, 4]
    assert TrainedModel(second).temperature == TrainedModel(run).temperature
    shutil.copy(second, tmp_path / "moved.pt")
    again = ["enrol", str(tmp_path / "moved.pt"), "--data", str(data), "--out", str(first)]
    (data / "red").rename(data / "green")
    assert main(again) == 2
    assert "lacks its .npz with the training's embeddings" in capsys.readouterr().err
    (tmp_path / "moved.npz").write_bytes(b"PK half a file")
    assert main(again) == 2
    assert "moved.npz cannot be read" in capsys.readouterr().err


def test_all_data_makes_the_model_to_ship(taught: Path, tmp_path: Path) -> None:
    paths = ["--recipe", str(taught / "shapes.toml"), "--data", str(taught / "data"), "--out", str(tmp_path / "ship")]
    options = ["--all-data", "--figures-of", str(taught / "run"), "--set", "optimiser.epochs=1", "--no-cache"]
    arguments = ["fit", *paths, *options, *PLAIN]
    assert main(arguments) == 0
    checkpoint = Checkpoint.load(tmp_path / "ship" / "checkpoint.pt")
    assert checkpoint.metrics["cross_validation"]["figures"]["images"] == 72
    assert checkpoint.data.endswith("72 images")
    assert main(arguments) == 2  # a second run never overwrites the first


def test_an_embedding_without_a_classifier_answers_by_the_nearest_prototype(taught: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    alone = ["loss.classification=none", "loss.metric=triplet", "network.head=metric", "optimiser.epochs=3"]
    settings = [word for setting in alone for word in ("--set", setting)]
    common = ["--data", str(taught / "data" / "manifest.csv"), "--cache", str(taught / "cache"), *PLAIN, *settings]
    assert main(["fit", "--recipe", str(taught / "shapes.toml"), "--out", str(run), *common]) == 0
    found = Predictions.load(run / "predictions.npz")
    assert np.array_equal(found.logits.argmax(1), found.prototype_similarity.argmax(1))
    checkpoint = Checkpoint.load(run / "checkpoint.pt")
    stored = np.array([checkpoint.prototypes[label] for label in found.labels], np.float32)
    assert np.allclose(checkpoint.build_network().head.weight.detach().numpy(), stored)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"starter"}))
def test_every_command_explains_itself_and_is_in_the_manual(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "usage: python -m train" in capsys.readouterr().out
    assert f"train {command}" in (Path(__file__).parents[3] / "docs" / "train.md").read_text()
