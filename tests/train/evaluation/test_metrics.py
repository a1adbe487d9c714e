from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import f1_score

from edge.inference.taxonomy import Taxon
from train import TrainError
from train.evaluation.calibration import (
    calibrated_probabilities,
    coverage_precision,
    fit_temperature,
    reliability,
    threshold_for_precision,
)
from train.evaluation.comparison import compare
from train.evaluation.metrics import bootstrap, figures, label_figures, location_figures, macro_f1, sequence_groups
from train.evaluation.ood_detection import rejection_figures
from train.evaluation.plots import draw_coverage, draw_reliability
from train.evaluation.predictions import UNSEEN, Predictions, join, prototypes, similarity
from train.evaluation.retrieval import retrieval_figures
from train.run_folder import stored_retrieval, write_json

TAXA = (
    Taxon("Kobus kob", "species", genus="Kobus", family="Bovidae"),
    Taxon("Kobus ellipsiprymnus", "species", genus="Kobus", family="Bovidae"),
    Taxon("Equus quagga", "species", genus="Equus", family="Equidae"),
)
LABELS = ("kob", "waterbuck", "zebra")


def predictions(rows: list[tuple[str, str, int]], sure: float = 4.0, fold: int = 0) -> Predictions:
    """Rows of (truth, sequence, answer)."""
    logits = np.zeros((len(rows), 3), np.float32)
    for place, (_, _, answer) in enumerate(rows):
        logits[place, answer] = sure
    return Predictions(
        LABELS,
        name=np.array([f"{fold}-{place}" for place in range(len(rows))]),
        truth_label=np.array([row[0] for row in rows]),
        location=np.array([row[1][:2] for row in rows]),
        sequence=np.array([row[1] for row in rows]),
        fold=np.full(len(rows), fold),
        logits=logits,
        embedding=np.eye(3, dtype=np.float32)[[row[2] for row in rows]],
        prototype_similarity=np.eye(3, dtype=np.float32)[[row[2] for row in rows]],
    )


def test_events_that_each_place_counts_anew_are_different() -> None:
    one = predictions([("kob", "1", 0), ("kob", "1", 0), ("kob", "2", 0), ("zebra", "", 2), ("zebra", "", 2)])
    places = np.array(["s1", "s2", "s1", "s1", "s2"])
    assert sequence_groups(replace(one, location=places)).tolist() == ["1 at s1", "1 at s2", "2", "0-3", "0-4"]


LONG_EVENT = [("kob", "s1-a", 0)] * 9 + [("kob", "s2-b", 1), ("waterbuck", "s2-b", 1), ("zebra", "s3-c", 2)]


def test_one_long_event_does_not_stand_for_a_species() -> None:
    found = figures(predictions(LONG_EVENT), TAXA)
    assert found.accuracy.value == pytest.approx(11 / 12)
    # kob by sequence: one of two right; frames: nine of ten.
    assert found.sequence_weighted_macro_f1.value < found.macro_f1.value - 0.05
    assert found.sequence_vote_accuracy.value == pytest.approx(3 / 4)
    assert found.accuracy.low < found.accuracy.value <= found.accuracy.high


def test_a_mistake_within_the_genus_is_right_at_genus() -> None:
    ranks = figures(predictions(LONG_EVENT), TAXA).rank_accuracy
    assert ranks["genus"] == ranks["family"] == 1.0
    assert ranks["species"] == pytest.approx(11 / 12)


def test_macro_f1_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, answer, weights = rng.integers(0, 4, 200), rng.integers(0, 5, 200), rng.uniform(0.1, 1, 200)
    expected = f1_score(truth, answer, labels=range(4), average="macro", sample_weight=weights)
    assert macro_f1(truth, answer, weights) == pytest.approx(expected)


def test_tables_by_label_and_location() -> None:
    labels = {row.name: row for row in label_figures(predictions(LONG_EVENT))}
    assert (labels["kob"].images, labels["kob"].sequences) == (10, 2)
    assert labels["kob"].recall == pytest.approx(0.9)
    assert labels["waterbuck"].precision == pytest.approx(0.5)
    places = {row.name: row for row in location_figures(predictions(LONG_EVENT))}
    assert places["s2"].recall == pytest.approx(0.5)


