"""What a model says about itself: one JSON document inside the ONNX file, written by export, read on the device."""

import json
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edge.inference.taxonomy import RANKS, Taxon

METADATA_KEY = "edge_classify"
CARD_VERSION = 1

Kind = Literal["animal", "human", "vehicle", "blank", "unknown"]
FitMode = Literal["squash", "letterbox", "crop"]


class CardError(ValueError):
    """A card is missing, from a newer version, or does not hold together."""


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
    """How a region of the frame is chosen and looked at again."""

    region_fraction: float
    """Side of the square region as a fraction of the frame's shorter side, 0..1."""
    weight: float
    """Weight of the second look in what the animal is, 0..1; the first look has the rest."""
    blank_weight: float
    """Weight of the second look in whether there is anything at all, 0..1."""
    unless_above: float = 1.0
    """The second look is left out when the first one gives a label at least this probability, 0..1."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A score that tells a frame unlike anything in training; higher is more familiar."""

    score: Literal["energy", "max_logit"]
    threshold: float
    """Below it the answer is `unknown` (`out_of_distribution`)."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and thresholds, with the data that they were fitted on."""

    temperature: float
    thresholds: dict[str, float]
    """Least probability for an answer, by rank; `blank`, `human` and `vehicle` have their own."""
    label_thresholds: dict[str, float] = field(default_factory=dict)
    """By label name, in place of the rank's."""
    label_bias: dict[str, float] = field(default_factory=dict)
    """By label name, added to the logit before the temperature: takes off the prior of the training data."""
    second_look: SecondCrop | None = None
    rejection: Rejection | None = None
    fitted_on: str = ""


DetectorLayout = Literal["yolov5", "yolov9", "yolov10", "rtdetr"]


@dataclass(frozen=True, slots=True)
class Boxes:
    """How a detector's output `detections` is read (`task = "detect"`)."""

    layout: DetectorLayout
    """See `edge.inference.detector`."""
    least_score: float = 0.2
    """Boxes below it are dropped, 0..1."""
    overlap: float = 0.45
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
    """Nodes left in float because the gate asked for it."""
    finetune_steps: int = 0
    """Steps in which the weights were fine-tuned for eight bits because the gate asked for it."""


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
    input_height_px: int
    input_width_px: int
    calibration: Calibration
    fit: FitMode = "squash"
    task: Literal["classify", "detect"] = "classify"
    boxes: Boxes | None = None
    """Given exactly when `task` is detect."""
    higher_taxa: tuple[Taxon, ...] = ()
    """Common names of taxa above the labels."""
    gate: Gate | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    """Measured figures, each named with the data it was measured on."""
    recipe: dict[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    licence: str = ""
    toolchain: dict[str, str] = field(default_factory=dict)
    prototypes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Label -> embedding (L2-normalised), of enrolled species and of those that they are told from."""
    enrolled: tuple[str, ...] = ()
    """Names of the last labels, which have a prototype (`inference.prototypes`) instead of an output of the network."""
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
            raise CardError(f"the model's card does not hold together ({error}); export the model again") from error
        return card


# Names of the standards in the document, names that Python allows in the code.
_TO_DOCUMENT = {"scientific_name": "scientificName", "class_": "class"}
_FROM_DOCUMENT = {there: here for here, there in _TO_DOCUMENT.items()}


def to_document(value: Any) -> Any:
    """A dataclass (or a list, dictionary or plain value) as what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, dict):
        return {_TO_DOCUMENT.get(key, key): to_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_document(item) for item in value]
    return value


def from_document(kind: Any, value: Any) -> Any:
    """`value` out of JSON as an instance of the annotated type `kind`; unknown keys of older cards are passed over."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        known = {field.name for field in fields(kind)}
        given = {_FROM_DOCUMENT.get(key, key): item for key, item in value.items()}
        return kind(**{key: from_document(hints[key], item) for key, item in given.items() if key in known})
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        # `tuple[X, ...]`
        return tuple(from_document(arguments[0], item) for item in value)
    if get_origin(kind) is dict:
        return {key: from_document(arguments[1], item) for key, item in value.items()}
    if get_origin(kind) is Literal:
        if value not in arguments:
            raise ValueError(f"{value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if type(None) in arguments:
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else from_document(inner, value)
    return value
