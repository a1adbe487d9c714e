"""`python -m export model`: make a model file of a checkpoint: quantised, calibrated, proven, with its card inside."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

from edge.commands.runner import Parser
from edge.host.output_file import Guard
from edge.inference.probabilities import log_softmax
from export.graph import float_graph
from export.model_card import card_of, with_enrolled
from export.model_file import carded, check_writable, opened, write
from export.pipeline import Task, export_int8
from export.quantization.activation_ranges import Method
from export.quantization.precision import Precision
from export.quantization.qat import Tuning, feature_map, unlabelled
from export.quantization.quantize import Plan
from export.quantization.rounding import Rounding
from export.validation.calibrate import cross_validated, prior_of_labels
from export.validation.gate import DEFAULT_LIMITS, parse_limits, table
from export.validation.labelled_frames import describe_data, read_labelled_frames
from export.validation.model_outputs import bias_array
from export.validation.parity import check_parity
from export.validation.scorecard import describe, scorecard
from train.model.checkpoint import Checkpoint


def _parser() -> argparse.ArgumentParser:
    parser = Parser("python -m export model", description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="written by `python -m train`")
    add(
        "--calibrate",
        type=Path,
        required=True,
        metavar="DATA",
        help="labelled images: activation ranges, thresholds and (without --held-out) the proof come from them",
    )
    add("--held-out", type=Path, metavar="DATA", help="other labelled images, for the proof alone")
    add("--out", type=Path, required=True, metavar="FILE", help="the model to write (.onnx)")
    add("--float-out", type=Path, metavar="FILE", help="also write the float model, for `export bench`")
    defaults = " ".join(f"{name}={value:g}" for name, value in DEFAULT_LIMITS.items())
    add("--force", action="store_true", help="replace also a file at --out that is no model with a card inside")
    limits = f"what int8 may cost, recorded in the card (default {defaults})"
    add("--limits", nargs="*", default=[], metavar="NAME=NUMBER", help=limits)
    add(
        "--precision",
        choices=get_args(Precision),
        default="int8",
        help="int8: static. dynamic: ranges measured for each image. weights: int8 weights, float arithmetic. "
        "fp16: half floats, for accelerators. All pass the same gate. (default %(default)s)",
    )
    ranges = "how activation ranges are chosen (default %(default)s)"
    add("--ranges", choices=get_args(Method), default=Plan().ranges, help=ranges)
    add(
        "--rounding",
        choices=get_args(Rounding),
        default=Plan().rounding,
        help="nearest: each weight by itself. feedback: so that the errors of a layer's weights cancel out "
        "(default %(default)s)",
    )
    percentile = "share of values that --ranges percentile keeps (default %(default)s)"
    add("--percentile", type=float, default=Plan().percentile, help=percentile)
    region = "side of the attention crop over the frame's shorter side (default %(default)s)"
    add("--region", type=float, default=0.5, metavar="FRACTION", help=region)
    add(
        "--finetune",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="images without labels; when int8 misses the gate, the network is fine-tuned on them with its rounding",
    )
    add("--steps", type=int, default=300, help="number of fine-tuning steps (default %(default)s)")
    return parser


def main(argv: Sequence[str]) -> int:
    parser = _parser()
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
    progress = partial(print, file=sys.stderr, flush=True)
    inputs = (given.checkpoint, given.calibrate, given.held_out, *(given.finetune or ()))
    guard = Guard(tuple(filter(None, inputs)), given.force)
    for out in filter(None, (given.out, given.float_out)):
        check_writable(out, guard)
    checkpoint = Checkpoint.load(given.checkpoint)
    frames = read_labelled_frames(given.calibrate, checkpoint.labels)
    held_out = None if given.held_out is None else read_labelled_frames(given.held_out, checkpoint.labels)
    tuning = Tuning(checkpoint.build_network(), unlabelled(given.finetune), given.steps) if given.finetune else None
    model = float_graph(checkpoint)
    if tuning is not None:
        feature_map(model, tuning.network)  # what cannot be fine-tuned is reported before hours of work
    card = card_of(checkpoint, given.calibrate.resolve().name)
    with opened(model, card) as float_model:
        parity = check_parity(checkpoint, float_model, frames)
    progress(f"float graph: {checkpoint.name} {checkpoint.version}, probabilities within {parity:.1e} of PyTorch's")
    data = describe_data(given.calibrate if given.held_out is None else given.held_out, held_out or frames)
    prior = prior_of_labels(card, checkpoint.network.groups)
    task = Task(model, card, prior, frames, held_out, data, given.region, limits)
    plan = Plan(given.ranges, given.percentile, given.rounding, precision=given.precision)
    result = export_int8(task, plan, progress, tuning)
    decisions, _ = cross_validated(result.calibrated_on)
    unfitted = log_softmax(result.calibrated_on.outputs.whole + bias_array(card, prior.bias))
    figures = scorecard(card, result.calibrated_on.frames, decisions, unfitted)
    metrics = checkpoint.metrics | {f"cross-validated on {data}": figures}
    final = with_enrolled(replace(result.card, metrics=metrics), checkpoint)
    content = carded(result.model, final)
    digest = write(given.out, content, guard)
    if given.float_out is not None:
        write(given.float_out, carded(model, final), guard)
    print(table(result.gate))
    print(describe(figures))
    print(f"{given.out}: {len(content) / 1e6:.2f} MB, sha256 {digest}")
    return 0