def test_intervals_treat_a_sequence_as_one_witness() -> None:
    values = np.repeat([0.0, 1.0], 50)
    apart = bootstrap(lambda p: float(values[p].mean()), np.arange(100).astype(str), 0)
    together = bootstrap(lambda p: float(values[p].mean()), np.repeat(["a", "b"], 50), 0)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_temperature_mends_overconfidence() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    honest = rng.normal(0, 1, (3000, 3)) + 1.5 * np.eye(3)[truth]
    calibrated = (honest * 1.5).astype(np.float32)  # log-likelihood ratio of this mixture
    assert fit_temperature(calibrated * 4, truth) == pytest.approx(4 * fit_temperature(calibrated, truth), rel=1e-3)
    fold = np.arange(3000) % 5
    probabilities, _ = calibrated_probabilities(calibrated * 4, truth, fold)
    assert reliability(probabilities, truth).error < 0.03


def test_each_fold_is_calibrated_by_the_others() -> None:
    one = predictions([("kob", "a", 0)] * 20, sure=1.0)
    other = predictions([("kob", "b", 1)] * 10 + [("kob", "c", 0)] * 10, sure=1.0, fold=1)
    joined = join([one, other])
    probabilities, _ = calibrated_probabilities(joined.logits, joined.truth, joined.fold)
    # The first fold's own truths would make it sure; the second fold's, half of them wrong, don't.
    assert probabilities[0, 0] < 0.6


def test_threshold_keeps_the_wanted_precision() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    assert threshold_for_precision(probabilities, np.array([0, 0, 1, 0]), 0.75) == pytest.approx(0.6)
    assert threshold_for_precision(probabilities, np.array([0, 0, 1, 0]), 0.9) == pytest.approx(0.8)
    assert threshold_for_precision(probabilities, np.array([1, 0, 1, 1]), 0.9) is None


def test_unseen_species_are_scored_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "train.evaluation.ood_detection.bootstrap",
        lambda figure, groups, seed: bootstrap(figure, groups, seed, draws=5),
    )
    rows = [("zebra", f"z{n}", 2) for n in range(8)]
    known, strangers = predictions(rows, sure=5.0), predictions([("monkey", f"m{n}", 1) for n in range(4)], sure=1.0)
    joined = join([known, strangers])
    assert (joined.truth == UNSEEN).sum() == 4
    energy = next(item for item in rejection_figures(joined) if item.score == "energy")
    assert energy.auroc.value == 1.0
    assert energy.unseen == 4
    # Largest logits: four of the eight known are above three of the four strangers. Sums over the labels: all are above
    # those three. Largest cosines: six are above all four.
    logits, cosines = np.full((12, 3), -9, np.float32), np.zeros((12, 3), np.float32)
    logits[:, 1] = [4] * 4 + [1.9] * 4 + [2, 2, 2, 5]
    logits[4:8] = 1.9
    cosines[:, 2] = [0.9] * 6 + [0.1] * 2 + [0.5] * 4
    again = rejection_figures(replace(joined, logits=logits, prototype_similarity=cosines))
    found = {item.score: item.auroc.value for item in again}
    assert found == pytest.approx({"energy": 24 / 32, "max_logit": 12 / 32, "nearest_prototype": 24 / 32})
    assert rejection_figures(known) == ()


def test_compare_pairs_the_images(tmp_path: Path) -> None:
    worse = predictions([("kob", f"s{n}", n % 2) for n in range(10)] + [("zebra", "z", 2)])
    better = predictions([("kob", f"s{n}", 0) for n in range(10)] + [("zebra", "z", 1)])
    found = compare(worse, better)
    assert (found.won, found.lost) == (5, 1)
    assert found.accuracy_gain.value == pytest.approx(4 / 11)
    assert found.recall["zebra"] == (1.0, 0.0)
    better.save(tmp_path / "p.npz")
    assert compare(worse, Predictions.load(tmp_path / "p.npz")).won == 5
    with pytest.raises(TrainError, match="no sample in common"):
        compare(worse, predictions([("kob", "s", 0)], fold=3))


def test_compare_pairs_runs_that_name_their_images_otherwise() -> None:
    rows = [("kob", "a", 0), ("kob", "b", 1), ("zebra", "c", 2), ("monkey", "d", 0), ("monkey", "d", 0)]
    inside = ["kob/1.jpg", "kob/2.jpg#0.1000,0.2000", "zebra/1.jpg", "monkey/1.jpg", "monkey/1.jpg"]
    new = replace(predictions(rows), name=np.array(inside))
    old = replace(predictions(rows), name=np.array([f"/made/data/{name}" for name in inside]))
    for first, second in ((new, old), (old, new), (old, old), (new, new)):
        found = compare(first, second)
        assert (found.images, found.won, found.lost) == (3, 0, 0)
    stranger = replace(new, name=np.array([f"{name}x" for name in inside]))
    with pytest.raises(TrainError, match="no sample in common"):
        compare(old, stranger)


