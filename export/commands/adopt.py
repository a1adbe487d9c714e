"""`python -m export adopt`: give an ONNX classifier or detector from elsewhere a model card and our input."""

import argparse
import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import get_args

import onnx

from edge.commands.runner import Parser
from edge.host.output_file import Guard
from edge.inference.card import Boxes, Card, DetectorLayout, FitMode, Label, Source
from edge.vocabulary import Kind
from export import ExportError
from export.adopt.foreign_graph import Expectation, give_detections, give_logits, take_bytes
from export.model_card import PROVISIONAL
from export.model_file import carded, check_writable, toolchain, write
from export.pipeline import Task, calibrate_float, export_int8
from export.quantization.quantize import Plan
from export.validation.calibrate import prior_of_labels
from export.validation.gate import parse_limits, table
from export.validation.labelled_frames import describe_data, read_labelled_frames
from train import first_line
from train.data.taxa_table import taxon_of_row

KINDS = tuple(kind for kind in Kind if kind != Kind.UNKNOWN)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("python -m export adopt", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, help="an ONNX file that you are licensed to use")
    add(
        "--labels",
        type=Path,
        required=True,
        metavar="CSV",
        help="one row for each output, in order: label, kind (animal|human|vehicle|blank), common_name, "
        "scientificName, rank, class, order, family, genus, species",
    )
    add("--input", required=True, metavar="HEIGHTxWIDTH", help="size of the model's input in pixels")
    add("--out", type=Path, required=True, metavar="FILE", help="the model to write (.onnx)")
    add("--force", action="store_true", help="replace also a file at --out that is no model with a card inside")
    add("--layout", choices=("nchw", "nhwc"), default="nchw", help="axes of the model's input (default %(default)s)")
    add("--channels", choices=("rgb", "bgr"), default="rgb", help="order of its colours (default %(default)s)")
    add("--scale", type=float, default=255.0, help="first, pixels are divided by this (default %(default)s)")
    add("--mean", type=float, nargs=3, default=(0.0, 0.0, 0.0), help="then these are subtracted")
    add("--std", type=float, nargs=3, default=(1.0, 1.0, 1.0), help="last, they are divided by these")
    fit = "how a frame is resized to the input (default: squash; for a detector letterbox)"
    add("--fit", choices=get_args(FitMode), help=fit)
    add("--output", help="name of the output with the scores or boxes (default: the first)")
    probabilities = "the scores are probabilities (default: found out by a trial run)"
    add("--probabilities", action=argparse.BooleanOptionalAction, default=None, help=probabilities)
    add("--boxes", choices=get_args(DetectorLayout), help="the model is a detector with this layout")
    add("--least-score", type=float, default=0.2, help="least score of a detector's boxes (default %(default)s)")
    add("--name", help="name of the model (default: the file's name)")
    add("--version", default="1", help="version of the model (default %(default)s)")
    add("--licence", default="", help="licence of the weights")
    add("--attribution", default="", help="who made the weights")
    add("--calibrate", type=Path, metavar="DATA", help="labelled images to fit thresholds on")
    add("--int8", action="store_true", help="quantise, through the gate (needs --calibrate)")
    add("--limits", nargs="*", default=[], metavar="NAME=NUMBER", help="limits of the gate")
    return parser


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    given = parser.parse_args(argv)
    if given.int8 and given.calibrate is None:
        parser.error("--int8 needs --calibrate DATA: no model is quantised without its proof")
    if given.boxes and given.calibrate:
        parser.error("--calibrate is for classifiers; a detector is adopted as it is")
    height_px, width_px = _size(given.input, parser)
    limits = parse_limits(given.limits)
    guard = Guard(tuple(filter(None, (given.model, given.labels, given.calibrate))), given.force)
    check_writable(given.out, guard)
    labels = read_labels(given.labels)
    if given.boxes and any(label.kind == Kind.BLANK for label in labels):
        raise ExportError(f"{given.labels}: no box shows a blank; a detector's labels are animals, people and vehicles")
    expected = Expectation(given.layout, given.channels, given.scale, tuple(given.mean), tuple(given.std))
    model = take_bytes(_load(given.model), expected, height_px, width_px)
    if given.boxes:
        give_detections(model, given.output, given.boxes, len(labels))
    else:
        give_logits(model, given.output, len(labels), given.probabilities)
    card = Card(
        name=given.name or given.model.stem,
        version=given.version,
        created=datetime.fromtimestamp(given.model.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        labels=labels,
        input_height_px=height_px,
        input_width_px=width_px,
        calibration=PROVISIONAL,
        fit=given.fit or ("letterbox" if given.boxes else "squash"),
        task="detect" if given.boxes else "classify",
        boxes=Boxes(given.boxes, given.least_score) if given.boxes else None,
        recipe={"command": "export adopt"},
        sources=(Source(given.model.name, "weights", given.licence or "not stated", given.attribution),),
        licence=given.licence,
        toolchain=toolchain(),
        notes=("Adopted without calibration: its thresholds are provisional.",)
        if not given.boxes and not given.calibrate
        else (),
    )
    if given.calibrate is not None:
        frames = read_labelled_frames(given.calibrate, labels)
        data = describe_data(given.calibrate, frames)
        task = Task(model, card, prior_of_labels(card, None), frames, None, data, 0.5, limits)
        if given.int8:
            result = export_int8(task, Plan(), partial(print, file=sys.stderr, flush=True))
            model, card = result.model, result.card
            print(table(result.gate))
        else:
            card = calibrate_float(task)
    content = carded(model, card)
    digest = write(given.out, content, guard)
    print(f"{given.out}: {len(labels)} labels, {len(content) / 1e6:.2f} MB, sha256 {digest}")
    return 0


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read the table of labels. Raises `ExportError` that names the wrong line."""
    labels = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                cell = {key: (value or "").strip() for key, value in row.items() if key}
                labels.append(_label(cell, f"{path.name} line {number}"))
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); expected a table of labels") from error
    if not labels:
        raise ExportError(f"{path} holds no label; expected one row for each output of the model")
    return tuple(labels)


def _label(cell: dict[str, str], where: str) -> Label:
    name = cell.get("label", "")
    kind = next((kind for kind in KINDS if kind == (cell.get("kind") or name)), None)
    if not name or (cell.get("kind") and kind is None):
        raise ExportError(f"{where}: needs a label, and a kind of {', '.join(KINDS)}")
    if kind not in (None, Kind.ANIMAL):
        return Label(name, kind, cell.get("common_name") or name)
    if name == Kind.ANIMAL and not cell.get("scientificName"):
        cell = cell | {"scientificName": "Animalia", "rank": "kingdom"}
    taxon = taxon_of_row(cell, f"{where}: an animal")
    return Label(name, Kind.ANIMAL, taxon.common_name or name, taxon)


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); give an ONNX file") from error
    except Exception as error:  # protobuf's and onnx's exception types share no base
        raise ExportError(f"{path} is no ONNX model ({first_line(error)[:120]}); give an ONNX file") from error
    return model


def _size(text: str, parser: argparse.ArgumentParser) -> tuple[int, int]:
    high, _, wide = text.lower().partition("x")
    if not high.isdigit() or not (wide or high).isdigit() or not 16 <= int(high) <= 4096:
        parser.error(f"--input is {text!r}, expected HEIGHTxWIDTH in pixels, such as 480x480")
    return int(high), int(wide or high)
