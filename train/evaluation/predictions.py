"""Predictions of a network for samples, kept with their true labels: all figures are computed from them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edge.inference.attention_crop import combine
from edge.inference.card import Label, SecondCrop
from edge.inference.probabilities import log_softmax
from edge.vocabulary import Kind
from train import TrainError
from train.evaluation.images import AttentionCrops, EvaluationImages
from train.model.network import normalised
from train.run_folder import PREDICTIONS

BATCH = 64
UNSEEN = -1
"""The place of a label that the network was not trained on."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for N samples by a network (or by the networks of several folds) with L labels."""

    labels: tuple[str, ...]
    name: NDArray[np.str_]
    """str[N]"""
    truth_label: NDArray[np.str_]
    """str[N]: the true labels, which `labels` may lack."""
    location: NDArray[np.str_]
    sequence: NDArray[np.str_]
    fold: NDArray[np.int64]
    logits: NDArray[np.float32]
    """float32[N, L]"""
    embedding: NDArray[np.float32]
    """float32[N, D], L2-normalised; comparable within a fold only."""
    prototype_similarity: NDArray[np.float32]
    """float32[N, L]: cosine to the mean training embedding of each label, by the same fold's network; -inf for a label
    that the fold did not train on.
    """

    @property
    def truth(self) -> NDArray[np.int64]:
        """int64[N]: place in `labels`, or `UNSEEN`."""
        places = {label: place for place, label in enumerate(self.labels)}
        return np.array([places.get(str(label), UNSEEN) for label in self.truth_label], np.int64)

    def __len__(self) -> int:
        return len(self.name)

    def where(self, mask: NDArray[np.bool_]) -> "Predictions":
        """The predictions for those samples alone."""
        kept = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name != "labels"}
        return Predictions(labels=self.labels, **kept)

    def save(self, path: Path) -> None:
        """Write a compressed NumPy archive, whole or not at all."""
        columns: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        temporary = path.with_name(f".{path.name}")
        np.savez_compressed(temporary, **columns)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read an archive of `save`. Raises `TrainError`."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                columns = {name: archive[name] for name in archive.files}
            return cls(labels=tuple(str(label) for label in columns.pop("labels")), **columns)
        except FileNotFoundError as error:
            raise TrainError(f"{path} holds no predictions; run `python -m train fit` or `evaluate` first") from error
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
            raise TrainError(
                f"{path} is damaged ({type(error).__name__}); run `fit --resume` or `evaluate` again"
            ) from error


def join(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of several folds as one."""
    if len({part.labels for part in parts}) != 1:
        raise TrainError("the folds have different labels; they are not of one cross-validation")
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Predictions)
        if field.name != "labels"
    }
    return Predictions(labels=parts[0].labels, **joined)


def load_predictions(folder: Path) -> Predictions:
    """The predictions of a run, or of all folds that lie in it as `fold-0`, `fold-1`, ...

    Raises `TrainError` where two of them held out the same fold.
    """
    folds: dict[int, Predictions] = {}
    for path in sorted(folder.glob(f"fold-*/{PREDICTIONS}")):
        part = Predictions.load(path)
        for number in map(int, np.unique(part.fold)):
            if number in folds:
                raise TrainError(f"{path.parent} held out fold {number}, as another does; give each its own --fold")
            folds[number] = part
    return join([*folds.values()]) if folds else Predictions.load(folder / PREDICTIONS)


class NetworkOutputs(NamedTuple):
    """A network's outputs for N samples (`train.model.network.Outputs`), as arrays."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    attention: NDArray[np.float32]


def run_network(network: nn.Module, images: Dataset[Tensor], device: torch.device, workers: int = 0) -> NetworkOutputs:
    """The outputs for all images."""
    loader = DataLoader(images, BATCH, num_workers=workers)
    found = []
    network.to(device).eval()
    with torch.inference_mode():
        for pixels in loader:
            inputs = normalised(pixels.to(device)).contiguous(memory_format=torch.channels_last)
            found.append([output.float().cpu().numpy() for output in network(inputs)])
    return NetworkOutputs(*(np.concatenate(of_batches) for of_batches in zip(*found, strict=True)))


def prototypes(embedding: NDArray[np.float32], truth: NDArray[np.int64], labels: int) -> NDArray[np.float32]:
    """float32[L, D]: the L2-normalised mean embedding of each label (Snell et al. 2017, "Prototypical Networks"); zeros
    for a label without any.
    """
    means = np.zeros((labels, embedding.shape[1]), np.float32)
    for label in range(labels):
        own = embedding[truth == label]
        if len(own):
            means[label] = own.mean(0)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(norms, 1e-12), np.float32)


def similarity(embedding: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[N, L]: cosines of float32[N, D] to prototypes float32[L, D]; -inf to one of zeros, which stands for
    a label without a prototype.
    """
    return np.where(known.any(1), embedding @ known.T, np.float32(-np.inf)).astype(np.float32)


def predict(
    network: nn.Module,
    labels: Sequence[Label],
    images: EvaluationImages,
    known: NDArray[np.float32],
    fold: int,
    device: torch.device,
    workers: int = 0,
    crop: SecondCrop | None = None,
    temperature: float = 1.0,
) -> Predictions:
    """Predictions of the images' samples; `known` are the prototypes of the labels.

    With `crop`, the logits are those of the whole frame and its attention crop together, as the device combines them at
    that temperature. The embedding is that of the whole frame.
    """
    if crop is not None:
        images = images.decoded_for_crops(crop.region_fraction)
    outputs = run_network(network, images, device, workers)
    logits = outputs.logits
    if crop is not None:
        crops = AttentionCrops(
            **{field.name: getattr(images, field.name) for field in fields(images)},
            attention=outputs.attention,
            fraction=crop.region_fraction,
        )
        logits = _combined(logits, run_network(network, crops, device, workers).logits, crop, temperature, labels)
    samples = images.samples
    return Predictions(
        tuple(label.name for label in labels),
        name=np.array([sample.name for sample in samples]),
        truth_label=np.array([sample.label for sample in samples]),
        location=np.array([sample.location for sample in samples]),
        sequence=np.array([sample.sequence for sample in samples]),
        fold=np.full(len(samples), fold, np.int64),
        logits=logits,
        embedding=outputs.embedding,
        prototype_similarity=similarity(outputs.embedding, known),
    )


def _combined(
    whole: NDArray[np.float32],
    close: NDArray[np.float32],
    plan: SecondCrop,
    temperature: float,
    labels: Sequence[Label],
) -> NDArray[np.float32]:
    """float32[N, L]: logits of whole frames and of their attention crops, combined by the device's rule.

    Their log-sum-exp stays that of the whole frame, from which the device takes its score of familiarity.
    """
    blank = np.array([label.kind is Kind.BLANK for label in labels])
    pairs = zip(log_softmax(whole, temperature), log_softmax(close, temperature), strict=True)
    logits = temperature * np.stack([combine(first, second, plan, blank) for first, second in pairs])
    shift = logsumexp(whole, axis=1, keepdims=True) - logsumexp(logits, axis=1, keepdims=True)
    return np.asarray(logits + shift, np.float32)
