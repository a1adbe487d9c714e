"""The model card: what a model says about itself, one JSON document inside the ONNX file.

It is written by export and read on the device, where msgspec checks types and ranges.
"""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from edge.inference.taxonomy import RANKS, Taxon
from edge.vocabulary import Kind

METADATA_KEY = "edge_classify"
CARD_VERSION = 1

FitMode = Literal["squash", "letterbox", "crop"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Side = Annotated[int, msgspec.Meta(ge=1, le=16_384)]
Made = TypeVar("Made")


class CardError(ValueError):
    """A model card that is missing, from a newer version, or inconsistent."""


@dataclass(frozen=True, slots=True)
class Label:
    """One output of the model."""

    name: str
    """Short and stable, unique within the model."""
    kind: Kind
    common_name: str
    taxon: Taxon | None = None
    """`None` exactly when `kind` is not animal."""


@dataclass(frozen=True, slots=True)
class SecondCrop:
    """How the attention crop is chosen, and how much it counts."""

    region_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """Side of the square crop as a fraction of the frame's shorter side."""
    weight: Share
    """Weight of the crop in what the animal is, 0..1; the whole frame has the rest."""
    blank_weight: Share
    """Weight of the crop in whether there is anything at all, 0..1."""
    unless_above: float = 1.0
    """The crop is left out when the whole frame gives a label at least this probability, 0..1."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A score that recognises frames unlike anything in training; higher is more familiar."""

    score: Literal["energy", "max_logit"]
    threshold: float
    """Below it the decision is `unknown` (`out_of_distribution`)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and thresholds, with the data that they were fitted on."""

    temperature: Positive
    thresholds: dict[str, float]
    """Least probability for a decision, by rank; `blank`, `human` and `vehicle` have their own."""
    label_thresholds: dict[str, float] = field(default_factory=dict)
    """Thresholds by label name, which override the rank's; above 1, the label is never decided on alone."""
    label_bias: dict[str, float] = field(default_factory=dict)
    """Added to the logit before the temperature, by label name: removes the prior of the training data."""
    second_look: SecondCrop | None = None
    rejection: Rejection | None = None
    fitted_on: str = ""


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

    label: str
    images: int
    recall_float: float
    recall_int8: float
    interval_low: float
    """95% interval of the int8 recall."""
    interval_high: float
    p_value: float
    """Paired test (McNemar, exact) of float against int8."""
    verdict: Literal["passed", "unproven", "failed"]


@dataclass(frozen=True, slots=True)
class Gate:
    """The proof that quantisation lost nothing."""

    data: str
    images: int
    figures: dict[str, float]
    """Overall figures, each measured on the same images: agreement, accuracy_float, accuracy_int8, ..."""
    limits: dict[str, float]
    labels: tuple[LabelProof, ...] = ()
    float_nodes: tuple[str, ...] = ()
    """Nodes left in float because the gate failed with them in int8."""
    finetune_steps: int = 0
    """Steps of fine-tuning for eight bits, because the gate failed without it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where weights or data came from, and what may be done with them."""

    name: str
    role: str
    """`weights`, `training data`, `calibration data`, ..."""
    licence: str
    attribution: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Everything the device needs to know about a model."""

    name: str
    version: str
    created: str
    """ISO 8601 UTC; the checkpoint's, not the export's, so that the same checkpoint gives the same bytes."""
    labels: tuple[Label, ...]
    """In the order of the model's outputs."""
    input_height_px: Side
    input_width_px: Side
    calibration: Calibration
    fit: FitMode = "squash"
    task: Literal["classify", "detect"] = "classify"
    boxes: Boxes | None = None
    """Given exactly when `task` is detect."""
    higher_taxa: tuple[Taxon, ...] = ()
    """Taxa above the labels, with their common names."""
    gate: Gate | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured figures, each named with the data it was measured on."""
    recipe: dict[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    licence: str = ""
    toolchain: dict[str, str] = field(default_factory=dict)
    prototypes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Label -> embedding (L2-normalised) of the enrolled species and of those that they are compared with."""
    enrolled: tuple[str, ...] = ()
    """Names of the last labels, for which the network has no output (see `edge.inference.prototypes`)."""
    prototype_scale: float = 0.0
    """Factor of the cosines of prototypes; above 0 where species are enrolled."""
    notes: tuple[str, ...] = ()
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
        return json.dumps(to_document(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Read a card. Raises `CardError`, in one line, for a document that is not a card of this version or older."""
        try:
            document = json.loads(text)
            version = int(document["card_version"])
        except (ValueError, TypeError, KeyError) as error:
            raise CardError("the model's card is not readable; export the model again") from error
        if version > CARD_VERSION:
            raise CardError(
                f"the model's card has version {version}, this software reads up to {CARD_VERSION}; "
                "install a newer edge-classify"
            )
        try:
            card: Card = from_document(cls, document)
        except (ValueError, TypeError, KeyError) as error:
            raise CardError(f"the model's card is inconsistent ({error}); export the model again") from error
        return card


def to_document(value: Any) -> Any:
    """A dataclass (or a list, dictionary or plain value) as what JSON can hold."""
    return _renamed(msgspec.to_builtins(value), "scientific_name", _TO_STANDARD)


def from_document(kind: type[Made], value: Any) -> Made:
    """`value` out of JSON as an instance of the type `kind`; unknown keys of older cards are passed over.

    Raises `ValueError` in one line that names the path of the value.
    """
    return msgspec.convert(_renamed(value, "scientificName", _FROM_STANDARD), kind)


# Taxa carry the standards' names in the document, and names that Python allows in the code.
_TO_STANDARD = {"scientific_name": "scientificName", "class_": "class"}
_FROM_STANDARD = {there: here for here, there in _TO_STANDARD.items()}


def _renamed(value: Any, mark: str, names: dict[str, str]) -> Any:
    """The same document with the keys of taxa (dictionaries that have the key `mark`) renamed."""
    if isinstance(value, dict):
        own = names if mark in value else {}
        return {own.get(key, key): _renamed(item, mark, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(item, mark, names) for item in value]
    return value
