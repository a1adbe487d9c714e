"""The model card: what a model says about itself, one JSON document inside the ONNX file.

It is written by export and read on the device, where msgspec checks types and ranges.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from edge.host.one_line import one_line
from edge.inference.taxonomy import RANKS, Name, Taxon
from edge.vocabulary import Kind

METADATA_KEY = "edge_classify"
CARD_VERSION = 1
MOST_LABELS = 100_000
MOST_CHARACTERS = 64_000_000
"""Of a card as text; with 100,000 labels and all proofs it has some 60 million."""

FitMode = Literal["squash", "letterbox", "crop"]
OwnName = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=10_000)]
Share = Annotated[float, Meta(ge=0, le=1)]
Figure = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""A finite number."""
Threshold = Annotated[float, Meta(ge=0, le=2)]
"""Least probability; above 1, what it is for is never decided on."""
Bias = Annotated[float, Meta(ge=-1000, le=1000)]
Temperature = Annotated[float, Meta(ge=1e-3, le=1e3)]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Side = Annotated[int, Meta(ge=1, le=4096)]
PerLabel = Meta(max_length=MOST_LABELS)
Made = TypeVar("Made")


class CardError(ValueError):
    """A model card that is missing, from a newer version, or inconsistent."""


@dataclass(frozen=True, slots=True)
class Label:
    """One output of the model."""

    name: OwnName
    """Short and stable, unique within the model."""
    kind: Kind
    common_name: Name
    taxon: Taxon | None = None
    """`None` exactly when `kind` is not animal."""


@dataclass(frozen=True, slots=True)
class SecondCrop:
    """How the attention crop is chosen, and how much it counts."""

    region_fraction: Annotated[float, Meta(ge=0.01, le=1)]
    """Side of the square crop as a fraction of the frame's shorter side."""
    weight: Share
    """Weight of the crop in what the animal is, 0..1; the whole frame has the rest."""
    blank_weight: Share
    """Weight of the crop in whether there is anything at all, 0..1."""
    unless_above: Share = 1.0
    """The crop is left out when the whole frame gives a label at least this probability, 0..1."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A score that recognises frames unlike anything in training; higher is more familiar."""

    score: Literal["energy", "max_logit"]
    threshold: Figure
    """Below it the decision is `unknown` (`out_of_distribution`)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and thresholds, with the data that they were fitted on."""

    temperature: Temperature
    thresholds: dict[str, Threshold]
    """Least probability for a decision, by rank; `blank`, `human` and `vehicle` have their own."""
    label_thresholds: Annotated[dict[str, Threshold], PerLabel] = field(default_factory=dict)
    """Thresholds by label name, which override the rank's; above 1, the label is never decided on alone."""
    label_bias: Annotated[dict[str, Bias], PerLabel] = field(default_factory=dict)
    """Added to the logit before the temperature, by label name: removes the prior of the training data."""
    second_look: SecondCrop | None = None
    rejection: Rejection | None = None
    fitted_on: Text = ""


DetectorLayout = Literal["yolov5", "yolov9", "yolov10", "rtdetr"]


@dataclass(frozen=True, slots=True)
class Boxes:
    """How a detector's output `detections` is read (`task = "detect"`)."""

    layout: DetectorLayout
    """Layout of the output; `edge.inference.detector` describes each one."""
    least_score: Share = 0.2
    """Bounding boxes with a lower score are dropped, 0..1."""
    overlap: Share = 0.45
    """Of two boxes of one label that overlap more than this (intersection over union), the weaker one is dropped."""


@dataclass(frozen=True, slots=True)
class LabelProof:
    """What int8 costs one label: its recall in float and int8 on the gate's held-out data."""

    label: OwnName
    images: Count
    recall_float: Share
    recall_int8: Share
    interval_low: Share
    """95% interval of the int8 recall."""
    interval_high: Share
    p_value: Figure
    """Paired test (McNemar, exact) of float against int8."""
    verdict: Literal["passed", "unproven", "failed"]