def test_retrieval_finds_its_own_kind() -> None:
    reference = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    perfect = retrieval_figures(reference, np.array([0, 0, 1, 1]), reference, np.array([0, 0, 1, 1]))
    assert (perfect.recall_at_1, perfect.map_at_r) == (1.0, 1.0)
    wrong = retrieval_figures(reference, np.array([1, 1, 0, 0]), reference, np.array([0, 0, 1, 1]))
    assert (wrong.recall_at_1, wrong.recall_at_5) == (0.0, 1.0)


def test_retrieval_in_parts_gives_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 5, 200)
    embedding = random.normal(size=(200, 8)) + np.eye(8)[truth]
    embedding = (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)
    queries, asked = embedding[:130], np.where(np.arange(130) % 20, truth[:130], 9)  # of label 9 there is no reference
    at_once = retrieval_figures(queries, asked, embedding[130:], truth[130:])
    monkeypatch.setattr("train.evaluation.retrieval.AT_ONCE", 33)
    in_parts = retrieval_figures(queries, asked, embedding[130:], truth[130:])
    assert astuple(in_parts) == pytest.approx(astuple(at_once), abs=1e-9)
    assert (at_once.images, at_once.recall_at_5 < 1) == (123, True)


def test_retrieval_asks_only_for_what_there_is() -> None:
    reference = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    queries = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]]
    found = retrieval_figures(queries, np.array([0, 1, 7, 8]), reference, np.array([0, 0, 1, 1]))
    assert astuple(found) == (2, 1.0, 1.0, 1.0)
    none = retrieval_figures(queries, np.array([5, 6, 7, 8]), reference, np.array([0, 0, 1, 1]))
    assert astuple(none) == (0, 0.0, 0.0, 0.0)


def test_retrieval_of_a_cross_validation_weighs_each_image_alike(tmp_path: Path) -> None:
    assert stored_retrieval(tmp_path) == {}
    for number, (images, recall) in enumerate(((30, 0.5), (10, 0.9), (0, 0.0))):
        (tmp_path / f"fold-{number}").mkdir()
        write_json(tmp_path / f"fold-{number}" / "retrieval.json", {"images": images, "recall_at_1": recall})
    assert stored_retrieval(tmp_path) == {"recall_at_1": pytest.approx(0.6)}
    assert stored_retrieval(tmp_path / "fold-2") == {}


def test_prototypes_are_unit_means() -> None:
    made = prototypes(np.array([[2.0, 0], [4.0, 0], [0, 3.0]], np.float32), np.array([0, 0, 2]), 3)
    assert np.allclose(made, [[1, 0], [0, 0], [0, 1]])


def test_a_label_without_a_prototype_is_never_the_nearest() -> None:
    known = np.array([[1.0, 0], [0, 0], [0, 1.0]], np.float32)
    found = similarity(np.array([[-0.6, -0.8], [0.8, 0.6]], np.float32), known)
    assert found.argmax(1).tolist() == [0, 0]
    assert np.allclose(found[:, [0, 2]], [[-0.6, -0.8], [0.8, 0.6]])
    assert np.isneginf(found[:, 1]).all()


def test_coverage_is_bought_with_the_least_sure_answers() -> None:
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    coverage, precision = coverage_precision(probabilities, np.array([1, 0, 1, 0]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert precision == pytest.approx([1, 1, 2 / 3, 1 / 2])


def test_an_image_of_coverage_and_of_reliability_shows_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("train.evaluation.plots.save", lambda figure, path: drawn.append(figure))
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    truth = np.array([1, 0, 1, 0])
    draw_coverage(probabilities, truth, tmp_path / "coverage.png")
    draw_reliability(reliability(probabilities, truth, bins=2), tmp_path / "reliability.png")
    (curve,) = drawn[0].axes[0].lines
    assert np.allclose(curve.get_xydata(), [[0.25, 1], [0.5, 1], [0.75, 2 / 3], [1, 0.5]])
    diagonal, measured = drawn[1].axes[0].lines
    assert np.allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    assert np.allclose(measured.get_xydata(), [[0.75, 0.5]])
    assert drawn[1].axes[0].get_title() == "calibration error 0.250"
