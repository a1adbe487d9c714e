"""The checkpoint: a trained network in one file, with everything that its model card will say."""

import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from torch import Tensor

from edge.inference.card import FitMode, Label, Source, from_document, to_document
from edge.inference.taxonomy import Taxon
from train import TrainError, first_line
from train.atomic_save import save_atomically
from train.model.network import Network
from train.recipe import NetworkSpec

FORMAT_VERSION = 1
_EXPECTED = "expected a file written by `python -m train`"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of a network and where they came from."""

    name: str
    version: str
    created: str
    """ISO 8601 UTC."""
    network: NetworkSpec
    state: dict[str, Tensor]
    """The network's `state_dict`."""
    labels: tuple[Label, ...]
    """In the order of the logits."""
    input_height_px: int
    input_width_px: int
    fit: FitMode = "squash"
    higher_taxa: tuple[Taxon, ...] = ()
    """Common names of taxa above the labels."""
    data: str = ""
    """The training data in words."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """JSON values; each key names what was measured and on which data."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """JSON values: everything needed to train it again."""
    sources: tuple[Source, ...] = ()
    licence: str = ""
    notes: tuple[str, ...] = ()
    prototypes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Label -> embedding (L2-normalised), of trained and enrolled species."""
    enrolled: tuple[Label, ...] = ()
    """Species that have a prototype and no output of the network."""
    prototype_scale: float = 0.0
    """Factor of the cosines of prototypes, fitted when species were enrolled."""

    def build_network(self) -> Network:
        """The network with these weights, in evaluation mode. Raises `TrainError` when they do not fit."""
        network = Network(self.network, len(self.labels))
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise TrainError(f"the checkpoint's weights are not those of its network ({first_line(error)})") from error
        return network.eval()

    @classmethod
    def is_own(cls, file: BinaryIO) -> bool:
        """Whether a file that is there is a checkpoint, which another one may replace."""
        try:
            cls.load(Path(file.name))
        except TrainError:
            return False
        return True

    def save(self, path: Path) -> None:
        """Write the file whole or leave it as it was. Raises `TrainError`."""
        document = {
            "edge_classify_checkpoint": FORMAT_VERSION,
            "state": {name: tensor.detach().cpu().contiguous() for name, tensor in self.state.items()},
            "network": to_document(msgspec.to_builtins(self.network)),
        } | {name: to_document(getattr(self, name)) for name in self.__slots__ if name not in ("state", "network")}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_atomically(path, document)
        except OSError as error:
            raise TrainError(f"{path} cannot be written: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """Read a file of `save`. Raises `TrainError` for anything else."""
        try:
            if path.is_file() and not zipfile.is_zipfile(path):
                raise TrainError(f"{path} is not a checkpoint; {_EXPECTED}")
            document = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise TrainError(f"{path} does not exist; expected a checkpoint written by `python -m train`") from error
        except OSError as error:
            raise TrainError(f"{path} cannot be read: {error.strerror or error}") from error
        except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
            raise TrainError(f"{path} is not a checkpoint; {_EXPECTED}") from error
        version = document.get("edge_classify_checkpoint") if isinstance(document, dict) else None
        if not isinstance(version, int):
            raise TrainError(f"{path} is not a checkpoint of edge-classify; {_EXPECTED}")
        if version > FORMAT_VERSION:
            raise TrainError(
                f"{path} is a checkpoint of version {version}, this software reads up to {FORMAT_VERSION}; update it"
            )
        state = document.pop("state")
        try:
            network = msgspec.convert(document["network"], NetworkSpec)
            checkpoint: Checkpoint = from_document(cls, document | {"state": {}, "network": network})
        except (ValueError, TypeError, KeyError) as error:
            raise TrainError(f"{path} contradicts itself ({first_line(error)}); train it again") from error
        checkpoint.state.update(state)
        return checkpoint