@dataclass(frozen=True, slots=True)
class Gate:
    """The proof that quantisation lost nothing."""

    data: Text
    images: Count
    figures: dict[str, Figure]
    """Overall figures, each measured on the same images: agreement, accuracy_float, accuracy_int8, ..."""
    limits: dict[str, Figure]
    labels: Annotated[tuple[LabelProof, ...], PerLabel] = ()
    float_nodes: tuple[Text, ...] = ()
    """Nodes left in float because the gate failed with them in int8."""
    finetune_steps: Count = 0
    """Steps of fine-tuning for eight bits, because the gate failed without it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights or data came from, and what may be done with them."""

    name: Text
    role: Text
    """`weights`, `training data`, `calibration data`, ..."""
    licence: Text
    attribution: Text = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Everything the device needs to know about a model."""

    name: OwnName
    version: OwnName
    created: OwnName
    """ISO 8601 UTC; the checkpoint's, not the export's, so that the same checkpoint gives the same bytes."""
    labels: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=MOST_LABELS)]
    """In the order of the model's outputs."""
    input_height_px: Side
    input_width_px: Side
    calibration: Calibration
    fit: FitMode = "squash"
    task: Literal["classify", "detect"] = "classify"
    boxes: Boxes | None = None
    """Given exactly when `task` is detect."""
    higher_taxa: Annotated[tuple[Taxon, ...], PerLabel] = ()
    """Taxa above the labels, with their common names."""
    gate: Gate | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured figures, each named with the data it was measured on."""
    recipe: dict[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    licence: Text = ""
    toolchain: dict[str, Text] = field(default_factory=dict)
    prototypes: Annotated[dict[str, Annotated[tuple[Bias, ...], Meta(max_length=65_536)]], PerLabel] = field(
        default_factory=dict
    )
    """Label -> embedding (L2-normalised) of the enrolled species and of those that they are compared with."""
    enrolled: Annotated[tuple[OwnName, ...], PerLabel] = ()
    """Names of the last labels, for which the network has no output (see `edge.inference.prototypes`)."""
    prototype_scale: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    """Factor of the cosines of prototypes; above 0 where species are enrolled."""
    notes: tuple[Text, ...] = ()
    """Known weaknesses, in plain words."""
    card_version: int = CARD_VERSION

    def __post_init__(self) -> None:
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise CardError("two labels of the card share a name; each output needs its own")
        for label in self.labels:
            if (label.kind == "animal") != (label.taxon is not None):
                raise CardError(f"label {label.name!r}: an animal has a taxon and nothing else has")
            if label.taxon is not None and label.taxon.rank not in RANKS:
                raise CardError(f"label {label.name!r}: rank {label.taxon.rank!r} is none of {', '.join(RANKS)}")
        if (self.task == "detect") != (self.boxes is not None):
            raise CardError("a detector's card says how its boxes are read, and no other card does")
        if not self.calibration.temperature > 0:
            raise CardError(f"temperature is {self.calibration.temperature}; it must be above 0")

    def to_json(self) -> str:
        """The document as text; the same card always gives the same text."""
        text = json.dumps(to_document(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        if "NaN" in text or "Infinity" in text:  # a figure that could not be measured, which JSON cannot say
            document = json.loads(text, parse_constant=lambda _: None)
            text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Read a card. Raises `CardError`, in one line, for a document that is not a card of this version or older."""
        if len(text) > MOST_CHARACTERS:
            raise CardError(f"the model's card has {len(text):,} characters; expected at most {MOST_CHARACTERS:,}")
        try:
            version = _decoded(text, _Version).card_version
        except (ValueError, RecursionError) as error:
            raise CardError("the model's card is not readable; export the model again") from error
        if version > CARD_VERSION:
            raise CardError(
                f"the model's card has version {one_line(version)}, this software reads up to {CARD_VERSION}; "
                "install a newer edge-classify"
            )
        try:
            card = _decoded(text, cls)
            if problem := next(_problems(card), None):
                raise ValueError(problem)
        except (ValueError, RecursionError) as error:
            raise CardError(f"the model's card is inconsistent ({one_line(error)}); export the model again") from error
        return card


class _Version(msgspec.Struct):
    """What is read of every card, also of a later version's."""

    card_version: Annotated[int, Meta(ge=1)]


def _decoded(text: str, kind: type[Made]) -> Made:
    """The document as an instance of `kind`; a figure that could not be measured (0.1.0 wrote `NaN`) becomes null."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if "NaN" not in text and "Infinity" not in text:
            raise
        return msgspec.convert(json.loads(text, parse_constant=lambda _: None), kind)


def _problems(card: Card) -> Iterator[str]:
    """What no type of a field says. A card that comes out of a file has passed all of it."""
    names = {label.name for label in card.labels}
    thresholds = card.calibration.thresholds
    if odd := sorted(set(thresholds) - {*RANKS, *Kind}):
        yield f"there is a threshold for {odd[0]!r}, which is neither a rank nor a kind"
    if card.task == "classify" and "species" not in thresholds:
        yield "there is no threshold for species"
    for name in (*card.calibration.label_thresholds, *card.calibration.label_bias, *card.enrolled):
        if name not in names:
            yield f"{name!r} is named, and no label is called so"
    if any(not (label.taxon is None or label.taxon.scientific_name.strip()) for label in card.labels):
        yield "a taxon has no name"
    if len({len(vector) for vector in card.prototypes.values()}) > 1:
        yield "prototypes differ in length"
    if _is_deeper([card.metrics, card.recipe], 20):
        yield "its metrics or its recipe is nested too deeply"
    datetime.fromisoformat(card.created)
    taxa = [*card.higher_taxa, *(label.taxon for label in card.labels if label.taxon is not None)]
    texts = [card.name, card.version, *names, *(label.common_name for label in card.labels)]
    for text in (*texts, *(part for taxon in taxa for part in msgspec.structs.astuple(taxon))):
        if not text.isprintable() and not text.replace("\xa0", " ").isprintable():
            yield f"the name {text!a} has a control character"


def _is_deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inside) and (levels == 0 or any(_is_deeper(item, levels - 1) for item in inside))


def to_document(value: Any) -> Any:
    """A dataclass (or a list, dictionary or plain value) as what JSON can hold."""
    return msgspec.to_builtins(value)


def from_document(kind: type[Made], value: Any) -> Made:
    """`value` out of JSON as an instance of the type `kind`; unknown keys of older cards are passed over.

    Raises `ValueError` in one line that names the path of the value.
    """
    return msgspec.convert(value, kind)
