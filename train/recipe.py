"""A recipe: every setting of a training, as data. Named ones lie in `recipes/`; any TOML file works as well."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edge.card import FitMode, Source
from train import TrainError
from train.network import NetworkSpec
from train.split import SplitBy

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which samples, and how they are split."""

    split: SplitBy = "sequence"
    folds: int = 5
    """Parts of the split; one of them is the test part of a single training."""
    min_side_px: int = 0
    """Smaller samples (shorter side of the image, or of the box) are left out."""
    exclude: tuple[str, ...] = ()
    """Labels left out of training; in evaluation they are the unseen species."""
    taxa: str = ""
    """A table (CSV: label, scientificName, rank, common_name, class, order, family, genus), relative to the recipe."""
    near_copies: Literal["ignore", "warn", "join"] = "warn"
    """Pictures of different sequences that show nearly the same. `join`: their sequences are one, and their locations,
    for the split and for all figures; `warn`: they are counted before training."""
    contradicted: Literal["keep", "leave_out"] = "keep"
    """Pictures whose near copies mostly have another label. `leave_out` is for crops: whole frames of one camera are
    near copies with and without an animal."""
    balance: Literal["plain", "class", "class_and_sequence"] = "plain"
    """`class`: each label is drawn equally often. `class_and_sequence`: and within it each sequence, by the square root
    of its size, so that one long event does not stand for a species."""


@dataclass(frozen=True, slots=True)
class InputSettings:
    """How samples become the model's input."""

    size_px: int = 224
    fit: FitMode = "squash"
    crop_margin: float | None = None
    """Where boxes exist: crop to the box with this fraction of its longer side around it."""


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """What training pictures go through; probabilities are 0..1. The sources stand beside the code in `augment/`."""

    view_scale: tuple[float, float] = (0.35, 1.0)
    """Area of the random view as a fraction of the picture; above 1 the picture is mirrored beyond its edge."""
    view_ratio: tuple[float, float] = (0.75, 1.3333)
    """Proportions of the random view, relative to the picture's own."""
    rotate_deg: float = 0.0
    flip: float = 0.5
    context: float = 0.0
    """Boxed samples: the view is the box with random surroundings, with this probability."""
    align_body: float = 0.0
    part_crop: float = 0.0
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_magnitude: int = 9
    infra_red: float = 0.0
    dusk: float = 0.0
    motion_blur: float = 0.0
    fog: float = 0.0
    colour_cast: float = 0.0
    tint: float = 0.0
    info_strip: float = 0.0
    foliage: float = 0.0
    jpeg: float = 0.0
    low_resolution: float = 0.0
    background: float = 0.0
    """Boxed samples: surroundings replaced by a frame of another location."""
    paste: float = 0.0
    """The picture becomes a small part of another frame, as an animal is of a whole frame."""
    paste_side: tuple[float, float] = (0.35, 0.9)
    """Side of the pasted picture as a fraction of the frame's."""
    erase: float = 0.0
    mixup: float = 0.0
    """Parameter of the beta distribution; 0 is off. With CutMix as well, each batch takes one of them."""
    cutmix: float = 0.0


