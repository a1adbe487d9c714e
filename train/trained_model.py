"""A trained model for the commands: the checkpoint of a run folder, or one that `enrol` wrote."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.inference.card import Calibration, Card, Label
from edge.inference.prototypes import Prototypes
from train import TrainError
from train.data.sample import Sample
from train.evaluation.calibration import fit_temperature
from train.evaluation.predictions import UNSEEN, Predictions
from train.model.checkpoint import Checkpoint
from train.model.network import Outputs
from train.run_folder import CHECKPOINT, PREDICTIONS, PROTOTYPES


@dataclass(frozen=True, slots=True)
class ReferenceEmbeddings:
    """Embeddings of the images that a model was trained on, and of those that its species were enrolled with."""

    embedding: NDArray[np.float32]
    """float32[N, D], L2-normalised."""
    truth: NDArray[np.int64]
    """int64[N]: places of the labels, the enrolled ones last."""
    digest: NDArray[np.str_]
    """str[N]: digests of the files; empty in runs of earlier versions."""

    def save(self, path: Path, labels: Sequence[str], prototypes: NDArray[np.float32], **more: float) -> None:
        """Write a compressed NumPy archive, together with the labels, their prototypes and further numbers."""
        columns: dict[str, Any] = {"labels": np.array(labels), "prototypes": prototypes, **more}
        np.savez_compressed(path, embedding=self.embedding, truth=self.truth, digest=self.digest, **columns)


class TrainedModel:
    """A checkpoint with the files that belong to it. Raises `TrainError` for anything else."""

    def __init__(self, path: Path) -> None:
        """`path`: the run folder, the checkpoint in it, or one of `enrol`, with its embeddings beside it."""
        if path.is_dir() and not (path / CHECKPOINT).exists() and any(path.glob(f"fold-*/{CHECKPOINT}")):
            raise TrainError(f"{path} is a cross-validation and has a model for each fold; give one, as {path}/fold-0")
        self.path = path / CHECKPOINT if path.is_dir() else path
        self.checkpoint = Checkpoint.load(self.path)
        self.labels: tuple[Label, ...] = (*self.checkpoint.labels, *self.checkpoint.enrolled)
        """The labels of the network's outputs, then of the enrolled species."""
        self._archive = _archive(references_file(self.path))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def temperature(self) -> float | None:
        """The temperature fitted on the images that the run held out, or quoted from its cross-validation; else
        `None`.
        """
        if "temperature" in self._archive:
            return float(self._archive["temperature"])
        held_out = self.path.with_name(PREDICTIONS)
        if self.path.name == CHECKPOINT and held_out.exists():
            predictions = Predictions.load(held_out)
            known = predictions.where(predictions.truth != UNSEEN)
            if len(known):
                return fit_temperature(known.logits, known.truth)
        quoted = self.checkpoint.metrics.get("cross_validation", {}).get("calibration", {}).get("temperature")
        return None if quoted is None else float(quoted)

    def network(self) -> nn.Module:
        """The network float32[N, 3, H, W] -> `Outputs`; logits of the enrolled species follow those of the network."""
        network = self.checkpoint.build_network()
        return _WithEnrolled(network, self._card()) if self.checkpoint.enrolled else network

    def prototypes(self) -> NDArray[np.float32]:
        """float32[L, D], zeros for a label without a training image. Raises `TrainError` when there are none."""
        known = self.checkpoint.prototypes
        if not known:
            raise TrainError(f"{self.path} has no prototypes; give a run folder of `python -m train fit`")
        nothing = (0.0,) * len(next(iter(known.values())))
        return np.array([known.get(name, nothing) for name in self.names], np.float32)

    @property
    def references(self) -> ReferenceEmbeddings | None:
        """The embeddings of training and enrolment; `None` where they do not lie beside the checkpoint."""
        if "embedding" not in self._archive:
            return None
        digest = self._archive.get("digest", np.array([], np.str_))
        return ReferenceEmbeddings(self._archive["embedding"], self._archive["truth"], digest)

    def _card(self) -> Card:
        """A card with what the device needs to classify enrolled species."""
        made = self.checkpoint
        return Card(
            made.name,
            made.version,
            made.created,
            self.labels,
            made.input_height_px,
            made.input_width_px,
            Calibration(self.temperature or 1.0, {}),
            prototypes=made.prototypes,
            enrolled=tuple(label.name for label in made.enrolled),
            prototype_scale=made.prototype_scale,
        )


def references_file(checkpoint: Path) -> Path:
    """The file with the reference embeddings of a checkpoint."""
    return checkpoint.with_name(PROTOTYPES) if checkpoint.name == CHECKPOINT else checkpoint.with_suffix(".npz")


def is_references(file: BinaryIO) -> bool:
    """Whether a file that is there holds reference embeddings."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {"embedding.npy", "truth.npy", "prototypes.npy"} <= set(archive.namelist())
    except (OSError, ValueError, BadZipFile):
        return False


def file_digests(samples: Sequence[Sample]) -> NDArray[np.str_]:
    """str[N]: digests of the samples' files, which recognise an image under any name."""
    of_path = {
        path: hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        for path in dict.fromkeys(sample.path for sample in samples)
    }
    return np.array([of_path[sample.path] for sample in samples], np.str_)


class _WithEnrolled(nn.Module):
    """A network that classifies enrolled species as the device does."""

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.inner, self.prototypes = network, Prototypes(card)

    def forward(self, pixels: Tensor) -> Outputs:
        outputs: Outputs = self.inner(pixels)
        known, embedding = (part.float().cpu().numpy() for part in (outputs.logits, outputs.embedding))
        logits = torch.from_numpy(self.prototypes.extend(known, embedding)).to(pixels.device)
        return Outputs(logits, outputs.embedding, outputs.attention)


def _archive(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, BadZipFile) as error:
        raise TrainError(f"{path} cannot be read ({error}); remove it, or enrol or train again") from error
