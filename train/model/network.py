"""The network: a backbone's feature map, pooled into an embedding and classified, with an attention map.

`train.recipe.NetworkSpec` describes it completely as data, so that a checkpoint can build it again.
"""

import warnings
from typing import NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from train import TrainError, first_line
from train.recipe import NetworkSpec

SPREAD, LEAST_SPREAD = 0.45, 0.04  # of (uint8 - 127) / 128


class Outputs(NamedTuple):
    """The outputs of the network for N images."""

    logits: Tensor
    """float32[N, L]"""
    embedding: Tensor
    """float32[N, D], L2-normalised."""
    attention: Tensor
    """float32[N, M, h, w]; higher where the network attends more."""


class Network(nn.Module):
    """float32[N, 3, H, W], normalised as (uint8 - 127) / 128 -> `Outputs`."""

    def __init__(self, spec: NetworkSpec, num_labels: int, pretrained: str | None = None) -> None:
        """Random weights, or the backbone's published ones: `DEFAULT` or the name of a set.

        Raises `TrainError` for an unknown backbone or groups that do not match the labels.
        """
        super().__init__()
        if spec.groups is not None and len(spec.groups) != num_labels:
            raise TrainError(
                f"the network has {len(spec.groups)} groups of classes for {num_labels} labels; expected one each"
            )
        self.spec = spec
        self.backbone, features = _backbone(spec.backbone, pretrained)
        self.pooling: nn.Module
        if spec.pooling == "attention":
            self.pooling, width = AttentionPooling(features), features
        elif spec.pooling == "parts":
            self.pooling, width = PartPooling(features, spec.parts), features * spec.parts
        else:
            self.pooling, width = AveragePooling(), features
        self.projection: nn.Linear | None = None
        if spec.embedding_dim is not None:
            self.projection = nn.Linear(width, spec.embedding_dim, bias=False)
            width = spec.embedding_dim
        classes = num_labels if spec.groups is None else 1 + max(max(group) for group in spec.groups)
        self.dropout = nn.Dropout(spec.drop_rate)
        self.head: LinearHead | CosineHead = (
            CosineHead(width, classes, spec.metric_scale) if spec.head == "metric" else LinearHead(width, classes)
        )
        self.grouping = None if spec.groups is None else Grouping(spec.groups, classes)

    def forward(self, pixels: Tensor) -> Outputs:
        if self.spec.standardise:
            pixels = standardised(pixels)
        features: Tensor = self.backbone(pixels)
        pooled, maps = self.pooling(features)
        vector = pooled if self.projection is None else self.projection(pooled)
        embedding = functional.normalize(vector, dim=1)
        classes = self.head(self.dropout(vector))
        logits = classes if self.grouping is None else self.grouping(classes)
        if maps is None:
            maps = self._class_activation(features.detach(), classes.detach(), embedding.detach())
        return Outputs(logits, embedding, maps)

    def classify_by(self, prototypes: Tensor) -> None:
        """Classify by the nearest of `prototypes`, float32[L, D] (`head = "metric"`), for an embedding that was trained
        without a classifier.
        """
        with torch.no_grad():
            self.head.weight.copy_(prototypes)

    def _class_activation(self, features: Tensor, classes: Tensor, embedding: Tensor) -> Tensor:
        """float32[N, 1, h, w]: gradient of the log-odds "not blank" with respect to the pooled features, over the map.

        For a linear classifier of average-pooled features the gradient is the same at each position, up to a factor:
        the classifier's rows weighted by p(class | not blank) less those weighted by p(class | blank), which is the
        class activation map (Zhou et al. 2016) of a set of classes. Without a label `blank` the log-odds are those of
        the most probable class.
        """
        if self.spec.blank is None:
            wanted = (classes >= classes.amax(1, keepdim=True)).float()
        elif self.grouping is None:
            wanted = functional.one_hot(torch.full_like(classes[:, 0], self.spec.blank).long(), classes.shape[1])
            wanted = 1.0 - wanted.float()
        else:
            wanted = 1.0 - (self.grouping.label_of_class == self.spec.blank).float()[None]
        far = 1e4  # a logit so low that the softmax gives exactly nothing
        share = torch.softmax(classes - far * (1.0 - wanted), 1) - torch.softmax(classes - far * wanted, 1)
        direction = self.head.gradient(share, embedding)
        if self.projection is not None:
            direction = direction @ self.projection.weight.detach()
        # As a product of matrices: ONNX Runtime takes many times as long for an Einsum.
        heat: Tensor = (direction[:, None] @ features.flatten(2)).unflatten(2, features.shape[2:])  # type: ignore[no-untyped-call]
        return heat