@dataclass(frozen=True, slots=True)
class LossSettings:
    """What is minimised: the sum of the parts with their weights."""

    classification: Literal["cross_entropy", "focal", "balanced_softmax", "none"] = "cross_entropy"
    label_smoothing: float = 0.1
    focal_gamma: float = 2.0
    balance_strength: float = 1.0
    """`balanced_softmax`: exponent of the label's frequency in the prior; 1 is the published loss."""
    taxonomy_beta: float = 0.0
    """Smoothed mass goes to labels near in the tree of taxa, by exp(-beta * distance); 0 spreads it evenly."""
    metric: Literal["none", "arcface", "subcenter_arcface", "proxy_anchor", "supcon", "triplet"] = "none"
    metric_weight: float = 1.0
    part_centre_weight: float = 0.0
    attention_crop: float = 0.0
    """Weight of the loss on the region that attention points at (WS-DAN)."""
    attention_drop: float = 0.0
    box_attention_weight: float = 0.0
    """Attention outside the known box (or pasted picture) is penalised."""


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """How it is minimised."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 1e-3
    """Of the head, for the batch given below; the cosine falls from it to a hundredth."""
    backbone_lr_factor: float = 1.0
    layer_decay: float = 1.0
    """Each earlier block of the backbone learns by this factor slower; 1 is off."""
    frozen_groups: int = 0
    """The backbone's first groups of layers (as timm counts them: the stem, then each stage) stay as pretrained."""
    weight_decay: float = 0.02
    momentum: float = 0.9
    epochs: int = 10
    head_epochs: int = 0
    """Of `epochs`, the first ones that train the head alone."""
    warmup_epochs: float = 0.5
    schedule: Literal["cosine", "constant"] = "cosine"
    batch: int = 32
    """Samples in one step, over all processes."""
    accumulate: int = 1
    """Parts that a process computes a step's gradient in."""
    clip_norm: float = 0.0
    """0 is off."""
    ema_decay: float = 0.0
    """0 is off; the averaged weights are what is evaluated and kept."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = True
    compile: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete training; the same recipe, data and seed give the same model."""

    name: str
    about: str = ""
    seed: int = 0
    weights: str = "efficientnet-lite0"
    """Where the backbone starts: `none`, `published` (downloaded by timm or torchvision; `published:NAME` for those of
    that name), `efficientnet-lite0` (from the package of that name), or a file."""
    freeze_batchnorm: bool = False
    version: str = "1"
    """Of the model that the recipe makes."""
    licence: str = ""
    """Of that model."""
    sources: tuple[Source, ...] = ()
    """Weights and data, for the model's card."""
    notes: tuple[str, ...] = ()
    """Known weaknesses, for the model's card."""
    data: DataSettings = field(default_factory=DataSettings)
    input: InputSettings = field(default_factory=InputSettings)
    network: NetworkSpec = field(default_factory=NetworkSpec)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)

    @property
    def fold_count(self) -> int:
        """Folds of a cross-validation."""
        return 1 if self.data.split == "official" else self.data.folds

    def document(self) -> dict[str, Any]:
        """JSON values."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or file, with `changes` (`section.key=value`, value in TOML) applied.

    Raises `TrainError` for a key that no recipe has: a misspelt setting must not pass as a default.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise TrainError(f"there is no recipe {name!r}; expected a TOML file or one of {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise TrainError(f"{path} is not TOML: {error}") from error
    for change in changes:
        key, _, value = change.partition("=")
        _apply(document, key.strip(), value.strip())
    recipe: Recipe = _build(Recipe, {"name": path.stem} | document, path.name)
    if recipe.data.taxa:
        recipe = replace(recipe, data=replace(recipe.data, taxa=str((path.parent / recipe.data.taxa).resolve())))
    return recipe


def recipe_from_document(document: Mapping[str, Any]) -> Recipe:
    """The recipe that a run folder or a checkpoint holds."""
    recipe: Recipe = _build(Recipe, document, "the stored recipe")
    return recipe


def _apply(document: dict[str, Any], key: str, text: str) -> None:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is the text itself
    *sections, last = key.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[last] = value


def _build(kind: Any, document: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    for key in document:
        if key not in known:
            raise TrainError(f"{where}: there is no setting {key!r}; expected one of {', '.join(known)}")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in document.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TrainError(f"{where} is {value!r}; expected a section")
        return _build(kind, value, where)
    options = get_args(kind)
    if get_origin(kind) is Literal:
        if value not in options:
            raise TrainError(f"{where} is {value!r}; expected one of {', '.join(map(str, options))}")
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        inner = options[0]
        return tuple(_value(inner, item, where) for item in value)
    if type(None) in options:
        if value is None:
            return None
        return _value(next(option for option in options if option is not type(None)), value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TrainError(f"{where} is {value!r}; expected {getattr(kind, '__name__', kind)}")
