"""What a network says about samples, kept beside what is known about them: all figures are computed from this."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edge.image.resize import Pixels, resize_to_input
from edge.inference.attention_crop import attention_crops
from edge.inference.card import FitMode
from train import TrainError
from train.data.image_cache import PixelSource, for_evaluation
from train.data.sample import Sample
from train.model.network import normalised
from train.run_folder import PREDICTIONS

BATCH = 64
UNSEEN = -1
"""Place of a label that the network does not have."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Of N samples by a network (or by the networks of several folds) with L labels."""

    labels: tuple[str, ...]
    name: NDArray[np.str_]
    """str[N]"""
    truth_label: NDArray[np.str_]
    """str[N]; may be none of `labels`."""
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
        """Those samples alone."""
        kept = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name != "labels"}
        return Predictions(labels=self.labels, **kept)

    def save(self, path: Path) -> None:
        """As a compressed NumPy archive, whole or not at all."""
        columns: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        temporary = path.with_name(f".{path.name}")
        np.savez_compressed(temporary, **columns)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Raises `TrainError` when there is none."""
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
    """Of several folds, one after the other."""
    if len({part.labels for part in parts}) != 1:
        raise TrainError("the folds have different labels; they are not of one cross-validation")
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Predictions)
        if field.name != "labels"
    }
    return Predictions(labels=parts[0].labels, **joined)


def of_run(folder: Path) -> Predictions:
    """Of a run, or of all folds that lie in it as `fold-0`, `fold-1`, ...: some may have been trained since they were
    last pooled. Raises `TrainError` where two of them held out the same.
    """
    folds: dict[int, Predictions] = {}
    for path in sorted(folder.glob(f"fold-*/{PREDICTIONS}")):
        part = Predictions.load(path)
        for number in map(int, np.unique(part.fold)):
            if number in folds:
                raise TrainError(f"{path.parent} held out fold {number}, as another does; each takes its own --fold")
            folds[number] = part
    return join([*folds.values()]) if folds else Predictions.load(folder / PREDICTIONS)


class Raw(NamedTuple):
    """A network's outputs for N samples (`train.model.network.Outputs`)."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    attention: NDArray[np.float32]


def run_network(
    network: nn.Module,
    samples: Sequence[Sample],
    source: PixelSource,
    size_px: int,
    mode: FitMode,
    device: torch.device,
    workers: int = 0,
) -> Raw:
    """What the network makes of the samples, each seen exactly as the device would see it."""
    return _run(network, _Pictures(samples, source, size_px, mode), device, workers)


def _run(network: nn.Module, pictures: Dataset[Tensor], device: torch.device, workers: int) -> Raw:
    loader = DataLoader(pictures, BATCH, num_workers=workers)
    found = []
    network.to(device).eval()
    with torch.inference_mode():
        for pixels in loader:
            picture = normalised(pixels.to(device)).contiguous(memory_format=torch.channels_last)
            found.append([output.float().cpu().numpy() for output in network(picture)])
    return Raw(*(np.concatenate(of_batches) for of_batches in zip(*found, strict=True)))


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
    """float32[N, L]: cosines of float32[N, D] to prototypes float32[L, D]; -inf to one of zeros, which is none: a
    cosine of 0 would be nearer than many a real one.
    """
    return np.where(known.any(1), embedding @ known.T, np.float32(-np.inf)).astype(np.float32)


def predict(
    network: nn.Module,
    labels: tuple[str, ...],
    samples: Sequence[Sample],
    known: NDArray[np.float32],
    fold: int,
    source: PixelSource,
    size_px: int,
    mode: FitMode,
    device: torch.device,
    workers: int = 0,
    second_look: float | None = None,
) -> Predictions:
    """Predictions of `samples`; `known` are the prototypes of the labels.

    With `second_look`, each sample is looked at again in the square around the peak of its attention whose side is that
    fraction of the shorter side, as the device does (and Hu et al. 2019 for their parts), and the logits are the means
    of both looks. The embedding is that of the first.
    """
    logits, embedding, attention = run_network(network, samples, source, size_px, mode, device, workers)
    if second_look is not None:
        finer = replace(source, min_side_px=math.ceil(source.min_side_px / second_look))
        regions = _Regions(samples, finer, size_px, mode, attention, second_look)
        logits = np.float32(0.5) * (logits + _run(network, regions, device, workers).logits)
    return Predictions(
        labels,
        name=np.array([sample.name for sample in samples]),
        truth_label=np.array([sample.label for sample in samples]),
        location=np.array([sample.location for sample in samples]),
        sequence=np.array([sample.sequence for sample in samples]),
        fold=np.full(len(samples), fold, np.int64),
        logits=logits,
        embedding=embedding,
        prototype_similarity=similarity(embedding, known),
    )


class _Pictures(Dataset[Tensor]):
    """uint8[3, S, S] of each sample, as the device sees it."""

    def __init__(self, samples: Sequence[Sample], source: PixelSource, size_px: int, mode: FitMode) -> None:
        self.samples, self.source, self.size_px, self.mode = samples, source, size_px, mode

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.pixels(place).transpose(2, 0, 1)))

    def pixels(self, place: int) -> Pixels:
        return for_evaluation(self.source, self.samples[place], self.size_px, self.mode)


class _Regions(_Pictures):
    """The same of what drew attention in each sample."""

    def __init__(
        self,
        samples: Sequence[Sample],
        source: PixelSource,
        size_px: int,
        mode: FitMode,
        attention: NDArray[np.float32],
        fraction: float,
    ) -> None:
        super().__init__(samples, source, size_px, mode)
        self.attention, self.fraction = attention, fraction

    def pixels(self, place: int) -> Pixels:
        whole = self.source.read(self.samples[place])
        (region,) = attention_crops(self.attention[place : place + 1], [whole.shape[:2]], self.fraction)
        assert region is not None
        return resize_to_input(np.ascontiguousarray(region.cut(whole)), self.size_px, self.size_px, self.mode)
