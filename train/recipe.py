"""A recipe: every setting of a training, as data. Named ones lie in `recipes/`; any TOML file works as well."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from edge.inference.card import FitMode, Source
from train import TrainError
from train.data.split import SplitBy
from train.model.network import NetworkSpec
from train.ranges import Amount, Count, Pair, Positive, Range, Share, ShareBelowOne, Whole

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which samples, and how they are split."""

    split: SplitBy = "sequence"
    folds: Annotated[int, Range(2)] = 5
    """Parts of the split; one of them is the test part of a single training."""
    min_side_px: Whole = 0
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

    size_px: Annotated[int, Range(8, 4096)] = 224
    fit: FitMode = "squash"
    crop_margin: Amount | None = None
    """Where boxes exist: crop to the box with this fraction of its longer side around it."""


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """What training pictures go through; probabilities are 0..1. The sources stand beside the code in `augment/`."""

    view_scale: Pair = (0.35, 1.0)
    """Area of the random view as a fraction of the picture; above 1 the picture is mirrored beyond its edge."""
    view_ratio: Pair = (0.75, 1.3333)
    """Proportions of the random view, relative to the picture's own."""
    rotate_deg: Annotated[float, Range(0, 180)] = 0.0
    flip: Share = 0.5
    context: Share = 0.0
    """Boxed samples: the view is the box with random surroundings, with this probability."""
    align_body: Share = 0.0
    part_crop: Share = 0.0
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_magnitude: Annotated[int, Range(0, 30)] = 9
    infra_red: Share = 0.0
    dusk: Share = 0.0
    motion_blur: Share = 0.0
    fog: Share = 0.0
    colour_cast: Share = 0.0
    tint: Share = 0.0
    info_strip: Share = 0.0
    foliage: Share = 0.0
    jpeg: Share = 0.0
    low_resolution: Share = 0.0
    background: Share = 0.0
    """Boxed samples: surroundings replaced by a frame of another location."""
    paste: Share = 0.0
    """The picture becomes a small part of another frame, as an animal is of a whole frame."""
    paste_side: Annotated[tuple[float, float], Range(0, 1, without_least=True)] = (0.35, 0.9)
    """Side of the pasted picture as a fraction of the frame's."""
    erase: Share = 0.0
    mixup: Amount = 0.0
    """Parameter of the beta distribution; 0 is off. With CutMix as well, each batch takes one of them."""
    cutmix: Amount = 0.0


