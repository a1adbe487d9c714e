"""Writes the figures of a run as JSON, tables, plots and a page of text."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from edge.inference.taxonomy import Taxon
from train import TrainError
from train.evaluation.calibration import calibrated_probabilities, reliability, threshold_for_precision
from train.evaluation.metrics import (
    Figures,
    Interval,
    bootstrap,
    confusion,
    figures,
    label_figures,
    location_figures,
    sequence_groups,
)
from train.evaluation.ood_detection import RejectionFigures, rejection_figures
from train.evaluation.plots import draw_confusion, draw_coverage, draw_reliability
from train.evaluation.predictions import UNSEEN, Predictions, load_predictions
from train.run_folder import (
    CHECKPOINT,
    METRICS,
    PREDICTIONS,
    stored_recipe,
    stored_retrieval,
    stored_taxa,
    stored_warnings,
    write_json,
    write_table,
)

WANTED_PRECISION = (0.8, 0.9, 0.95)


def report_run(folder: Path) -> str:
    """Write the figures of the run in `folder`, and return their summary.

    Folds that were trained one by one, perhaps on several machines, are pooled when they lie in it as `fold-0`,
    `fold-1`, ...
    """
    if (folder / CHECKPOINT).exists() and not (folder / PREDICTIONS).exists():
        raise TrainError(f"{folder} held nothing out; give labelled images with --data, and --out for their figures")
    predictions, notes = load_predictions(folder), []
    if any(folder.glob("fold-*")):
        predictions.save(folder / PREDICTIONS)
        missing = ", ".join(map(str, sorted(missing_folds(folder, predictions))))
        if missing:
            notes = [f"warning: missing folds: {missing}; the figures are those of the others"]
    notes += stored_warnings(folder)
    return report_predictions(predictions, stored_taxa(folder, predictions.labels), folder, "held-out images", notes)


def missing_folds(folder: Path, predictions: Predictions) -> set[int]:
    """The folds of the run's recipe that have no predictions."""
    return set(range(stored_recipe(folder).fold_count)) - {int(number) for number in np.unique(predictions.fold)}


def report_predictions(
    predictions: Predictions, taxa: Sequence[Taxon | None], folder: Path, what: str, notes: Sequence[str] = ()
) -> str:
    """Write the figures of any predictions to `folder`, and return their summary.

    `what` describes the images; `notes` stand above the figures. `metrics.json` is written last, so that where it is,
    everything is.
    """
    known = predictions.where(predictions.truth != UNSEEN)
    overall = figures(known, taxa)
    probabilities, temperature = calibrated_probabilities(known.logits, known.truth, _calibration_parts(known))
    truth = known.truth

    def error(places: Any) -> float:
        return reliability(probabilities[places], truth[places]).error

    calibration = {
        "temperature": temperature,
        "ece": asdict(bootstrap(error, sequence_groups(known), 0, draws=300)),
        "ece_before_temperature": reliability(softmax(known.logits.astype(np.float64), axis=1), truth).error,
        "thresholds": {
            str(wanted): threshold_for_precision(probabilities, truth, wanted) for wanted in WANTED_PRECISION
        },
    }
    rejection = rejection_figures(predictions)
    retrieval = stored_retrieval(folder)
    write_table(folder / "per_label.csv", [_rounded(asdict(row)) for row in label_figures(known)])
    write_table(folder / "per_location.csv", [_rounded(asdict(row)) for row in location_figures(known)])
    write_table(folder / "confusion.csv", _confusion_rows(known))
    draw_confusion(confusion(known), known.labels, folder / "confusion.png")
    draw_reliability(reliability(probabilities, truth), folder / "reliability.png")
    draw_coverage(probabilities, truth, folder / "coverage.png")
    lines = _summary(overall, calibration, rejection, retrieval, known)
    summary = "\n".join([f"{overall.images} {what}, {overall.sequences} sequences", *notes, *lines])
    (folder / "report.txt").write_text(summary + "\n", encoding="utf-8")
    write_json(
        folder / METRICS,
        {
            "figures": asdict(overall),
            "calibration": calibration,
            "rejection": [asdict(item) for item in rejection],
            "retrieval": retrieval,
        }
        | ({"warnings": "; ".join(notes)} if notes else {}),  # a card that quotes the figures quotes these
    )
    return summary


def _calibration_parts(known: Predictions) -> Any:
    """int64[N]: the part of each sample, so that none is measured with a temperature that was fitted on it.

    The parts are the folds; for a single fold, five parts of whole sequences.
    """
    if len(np.unique(known.fold)) > 1:
        return known.fold
    _, place = np.unique(sequence_groups(known), return_inverse=True)
    return np.random.default_rng(0).permutation(int(place.max()) + 1)[place] % 5


def _summary(
    overall: Figures,
    calibration: dict[str, Any],
    rejection: Sequence[RejectionFigures],
    retrieval: dict[str, float],
    known: Predictions,
) -> list[str]:
    lines = [
        f"accuracy                    {_shown(overall.accuracy)}",
        f"macro-F1                    {_shown(overall.macro_f1)}",
        f"macro-F1, sequence-weighted {_shown(overall.sequence_weighted_macro_f1)}",
        f"accuracy of sequence votes  {_shown(overall.sequence_vote_accuracy)}",
        f"accuracy, nearest prototype {overall.prototype_accuracy:.3f}",
        f"calibration error           {_shown(Interval(**calibration['ece']))} at temperature "
        f"{calibration['temperature']:.3f} ({calibration['ece_before_temperature']:.3f} before)",
        *(f"accuracy at rank {rank:<10} {value:.3f}" for rank, value in overall.rank_accuracy.items()),
        *(
            f"unseen species, {item.score:<17} AUROC {_shown(item.auroc)} ({item.unseen} unseen images)"
            for item in rejection
        ),
        *(f"retrieval, {name.replace('_', ' '):<16} {value:.3f}" for name, value in retrieval.items()),
        "",
        f"{'label':<28} images  precision  recall     F1",
    ]
    rows = label_figures(known)
    if len(rows) > 20:
        rows = tuple(sorted(rows, key=lambda row: row.f1)[:20])
        lines[-1] = f"{'the 20 worst labels':<28} images  precision  recall     F1"
    lines += [f"{row.name:<28} {row.images:6d}  {row.precision:9.3f}  {row.recall:6.3f}  {row.f1:5.3f}" for row in rows]
    return lines


def _shown(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}


def _confusion_rows(known: Predictions) -> list[dict[str, Any]]:
    table = confusion(known)
    return [
        {"truth": label} | dict(zip(known.labels, (int(count) for count in row), strict=True))
        for label, row in zip(known.labels, table, strict=True)
    ]
