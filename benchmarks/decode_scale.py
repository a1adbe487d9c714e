"""Counts the decisions that change when frames are decoded at a reduced scale instead of every pixel.

The model's thresholds were placed where few frames of the fitting set change their decision. For a fair count,
everything is therefore also fitted on the frames of other sequences.

python -m benchmarks.decode_scale ../shared/data/field [--model FILE]
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.field_table import prior_of_card
from edge.image import decode as frame
from edge.inference.decision import Decider, Decision
from edge.inference.model import STARTER, Model
from edge.inference.predictor import Models, classify
from edge.inference.taxonomy import Tree
from export.validation.calibrate import CalibrationData, calibrations
from export.validation.labelled_frames import LabelledFrame, read_labelled_frames
from export.validation.model_outputs import take_outputs
from export.validation.score_decision import score_decision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv")
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    model = Model(given.model)
    card = model.card
    models = Models(model, Decider(card))
    tree = Tree([label.taxon for label in card.labels], card.higher_taxa)
    scenes = read_labelled_frames(given.data, card.labels)
    sides: dict[str, int | None] = {"scaled": models.decode_side_px, "full": None}
    verdicts: dict[str, Counter[str]] = {name: Counter() for name in sides}
    differing = []
    for scene in scenes:
        said: dict[str, Decision] = {}
        for name, side_px in sides.items():
            decoded = frame.decode(scene.path.read_bytes(), side_px)
            said[name] = classify(models, decoded).decision
            verdict = "unknown" if said[name].kind == "unknown" else score_decision(said[name], scene, tree)
            verdicts[name][verdict] += 1
        if len({(decision.kind, decision.taxon) for decision in said.values()}) > 1:
            both = ", ".join(f"{name} {d.taxon or d.kind} {d.confidence:.3f}" for name, d in said.items())
            differing.append(f"{scene.path.name}: {both}")
    same = len(scenes) - len(differing)
    print(f"{same} of {len(scenes)} decisions are the same ({same / len(scenes):.1%})")
    for name, counts in verdicts.items():
        print(
            f"{name:8}" + ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("right", "wrong", "open", "unknown"))
        )
    print("\n".join(differing))
    print(f"{_fitted_elsewhere(model, scenes)} of {len(scenes)} are the same with everything fitted on other groups")


def _fitted_elsewhere(model: Model, scenes: Sequence[LabelledFrame]) -> int:
    """The number of equal decisions."""
    card, plan = model.card, model.card.calibration.second_look
    fraction = plan.region_fraction if plan else 0.5
    renderings = tuple(take_outputs(model, scenes, fraction, full_size=full) for full in (False, True))
    same = 0
    for test, fitted in calibrations(CalibrationData(card, scenes, renderings, prior_of_card(card), fraction)):
        decider = Decider(replace(card, calibration=fitted))
        rows = (outputs.at(test).under(card, fitted) for outputs in renderings)
        for pair in zip(*rows, strict=True):
            one, other = map(decider.decide, pair)
            same += (one.kind, one.taxon) == (other.kind, other.taxon)
    return same


if __name__ == "__main__":
    main()