def normalised(pixels: Tensor) -> Tensor:
    """uint8[N, 3, H, W] -> float32, as the network takes it and as the graph does it on the device."""
    return (pixels.float() - 127.0) / 128.0


def standardised(pixels: Tensor) -> Tensor:
    """float32[N, 3, H, W], each channel of each image with mean 0 and spread `SPREAD`, as natural images have it.

    What a sensor's gains and a scene's light do to a channel is linear, so it is undone (von Kries adaptation, with the
    grey-world assumption for its means). A channel of less than `LEAST_SPREAD` is mostly noise and grows no further.
    The sums are of integers, as the bytes of an image are, so that every processor computes the same.
    """
    whole = torch.round(pixels * 128).int()
    count = pixels.shape[2] * pixels.shape[3]
    mean = whole.sum((2, 3), keepdim=True).double() / count
    variance = (whole * whole).sum((2, 3), keepdim=True).double() / count - mean * mean
    spread = variance.clamp_min((128 * LEAST_SPREAD) ** 2).sqrt()
    return (pixels - (mean / 128).to(pixels.dtype)) * (128 * SPREAD / spread).to(pixels.dtype)


class AveragePooling(nn.Module):
    """The mean over positions."""

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        return functional.adaptive_avg_pool2d(features, 1).flatten(1), None


class AttentionPooling(nn.Module):
    """A mean weighted by one learned map, which is the attention output."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(features, 1, 1)
        nn.init.zeros_(self.score.weight)  # begins as the plain mean

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        score = self.score(features)
        weights = torch.softmax(score.flatten(2), 2).reshape(score.shape)
        return (features * weights).sum((2, 3)), weights


class PartPooling(nn.Module):
    """One mean for each part map: bilinear attention pooling (Hu et al. 2019, "See Better Before Looking Closer")."""

    def __init__(self, features: int, parts: int) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(features, parts, 1, bias=False), nn.BatchNorm2d(parts), nn.ReLU())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(features)
        positions = features.shape[2] * features.shape[3]
        parts = torch.einsum("nmhw,ndhw->nmd", maps, features).flatten(1) / positions
        # Signed square root and normalisation, as usual for bilinear features; the factor is the paper's.
        # In float32: 1e-12 is nothing to float16, and the slope of a root at nothing is infinite.
        parts = parts.float()
        rooted = torch.sign(parts) * torch.sqrt(torch.abs(parts) + 1e-12)
        return 100.0 * functional.normalize(rooted, dim=1), maps


class LinearHead(nn.Linear):
    """Logits of classes from the pooled or projected features."""

    def gradient(self, share: Tensor, embedding: Tensor) -> Tensor:
        """Gradient float32[N, D], by the features, of the logits weighted by `share`, float32[N, C]."""
        return share @ self.weight.detach()


class CosineHead(nn.Module):
    """Scaled cosine similarity to one direction a class; training may add a margin (ArcFace and kin)."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_uniform_(self.weight)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * functional.normalize(features, dim=1) @ functional.normalize(self.weight, dim=1).T

    def gradient(self, share: Tensor, embedding: Tensor) -> Tensor:
        """As `LinearHead.gradient`, up to a positive factor, without the part along the embedding, which changes no
        cosine.
        """
        along = share @ functional.normalize(self.weight.detach(), dim=1)
        return along - (along * embedding).sum(1, keepdim=True) * embedding


