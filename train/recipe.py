"""A recipe: every setting of one training, as data.

The recipes that come with the project lie in `recipes/`; any TOML file with the same keys works as well. msgspec parses
and checks them: unknown keys and values of the wrong type or out of range are refused.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from edge.inference.card import FitMode, Source
from train import TrainError

RECIPES = Path(__file__).parent / "recipes"

SplitBy = Literal["location", "sequence", "image", "official"]
Balance = Literal["plain", "class", "class_and_sequence"]
Pooling = Literal["average", "attention", "parts"]
Head = Literal["linear", "metric"]

_FINITE = 1e300  # excludes infinity; every comparison excludes NaN
Share = Annotated[float, Meta(ge=0, le=1)]
ShareBelowOne = Annotated[float, Meta(ge=0, lt=1)]
ShareAboveZero = Annotated[float, Meta(gt=0, le=1)]
Amount = Annotated[float, Meta(ge=0, le=_FINITE)]
Positive = Annotated[float, Meta(gt=0, le=_FINITE)]
Whole = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


class DataSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Which samples are used, and how they are split into training and test parts."""

    split: SplitBy = "sequence"
    folds: Annotated[int, Meta(ge=2)] = 5
    """Parts of the split; a single training holds out one of them for the test."""
    min_side_px: Whole = 0
    """Samples whose image (or bounding box, where there is one) has a shorter side than this are left out."""
    exclude: tuple[str, ...] = ()
    """Labels left out of training; in the evaluation they are the unseen species."""
    taxa: str = ""
    """A table (CSV: label, scientificName, rank, common_name, class, order, family, genus), relative to the recipe."""
    near_copies: Literal["ignore", "warn", "join"] = "warn"
    """What to do with near duplicates (images of different sequences that show nearly the same). `join`: their
    sequences count as one, and so do their locations, for the split and for all figures. `warn`: they are counted
    before training."""
    contradicted: Literal["keep", "leave_out"] = "keep"
    """What to do with images whose near duplicates mostly have another label. `leave_out` is for crops: whole frames of
    one camera are near duplicates with and without an animal."""
    balance: Balance = "plain"
    """`class`: each label is drawn equally often. `class_and_sequence`: within each label, each sequence is drawn in
    proportion to the square root of its size, so that one long event does not dominate a species."""


class InputSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How samples become the network's input."""

    size_px: Annotated[int, Meta(ge=8, le=4096)] = 224
    fit: FitMode = "squash"
    crop_margin: Amount | None = None
    """Crop samples to their bounding box, with this fraction of its longer side added on each side. `None`: never."""


class NetworkSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The network without its weights: enough for a checkpoint to build it again."""

    backbone: str = "tf_efficientnet_lite0"
    """A timm name, or `torchvision:NAME`."""
    pooling: Pooling = "average"
    parts: Count = 1
    """Number of part maps (`pooling = "parts"`)."""
    embedding_dim: Count | None = None
    """Width of a projection between pooling and head; `None`: the pooled features are the embedding."""
    head: Head = "linear"
    metric_scale: Positive = 30.0
    """Factor of the cosine similarities (`head = "metric"`)."""
    standardise: bool = False
    """Each channel of an image is brought to the same mean and spread, so that dim, hazy and tinted ones look alike."""
    drop_rate: ShareBelowOne = 0.0
    """Share of the pooled features that training leaves out before the head."""
    groups: tuple[tuple[int, ...], ...] | None = None
    """Classes of the classifier that make up each label; `None`: one class for each label."""
    blank: int | None = None
    """Index of the label `blank`: the average-pooled attention map shows the evidence against it."""


class AugmentSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How training images are changed at random; probabilities are 0..1. `fit/augment/` names the sources."""

    view_scale: tuple[Positive, Positive] = (0.35, 1.0)
    """Area of the random crop as a fraction of the image; above 1 the image is mirrored beyond its edge."""
    view_ratio: tuple[Positive, Positive] = (0.75, 1.3333)
    """Aspect ratio of the random crop, relative to the image's own."""
    rotate_deg: Annotated[float, Meta(ge=0, le=180)] = 0.0
    flip: Share = 0.5
    context: Share = 0.0
    """Samples with a bounding box: probability of a crop to the box with random surroundings."""
    align_body: Share = 0.0
    part_crop: Share = 0.0
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_magnitude: Annotated[int, Meta(ge=0, le=30)] = 9
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
    """Samples with a bounding box: probability of surroundings from a frame of another location."""
    paste: Share = 0.0
    """Probability that the image becomes a small part of another frame, as an animal is of a whole frame."""
    paste_side: tuple[ShareAboveZero, ShareAboveZero] = (0.35, 0.9)
    """Side of the pasted image as a fraction of the frame's side."""
    erase: Share = 0.0
    mixup: Amount = 0.0
    """Parameter of the beta distribution; 0 is off. With CutMix as well, each batch takes one of them."""
    cutmix: Amount = 0.0

    def __post_init__(self) -> None:
        for name in ("view_scale", "view_ratio", "paste_side"):
            smaller, larger = getattr(self, name)
            if smaller > larger:
                raise ValueError(f"{name} is [{smaller}, {larger}]; give the smaller number first")


class LossSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The loss: a weighted sum of parts."""

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
    """Weight of the loss on the crop around the peak of attention (WS-DAN)."""
    attention_drop: Amount = 0.0
    """Weight of the loss on the image without what the attention points at (WS-DAN)."""
    box_attention_weight: Amount = 0.0
    """Weight of a penalty on attention outside the known bounding box (or the pasted image)."""


class OptimiserSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the loss is minimised."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Positive = 1e-3
    """Learning rate of the head, for the batch size below; the cosine schedule falls from it to a hundredth."""
    backbone_lr_factor: Amount = 1.0
    layer_decay: ShareAboveZero = 1.0
    """Factor of the learning rate from each block of the backbone to the one before it; 1 is off."""
    frozen_groups: Whole = 0
    """The backbone's first groups of layers (as timm counts them: the stem, then each stage) stay as pretrained."""
    weight_decay: Amount = 0.02
    momentum: ShareBelowOne = 0.9
    epochs: Count = 10
    head_epochs: Whole = 0
    """The first of the `epochs`, which train the head alone."""
    warmup_epochs: Amount = 0.5
    schedule: Literal["cosine", "constant"] = "cosine"
    batch: Count = 32
    """Samples in one step, over all processes."""
    accumulate: Count = 1
    """Number of parts in which a process computes the gradient of one step."""
    clip_norm: Amount = 0.0
    """Largest norm of a gradient; 0 is off."""
    ema_decay: ShareBelowOne = 0.0
    """Decay of the averaged weights, which are evaluated and kept; 0 is off."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = True
    compile: bool = False


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A complete training; the same recipe, data and seed give the same model."""

    name: str
    about: str = ""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    weights: str = "efficientnet-lite0"
    """Where the backbone starts: `none`, `published` (downloaded by timm or torchvision; `published:NAME` for those of
    that name), `efficientnet-lite0` (from the package of that name), or a file."""
    freeze_batchnorm: bool = False
    version: str = "1"
    """Version of the model that the recipe makes."""
    licence: str = ""
    """Licence of that model."""
    sources: tuple[Source, ...] = ()
    """Weights and data, for the model card."""
    notes: tuple[str, ...] = ()
    """Known weaknesses, for the model card."""
    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()
    network: NetworkSpec = NetworkSpec()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()

    @property
    def fold_count(self) -> int:
        """Folds of a cross-validation."""
        return 1 if self.data.split == "official" else self.data.folds

    def document(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return msgspec.json.decode(msgspec.json.encode(self), type=dict[str, Any])


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or file, with `changes` (`section.key=value`, value in TOML) applied.

    Raises `TrainError` for an unknown key, so that a misspelt setting is no default, and for a value that is not
    allowed.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
        raise TrainError(f"there is no recipe {name!r}; expected a TOML file or one of {known}") from error
    except OSError as error:
        raise TrainError(f"{path} cannot be read ({error.strerror}); expected a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainError(f"{path} is not TOML: {error}") from error
    for change in changes:
        _apply(document, change)
    recipe = _checked({"name": path.stem} | document, str(path))
    if recipe.data.taxa:
        taxa = str((path.parent / recipe.data.taxa).resolve())
        recipe = structs.replace(recipe, data=structs.replace(recipe.data, taxa=taxa))
    return recipe


def recipe_from_document(document: Mapping[str, Any]) -> Recipe:
    """The recipe that a run folder or a checkpoint holds."""
    return _checked(document, "the stored recipe")


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


def _checked(document: Mapping[str, Any], file: str) -> Recipe:
    """The recipe of a document. Raises `TrainError` with `file` and the path to the value that is wrong."""
    try:
        recipe = msgspec.convert(document, Recipe)
    except msgspec.ValidationError as error:
        fact, _, path = str(error).partition(" - at `$.")
        path = path.rstrip("`")
        where = f"{file}: {path}" if path else file
        raise TrainError(f"{where}: {fact[0].lower()}{fact[1:]}{_known_words(path, fact)}") from error
    # The model card passes over unknown keys of a source; in a recipe one would lose an attribution.
    known = {field.name for field in fields(Source)}
    unknown = {key for source in document.get("sources", ()) for key in source} - known
    if unknown:
        raise TrainError(f"{file}: sources: object contains unknown field `{min(unknown)}`")
    return recipe


def _known_words(path: str, fact: str) -> str:
    """The words that are allowed at `path`, where `fact` says that another one stands there."""
    if "[" in path or not fact.startswith(("Invalid enum value", "Object contains unknown field")):
        return ""
    kind: Any = Recipe
    for name in filter(None, path.split(".")):
        kind = get_type_hints(kind)[name]
    return f"; expected one of {', '.join(getattr(kind, '__struct_fields__', None) or get_args(kind))}"