@dataclass(frozen=True, slots=True)
class LossSettings:
    """What is minimised: the sum of the parts with their weights."""

    classification: Literal["cross_entropy", "focal", "balanced_softmax", "none"] = "cross_entropy"
    label_smoothing: ShareBelowOne = 0.1
    focal_gamma: Amount = 2.0
    balance_strength: Amount = 1.0
    """`balanced_softmax`: exponent of the label's frequency in the prior; 1 is the published loss."""
    taxonomy_beta: Amount = 0.0
    """Smoothed mass goes to labels near in the tree of taxa, by exp(-beta * distance); 0 spreads it evenly."""
    metric: Literal["none", "arcface", "subcenter_arcface", "proxy_anchor", "supcon", "triplet"] = "none"
    metric_weight: Amount = 1.0
    part_centre_weight: Amount = 0.0
    attention_crop: Amount = 0.0
    """Weight of the loss on the region that attention points at (WS-DAN)."""
    attention_drop: Amount = 0.0
    box_attention_weight: Amount = 0.0
    """Attention outside the known box (or pasted picture) is penalised."""


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """How it is minimised."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Positive = 1e-3
    """Of the head, for the batch given below; the cosine falls from it to a hundredth."""
    backbone_lr_factor: Amount = 1.0
    layer_decay: Annotated[float, Range(0, 1, without_least=True)] = 1.0
    """Each earlier block of the backbone learns by this factor slower; 1 is off."""
    frozen_groups: Whole = 0
    """The backbone's first groups of layers (as timm counts them: the stem, then each stage) stay as pretrained."""
    weight_decay: Amount = 0.02
    momentum: ShareBelowOne = 0.9
    epochs: Count = 10
    head_epochs: Whole = 0
    """Of `epochs`, the first ones that train the head alone."""
    warmup_epochs: Amount = 0.5
    schedule: Literal["cosine", "constant"] = "cosine"
    batch: Count = 32
    """Samples in one step, over all processes."""
    accumulate: Count = 1
    """Parts that a process computes a step's gradient in."""
    clip_norm: Amount = 0.0
    """0 is off."""
    ema_decay: ShareBelowOne = 0.0
    """0 is off; the averaged weights are what is evaluated and kept."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = True
    compile: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A complete training; the same recipe, data and seed give the same model."""

    name: str
    about: str = ""
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
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

    Raises `TrainError` for a value out of its range, and for a key that no recipe has: a misspelt setting must not pass
    as a default.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise TrainError(f"there is no recipe {name!r}; expected a TOML file or one of {known}") from error
    except OSError as error:
        raise TrainError(f"{path} cannot be read ({error.strerror}); expected a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _apply(document, change)
    recipe: Recipe = _build(Recipe, {"name": path.stem} | document, path.name)
    if recipe.data.taxa:
        recipe = replace(recipe, data=replace(recipe.data, taxa=str((path.parent / recipe.data.taxa).resolve())))
    return recipe


def recipe_from_document(document: Mapping[str, Any]) -> Recipe:
    """The recipe that a run folder or a checkpoint holds."""
    recipe: Recipe = _build(Recipe, document, "the stored recipe")
    return recipe


def _apply(document: dict[str, Any], change: str) -> None:
    key, equals, text = (part.strip() for part in change.partition("="))
    if not key or not equals:
        raise TrainError(f"{change!r} changes no setting; expected section.key=value, e.g. optimiser.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is the text itself
    *sections, last = key.split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise TrainError(f"there is no setting {key!r}; {section} is a value, not a section")
    document[last] = value


def _build(kind: Any, document: Mapping[str, Any], file: str, section: str = "") -> Any:
    hints = get_type_hints(kind, include_extras=True)
    known = [item.name for item in fields(kind)]
    for key in document:
        if key not in known:
            raise TrainError(f"{file}: there is no setting {section + key!r}; expected one of {', '.join(known)}")
    for item in fields(kind):
        if item.name not in document and item.default is MISSING and item.default_factory is MISSING:
            raise TrainError(f"{file}: {section + item.name} is not set; add it")
    return kind(**{key: _value(hints[key], value, file, section + key) for key, value in document.items()})


def _value(kind: Any, value: Any, file: str, key: str) -> Any:
    """`value` as one of the annotated type `kind`. Raises `TrainError` when it is none, or out of its range."""
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise TrainError(f"{file}: {key} is {value!r}; expected a section")
        return _build(kind, value, file, f"{key}.")
    allowed: Range | None = None
    if get_origin(kind) is Annotated:
        kind, allowed = get_args(kind)
    options = get_args(kind)
    if type(None) in options:
        return None if value is None else _value(options[0], value, file, key)
    found = value
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        found = tuple(_value(options[0], item, file, key) for item in value)
        fits = Ellipsis in options or len(found) == len(options)
        fits = fits and (allowed is None or (all(map(allowed.holds, found)) and sorted(found) == list(found)))
    elif get_origin(kind) is Literal:
        fits = value in options
    else:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            found = float(value)
        fits = isinstance(kind, type) and isinstance(found, kind) and (kind is bool or not isinstance(found, bool))
        fits = fits and (allowed is None or allowed.holds(found))
    if not fits:
        raise TrainError(f"{file}: {key} is {value!r}; expected {_expected(kind, allowed)}")
    return found


def _expected(kind: Any, allowed: Range | None) -> str:
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, options))}"
    if get_origin(kind) is tuple:
        what = 'a list, e.g. ["impala"]' if options[0] is str else "a list"
        if Ellipsis not in options:
            what = f"a list of {len(options)} numbers, the smaller one first"
    else:
        what = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
    return f"{what}, {allowed}" if allowed else what
