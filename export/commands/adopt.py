"""`python -m export adopt`: somebody else's ONNX classifier or detector, with a card and our input, in one file."""

import argparse
import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import onnx

from edge.inference.card import Boxes, Card, DetectorLayout, Label, Source
from edge.inference.taxonomy import RANKS, Taxon
from edge.vocabulary import Kind
from export import ExportError
from export.adopt.foreign_graph import Expectation, give_detections, give_logits, take_bytes
from export.commands.model import PROVISIONAL, describe_data, say
from export.model_file import carded, check_writable, toolchain, write
from export.pipeline import Task, calibrate_float, export_int8
from export.quantization.quantize import Plan
from export.validation.calibrate import prior
from export.validation.gate import parse_limits, table
from export.validation.labelled_frames import read_labelled_frames

KINDS: tuple[Kind, ...] = (Kind.ANIMAL, Kind.HUMAN, Kind.VEHICLE, Kind.BLANK)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m export adopt", description=__doc__)
    parser.add_argument("model", type=Path, help="an ONNX file that you are licensed to use")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="CSV",
        help="one row an output, in order: label, kind (animal|human|vehicle|blank), common_name, "
        "scientificName, rank, class, order, family, genus, species",
    )
    parser.add_argument("--input", required=True, metavar="HEIGHTxWIDTH", help="the model's input in pixels")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw")
    parser.add_argument("--channels", choices=("rgb", "bgr"), default="rgb")
    parser.add_argument(
        "--scale", type=float, default=255.0, help="pixels are divided by it first (default %(default)s)"
    )
    parser.add_argument("--mean", type=float, nargs=3, default=(0.0, 0.0, 0.0), help="then these are taken off")
    parser.add_argument("--std", type=float, nargs=3, default=(1.0, 1.0, 1.0), help="and these divided by")
    parser.add_argument(
        "--fit", choices=("squash", "letterbox", "crop"), help="default: squash, of a detector letterbox"
    )
    parser.add_argument("--output", help="name of the output with the scores or boxes (default: the first)")
    parser.add_argument(
        "--probabilities",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="the scores are probabilities (default: found out)",
    )
    parser.add_argument("--boxes", choices=get_args(DetectorLayout), help="the model is a detector with this layout")
    parser.add_argument("--least-score", type=float, default=0.2, help="of a detector's boxes (default %(default)s)")
    parser.add_argument("--name", help="default: the file's name")
    parser.add_argument("--version", default="1")
    parser.add_argument("--licence", default="", help="of the weights")
    parser.add_argument("--attribution", default="", help="who made the weights")
    parser.add_argument("--calibrate", type=Path, metavar="DATA", help="labelled images to fit thresholds on")
    parser.add_argument("--int8", action="store_true", help="quantise, through the gate (needs --calibrate)")
    parser.add_argument("--limits", nargs="*", default=[], metavar="NAME=NUMBER", help="of the gate")  # fmt: skip
    given = parser.parse_args(argv)
    if given.int8 and given.calibrate is None:
        parser.error("--int8 needs --calibrate DATA: no model is quantised without its proof")
    if given.boxes and given.calibrate:
        parser.error("--calibrate is for classifiers; a detector is adopted as it is")
    height_px, width_px = _size(given.input, parser)
    limits = parse_limits(given.limits)
    check_writable(given.out)
    labels = read_labels(given.labels)
    if given.boxes and any(label.kind == "blank" for label in labels):
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
        notes=()
        if given.boxes or given.calibrate
        else ("Adopted without calibration: its thresholds are provisional.",),
    )
    if given.calibrate is not None:
        scenes = read_labelled_frames(given.calibrate, labels)
        task = Task(model, card, prior(card, None), scenes, None, describe_data(given.calibrate, scenes), 0.5, limits)
        if given.int8:
            result = export_int8(task, Plan(), say)
            model, card = result.model, result.card
            print(table(result.gate))
        else:
            card = calibrate_float(task)
    content = carded(model, card)
    digest = write(given.out, content)
    print(f"{given.out}: {len(labels)} labels, {len(content) / 1e6:.2f} MB, sha256 {digest}")
    return 0


def read_labels(path: Path) -> tuple[Label, ...]:
    """The table of labels. Raises `ExportError` with the line that is wrong."""
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
    if kind not in (None, "animal"):
        return Label(name, kind, cell.get("common_name") or name)
    if name == "animal" and not cell.get("scientificName"):
        cell = cell | {"scientificName": "Animalia", "rank": "kingdom"}
    rank = cell.get("rank") or "species"
    if rank not in RANKS or not cell.get("scientificName"):
        raise ExportError(f"{where}: an animal needs scientificName and a rank of {', '.join(RANKS)}")
    scientific = cell["scientificName"]
    genus = cell.get("genus") or (scientific.split()[0] if rank == "species" else "")
    species = scientific if rank == "species" else ""
    taxon = Taxon(
        scientific, rank, cell.get("common_name", ""), cell.get("class", ""), cell.get("order", ""),
        cell.get("family", ""), genus, species,
    )  # fmt: skip
    return Label(name, Kind.ANIMAL, cell.get("common_name") or name, taxon)


def _load(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); give an ONNX file") from error
    except Exception as error:  # protobuf's and onnx's exception types share no base
        reason = (str(error).strip().splitlines() or ["damaged"])[0]
        raise ExportError(f"{path} is no ONNX model ({reason[:120]})") from error
    return model


def _size(text: str, parser: argparse.ArgumentParser) -> tuple[int, int]:
    high, _, wide = text.lower().partition("x")
    if not high.isdigit() or not (wide or high).isdigit() or not 16 <= int(high) <= 4096:
        parser.error(f"--input is {text!r}, expected HEIGHTxWIDTH in pixels, such as 480x480")
    return int(high), int(wide or high)
