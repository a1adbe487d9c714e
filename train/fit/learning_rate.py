"""Learning rates of the groups of parameters, and their schedule."""

import math
from typing import Any

from torch import nn

from train.fit.losses.objective import Objective
from train.recipe import OptimiserSettings

_FLOOR = 0.01  # of the peak, where the cosine ends


def parameter_groups(objective: Objective, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """Groups with `lr_scale` each: the head and the losses' own parameters at 1, the backbone slower, its earlier
    blocks slower still (layer-wise decay, as in Clark et al. 2020, "ELECTRA"). Biases and norms have no weight decay.
    """
    backbone = objective.network.backbone
    groups: list[dict[str, Any]] = []
    inner = getattr(backbone, "model", None)
    if settings.layer_decay < 1 and hasattr(inner, "group_matcher"):
        from timm.optim import param_groups_layer_decay

        for group in param_groups_layer_decay(inner, settings.weight_decay, layer_decay=settings.layer_decay):
            group["lr_scale"] = group.get("lr_scale", 1.0) * settings.backbone_lr_factor
            group.pop("param_names", None)
            groups.append(group)
    elif settings.layer_decay < 1:
        layers = _layers(backbone)
        for depth, layer in enumerate(layers):
            scale = settings.backbone_lr_factor * settings.layer_decay ** (len(layers) - 1 - depth)
            groups += _by_decay(layer, settings, scale)
    else:
        groups += _by_decay(list(backbone.named_parameters()), settings, settings.backbone_lr_factor)
    rest = [(name, p) for name, p in objective.named_parameters() if not name.startswith("network.backbone.")]
    return groups + _by_decay(rest, settings, 1.0)


def frozen_parameters(backbone: nn.Module, groups: int) -> frozenset[str]:
    """Names of the parameters in the first `groups` groups of layers of a timm backbone, or in as many children of any
    other (Lee et al. 2023, "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts").
    """
    if groups == 0:
        return frozenset()
    inner: Any = getattr(backbone, "model", None)
    if hasattr(inner, "group_matcher"):
        from timm.models import group_parameters

        layers = group_parameters(inner, inner.group_matcher(coarse=True))
        return frozenset(f"model.{name}" for key in sorted(layers)[:groups] for name in layers[key])
    inner = next(backbone.children())
    children = [name for name, _ in inner.named_children()][:groups]
    return frozenset(
        name for name, _ in backbone.named_parameters() if any(f".{child}." in f".{name}" for child in children)
    )


def _layers(backbone: nn.Module) -> list[list[tuple[str, nn.Parameter]]]:
    """The parameters of a torchvision backbone by depth: a layer is a child of `features` or a block of such a stage,
    with the norms that follow it.
    """
    layers: list[list[tuple[str, nn.Parameter]]] = []
    for child in next(backbone.children()).children():
        for layer in child.children() if type(child) is nn.Sequential else (child,):
            named = list(layer.named_parameters())
            if layers and all(parameter.ndim <= 1 for _, parameter in named):
                layers[-1] += named
            else:
                layers.append(named)
    return layers


def _by_decay(named: list[tuple[str, nn.Parameter]], settings: OptimiserSettings, scale: float) -> list[dict[str, Any]]:
    matrices = [p for _, p in named if p.ndim > 1]
    vectors = [p for _, p in named if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay, "lr_scale": scale},
        {"params": vectors, "weight_decay": 0.0, "lr_scale": scale},
    ]
    return [group for group in groups if group["params"]]


def learning_rate(settings: OptimiserSettings, step: int, steps_per_epoch: int) -> float:
    """Learning rate at optimiser step `step` (from 0): linear warm-up, then a cosine to a hundredth of the peak.
    Head-only epochs run at the peak; the schedule proper starts with the first epoch of the whole network.
    """
    begin = settings.head_epochs * steps_per_epoch
    if step < begin or settings.schedule == "constant":
        return settings.lr
    warm = settings.warmup_epochs * steps_per_epoch
    done = step - begin
    if done < warm:
        return settings.lr * (done + 1) / (warm + 1)
    total = max(1.0, (settings.epochs - settings.head_epochs) * steps_per_epoch - warm)
    share = min(1.0, (done - warm) / total)
    return settings.lr * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))