class Grouping(nn.Module):
    """Label logits as the exact log-sum-exp of their member classes' logits."""

    label_of_class: Tensor

    def __init__(self, groups: tuple[tuple[int, ...], ...], classes: int) -> None:
        super().__init__()
        if any(not group for group in groups):
            raise TrainError("a group of classes is empty; each label needs at least one class")
        claimed = [place for group in groups for place in group]
        if len(set(claimed)) != len(claimed):
            raise TrainError("a class is in two groups; each class counts for one label")
        label_of_class = torch.full((classes,), -1, dtype=torch.int64)  # a class without a label counts for none
        for label, group in enumerate(groups):
            label_of_class[list(group)] = label
        self.register_buffer("label_of_class", label_of_class, persistent=False)
        self.labels = len(groups)

    def forward(self, classes: Tensor) -> Tensor:
        top = classes.amax(1, keepdim=True)
        shares = torch.exp(classes - top)
        labels = torch.arange(self.labels, device=self.label_of_class.device)
        # Made of one number for each class, so that the model's file holds these and not the matrix.
        members = (self.label_of_class[:, None] == labels[None]).float()
        sums = shares @ members
        return torch.log(sums.clamp_min(torch.finfo(torch.float32).tiny)) + top


class TorchvisionFeatures(nn.Module):
    """The feature map of a torchvision classifier: its layers before the pooling."""

    def __init__(self, name: str, pretrained: str | None) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of how some models draw weights
            model = torchvision.models.get_model(name, weights=pretrained)
        children = dict(model.named_children())
        names = list(children)
        if "features" not in names and "avgpool" not in names:
            raise TrainError(
                f"backbone torchvision:{name} has no feature map this network can pool; try a timm backbone"
            )
        begin = names.index("features") if "features" in names else 0
        chosen = names[begin : names.index("avgpool") if "avgpool" in names else begin + 1]
        # `renamed`: how the names of torchvision's own tensors begin -> how those of `features` do.
        if chosen == ["features"]:
            self.features: nn.Module = children["features"]
            self.renamed = {"features.": ""}
        else:  # ResNet and its kin; a Swin transformer, whose axes are put in order after its features
            self.features = nn.Sequential(*(children[child] for child in chosen))
            self.renamed = {f"{child}.": f"{place}." for place, child in enumerate(chosen)}

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.features(pixels)
        return features


class _TimmFeatures(nn.Module):
    """The feature map of a timm model; the tokens of a vision transformer are arranged as their grid."""

    def __init__(self, name: str, pretrained: str | None) -> None:
        super().__init__()
        if pretrained not in (None, "DEFAULT"):
            name = f"{name.partition('.')[0]}.{pretrained}"
        settings = {"pretrained": pretrained is not None, "num_classes": 0, "global_pool": ""}
        try:
            self.model = timm.create_model(name, dynamic_img_size=True, **settings)  # a transformer, at any size
        except TypeError:
            self.model = timm.create_model(name, **settings)
        self.prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        self.channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(pixels)
        if features.ndim == 3:
            high, wide = self.model.patch_embed.dynamic_feat_size(tuple(pixels.shape[2:]))
            features = features[:, self.prefix_tokens :].transpose(1, 2).reshape(features.shape[0], -1, high, wide)
        elif self.channels_last:
            features = features.permute(0, 3, 1, 2)
        return features


def _backbone(name: str, pretrained: str | None) -> tuple[nn.Module, int]:
    """The module float32[N, 3, H, W] -> float32[N, C, h, w], and C."""
    kind, _, rest = name.rpartition(":")
    try:
        module: nn.Module = (
            TorchvisionFeatures(rest, pretrained) if kind == "torchvision" else _TimmFeatures(name, pretrained)
        )
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        wanted = repr(name) + (f" with weights {pretrained}" if pretrained not in (None, "DEFAULT") else "")
        raise TrainError(
            f"there is no backbone {wanted} ({first_line(error)}); expected a timm name or torchvision:NAME"
        ) from error
    if isinstance(module, _TimmFeatures):
        return module, int(module.model.num_features)
    module.eval()
    try:
        with torch.no_grad():
            shape = module(torch.zeros(1, 3, 128, 64)).shape  # taller than wide, as its map must be
    except (RuntimeError, TypeError, AttributeError) as error:
        raise TrainError(f"backbone {name} is not a chain of layers before its pooling; try a timm backbone") from error
    if len(shape) != 4 or shape[2] <= shape[3]:
        raise TrainError(f"backbone {name} gives no map float32[N, C, h, w] before its pooling; try a timm backbone")
    module.train()
    return module, int(shape[1])
