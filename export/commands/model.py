"""`python -m export model`: a checkpoint as one model file, quantised, calibrated, proven, with its card inside."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge.inference.card import Calibration, Card, Source
from edge.inference.model import Model
from edge.inference.probabilities import log_softmax
from edge.inference.taxonomy import RANKS
from export import ExportError
from export.graph import float_graph, normalise
from export.model_file import carded, check_writable, opened, toolchain, write
from export.pipeline import Task, export_int8
from export.quantization.activation_ranges import METHODS
from export.quantization.precision import PRECISIONS
from export.quantization.qat import Tuning, feature_map, unlabelled
from export.quantization.quantize import Plan
from export.quantization.rounding import ROUNDINGS
from export.validation.calibrate import cross_validated, prior
from export.validation.gate import DEFAULT_LIMITS, parse_limits, table
from export.validation.labelled_frames import LabelledFrame, read_labelled_frames
from export.validation.model_outputs import bias_array
from export.validation.scorecard import describe, scorecard
from export.validation.thresholds import UNPROVEN_THRESHOLD
from train.model.checkpoint import Checkpoint

PARITY_LIMIT = 1e-4
PARITY_FRAMES = 16
PROVISIONAL = Calibration(1.0, dict.fromkeys(RANKS, 0.5) | {"blank": 0.5})


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m export model", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="written by `python -m train`")
    parser.add_argument(
        "--calibrate",
        type=Path,
        required=True,
        metavar="DATA",
        help="labelled images: ranges, thresholds and (unless --held-out) the proof come from them",
    )
    parser.add_argument("--held-out", type=Path, metavar="DATA", help="other labelled images, for the proof alone")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the model to write (.onnx)")
    parser.add_argument("--float-out", type=Path, metavar="FILE", help="also write the float model, for `export bench`")
    parser.add_argument(
        "--limits",
        nargs="*",
        default=[],
        metavar="NAME=NUMBER",
        help=f"what int8 may cost, recorded in the card (default {DEFAULT_LIMITS})",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="int8",
        help="int8: static. dynamic: ranges found for each picture. weights: int8 weights, float "
        "arithmetic. fp16: half floats, for accelerators. All pass the same gate. (default %(default)s)",
    )
    parser.add_argument("--ranges", choices=METHODS, default=Plan().ranges, help="how activation ranges are chosen")
    parser.add_argument("--rounding", choices=ROUNDINGS, default=Plan().rounding,
                        help="nearest: each weight by itself. feedback: so that a layer's errors cancel where its"
                        " inputs go together (default %(default)s)")  # fmt: skip
    parser.add_argument("--percentile", type=float, default=Plan().percentile, help="for --ranges percentile")
    parser.add_argument("--region", type=float, default=0.5, metavar="FRACTION",
                        help="the second look's square over the shorter side (default %(default)s)")  # fmt: skip
    parser.add_argument("--finetune", type=Path, nargs="+", metavar="FOLDER",
                        help="pictures (no labels needed): when all layers in int8 miss the gate, the network is"
                        " fine-tuned on them with int8's rounding")  # fmt: skip
    parser.add_argument("--steps", type=int, default=300, help="of --finetune (default %(default)s)")
    given = parser.parse_args(argv)
    if given.finetune and given.precision != "int8":
        parser.error("--finetune is for --precision int8")
    if given.steps < 1:
        parser.error(f"--steps is {given.steps}, expected at least 1")
    if not 0.1 <= given.region <= 1.0:
        parser.error(f"--region is {given.region}, expected 0.1 to 1")
    if not 50.0 < given.percentile <= 100.0:
        parser.error(f"--percentile is {given.percentile}, expected above 50 and up to 100")
    limits = parse_limits(given.limits)
    check_writable(given.out)
    checkpoint = Checkpoint.load(given.checkpoint)
    scenes = read_labelled_frames(given.calibrate, checkpoint.labels)
    held_out = None if given.held_out is None else read_labelled_frames(given.held_out, checkpoint.labels)
    pictures = unlabelled(given.finetune) if given.finetune else []
    tuning = Tuning(checkpoint.build_network(), pictures, given.steps) if given.finetune else None
    model = float_graph(checkpoint)
    if tuning is not None:
        feature_map(model, tuning.network)  # say now what would fail after all other work
    card = card_of(checkpoint, given.calibrate.resolve().name)
    with opened(model, card) as float_model:
        parity = check_parity(checkpoint, float_model, scenes)
    say(f"float graph: {checkpoint.name} {checkpoint.version}, probabilities within {parity:.1e} of PyTorch's")
    data = describe_data(given.calibrate if given.held_out is None else given.held_out, held_out or scenes)
    known = prior(card, checkpoint.network.groups)
    task = Task(model, card, known, scenes, held_out, data, given.region, limits)
    result = export_int8(
        task, Plan(given.ranges, given.percentile, given.rounding, precision=given.precision), say, tuning
    )
    decisions, _ = cross_validated(card, result.looks, result.frames, known, given.region, result.in_full)
    unfitted = log_softmax(result.looks.first + bias_array(card, known.bias))
    measured = {f"cross-validated on {data}": scorecard(card, result.frames, decisions, unfitted)}
    final = with_enrolled(replace(result.card, metrics=checkpoint.metrics | measured), checkpoint)
    content = carded(result.model, final)
    digest = write(given.out, content)
    if given.float_out is not None:
        write(given.float_out, carded(model, final))
    print(table(result.gate))
    print(describe(measured[f"cross-validated on {data}"]))
    print(f"{given.out}: {len(content) / 1e6:.2f} MB, sha256 {digest}")
    return 0


def say(line: str) -> None:
    """Progress, apart from the results."""
    print(line, file=sys.stderr, flush=True)


def card_of(checkpoint: Checkpoint, calibration_data: str) -> Card:
    """The card before anything is fitted."""
    return Card(
        name=checkpoint.name,
        version=checkpoint.version,
        created=checkpoint.created,
        labels=checkpoint.labels,
        input_height_px=checkpoint.input_height_px,
        input_width_px=checkpoint.input_width_px,
        calibration=PROVISIONAL,
        fit=checkpoint.fit,
        higher_taxa=checkpoint.higher_taxa,
        metrics=dict(checkpoint.metrics),
        recipe=_without_folders(checkpoint.recipe) | {"training_data": checkpoint.data},
        sources=(
            *checkpoint.sources,
            Source(calibration_data, "calibration data", "stays with its owners; none is in the file"),
        ),
        licence=checkpoint.licence,
        toolchain=toolchain(),
        notes=checkpoint.notes,
    )


def _without_folders(value: Any) -> Any:
    """The recipe with files (a table of taxa, weights) by their names alone: the card goes to strangers."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def with_enrolled(card: Card, checkpoint: Checkpoint) -> Card:
    """The card with the enrolled species. Nothing was fitted or proven on them, so they need more than others."""
    if not checkpoint.enrolled:
        return card
    names = tuple(label.name for label in checkpoint.enrolled)
    told = {label.name for label in (*card.labels, *checkpoint.enrolled)}
    unproven = dict.fromkeys(names, UNPROVEN_THRESHOLD)
    note = f"Enrolled by a few pictures, without training; no figure here covers it: {', '.join(names)}."
    return replace(
        card,
        labels=(*card.labels, *checkpoint.enrolled),
        enrolled=names,
        prototype_scale=checkpoint.prototype_scale,
        prototypes={
            name: tuple(round(value, 4) for value in vector)
            for name, vector in checkpoint.prototypes.items()
            if name in told
        },
        calibration=replace(card.calibration, label_thresholds=card.calibration.label_thresholds | unproven),
        notes=(*card.notes, note),
    )


def check_parity(checkpoint: Checkpoint, model: Model, scenes: Sequence[LabelledFrame]) -> float:
    """Largest difference of a probability between PyTorch and the float graph. Raises `ExportError` above the limit."""
    pictures = [scene.picture(checkpoint.input_height_px) for scene in scenes[:: max(1, len(scenes) // PARITY_FRAMES)]]
    pixels = np.stack([model.pixels(picture) for picture in pictures])
    with torch.inference_mode():
        expected = checkpoint.build_network()(torch.from_numpy(normalise(pixels))).logits.numpy()
    found = model.run(pixels).logits
    difference = float(np.abs(np.exp(log_softmax(expected)) - np.exp(log_softmax(found))).max())
    if not difference < PARITY_LIMIT:
        raise ExportError(
            f"the ONNX graph's probabilities differ from PyTorch's by {difference:.1e}, the limit is {PARITY_LIMIT}; "
            "this network cannot be exported faithfully"
        )
    return difference


def describe_data(path: Path, scenes: Sequence[LabelledFrame]) -> str:
    """The data in a few words."""
    return f"{path.resolve().name}: {len(scenes)} frames, {len({scene.group for scene in scenes})} groups"
