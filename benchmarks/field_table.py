"""Prints a table of right and wrong decisions on labelled frames, with and without the attention crop.

python -m benchmarks.field_table ../shared/data/field [--model FILE]

There is one row for each source of frames and one for each kind of light. Everything that is fitted (temperature,
weights, thresholds) is fitted on the frames of other sequences. The columns "best" count the most probable taxon of a
rank, whether or not the model decides for it; the other columns count decisions.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from edge.inference.card import Card
from edge.inference.decision import Decision
from edge.inference.model import STARTER, Model
from edge.inference.taxonomy import TaxonKey, Tree
from edge.vocabulary import Kind
from export.validation.calibrate import UNREACHABLE, CalibrationData, Prior, cross_validated
from export.validation.labelled_frames import LabelledFrame, read_labelled_frames
from export.validation.model_outputs import ModelOutputs, take_outputs
from export.validation.score_decision import score_decision

RANKS = ("class", "order", "family", "species")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and boxes.csv")
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    model = Model(given.model, threads=2)
    card = model.card
    scenes = read_labelled_frames(given.data, card.labels)
    plan = card.calibration.second_look
    fraction = plan.region_fraction if plan else 0.5
    outputs = take_outputs(model, scenes, fraction)
    full_size = take_outputs(model, scenes, fraction, full_size=True)
    for title, with_crop in (("whole frame only", False), ("whole frame and attention crop", True)):
        renderings = tuple(each if with_crop else replace(each, crop=None) for each in (outputs, full_size))
        data = CalibrationData(card, scenes, renderings, prior_of_card(card), fraction)
        decisions, logs = cross_validated(data)
        print(f"\n{title}")
        _table(card, scenes, decisions, np.exp(logs.astype(np.float64)))
    _boxes(given.data / "boxes.csv", scenes, outputs)


def prior_of_card(card: Card) -> Prior:
    """The prior that a finished card's calibration was fitted with."""
    fitted = card.calibration
    blanks = {label.name for label in card.labels if label.kind == Kind.BLANK}
    bias = {name: value for name, value in fitted.label_bias.items() if name not in blanks}
    return Prior(bias, tuple(name for name, value in fitted.label_thresholds.items() if value == UNREACHABLE))


def _table(card: Card, scenes: Sequence[LabelledFrame], decisions: Sequence[Decision], p: NDArray[np.float64]) -> None:
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    groups: dict[str, list[int]] = {"all": list(range(len(scenes)))}
    for n, scene in enumerate(scenes):
        groups.setdefault("infra-red" if scene.infrared else "day", []).append(n)
    for n, scene in enumerate(scenes):
        groups.setdefault(scene.source, []).append(n)
    best = "".join(f"{f'best {rank}':>14}" for rank in RANKS)
    print(f"{'':12}{'frames':>7}{'blank AUC':>10}{'answered':>9}{'right':>18}{best}{'species >= 0.8':>16}")
    for name, places in groups.items():
        print(f"{name:12}{len(places):7}" + _row(card, tree, scenes, decisions, p, places))


def _row(
    card: Card,
    tree: Tree,
    scenes: Sequence[LabelledFrame],
    decisions: Sequence[Decision],
    p: NDArray[np.float64],
    places: list[int],
) -> str:
    empty = np.array([scenes[n].kind == "blank" for n in places])
    blank = [label.kind == "blank" for label in card.labels]
    auc = f"{roc_auc_score(empty, p[places][:, blank].sum(axis=1)):.3f}" if 0 < empty.sum() < len(places) else "-"
    said = [n for n in places if decisions[n].kind != "unknown"]
    verdicts = [score_decision(decisions[n], scenes[n], tree) for n in said]
    sure = [
        score_decision(decisions[n], scenes[n], tree)
        for n in said
        if decisions[n].rank == "species" and decisions[n].confidence >= 0.8 and scenes[n].species_sure
    ]
    cells = [f"{auc:>10}", f"{len(said) / len(places):9.0%}", f"{_share(verdicts.count('right'), len(verdicts)):>18}"]
    for rank in RANKS:
        right, judged = _best(tree, scenes, p, places, rank)
        cells.append(f"{f'{right} of {judged}':>14}")
    surely = f"{sure.count('right')} of {len(sure)}"
    return "".join([*cells, f"{surely:>16}"])


def _best(
    tree: Tree, scenes: Sequence[LabelledFrame], p: NDArray[np.float64], places: list[int], rank: str
) -> tuple[int, int]:
    """(right, judged): the most probable taxon of `rank` against the truth, where the truth reaches that rank."""
    nodes = [node for node in tree.nodes if node.taxon.rank == rank]
    right = judged = 0
    for n in places:
        truth: list[TaxonKey] = [key for key in scenes[n].lineage if key[0] == rank]
        if not truth or (rank == "species" and not scenes[n].species_sure):
            continue
        found = max(nodes, key=lambda node: p[n, list(node.labels)].sum())
        judged += 1
        right += (found.taxon.rank, found.taxon.scientific_name) == truth[0]
    return right, judged


def _share(right: int, judged: int) -> str:
    if not judged:
        return "-"
    interval = binomtest(right, judged).proportion_ci(method="wilson")
    return f"{right / judged:.0%} ({interval.low:.0%}-{interval.high:.0%})"


def _boxes(path: Path, scenes: Sequence[LabelledFrame], outputs: ModelOutputs) -> None:
    if not path.is_file():
        return
    regions = {str(scene.path.resolve()): region for scene, region in zip(scenes, outputs.crop_boxes, strict=True)}
    inside = total = 0
    with path.open(newline="") as table:
        for row in csv.DictReader(table):
            region = regions[str((path.parent / row["path"]).resolve())]
            if region is None:
                continue
            x, y = (float(row[at]) + float(row[size]) / 2 for at, size in (("x", "width"), ("y", "height")))
            total += 1
            inside += region.x <= x <= region.x + region.width and region.y <= y <= region.y + region.height
    print(f"\nbox centres inside the attention crop: {inside} of {total}")


if __name__ == "__main__":
    main()
