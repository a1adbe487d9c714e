"""One training, from samples to a run folder: fits the network, predicts the held-out images, saves the checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import nn

from train import TrainError, notice
from train.data.prepare import Prepared, labels_not_trained, pixel_source
from train.data.sample import Sample
from train.data.split import Fold
from train.evaluation.calibration import fit_temperature
from train.evaluation.gallery import choose_for_gallery, draw_gallery, make_tiles
from train.evaluation.images import EvaluationImages
from train.evaluation.predictions import UNSEEN, Predictions, predict, prototypes, run_network
from train.evaluation.retrieval import retrieval_figures
from train.fit.loop import Task, fit, stored_state
from train.model.checkpoint import Checkpoint
from train.model.network import Network
from train.recipe import Recipe
from train.run_folder import CHECKPOINT, PREDICTIONS, PROTOTYPES, RETRIEVAL, write_json, write_labels, write_split
from train.runtime.distributed import Processes
from train.trained_model import ReferenceEmbeddings, file_digests


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a training that do not change its result."""

    resume: bool = False
    workers: int = 0
    tensorboard: bool = False
    cache: Path | None = None
    backgrounds: tuple[Sample, ...] = ()


def train_fold(
    recipe: Recipe,
    prepared: Prepared,
    fold: Fold,
    number: int,
    folder: Path,
    processes: Processes,
    options: RunOptions,
    metrics: Mapping[str, Any],
) -> None:
    """Train on the fold's training part, and save predictions of its test part and of the unseen species.

    The first process alone saves.
    """
    if processes.first:
        write_split(folder, prepared.samples, fold)
        write_labels(folder, prepared.labels)
    task = fold_task(recipe, prepared, fold, options)
    source, train = task.source, task.samples
    network = fit(recipe, task, folder, processes, options.resume, options.workers, options.tensorboard)
    if not processes.first:
        return
    images = EvaluationImages(train, source, recipe.input.size_px, recipe.input.fit)
    logits, embedding, _ = run_network(network, images, processes.device, options.workers)
    if not (np.isfinite(logits).all() and np.isfinite(embedding).all()):
        raise TrainError(
            "training diverged: the outputs of the trained network are not finite; lower optimiser.lr or set "
            "optimiser.clip_norm"
        )
    places = {label: place for place, label in enumerate(prepared.label_names)}
    truth = np.array([places[sample.label] for sample in train], np.int64)
    known = prototypes(embedding, truth, len(places))
    if recipe.loss.classification == "none":
        network.classify_by(torch.from_numpy(known).to(processes.device))
    ReferenceEmbeddings(embedding, truth, file_digests(train)).save(folder / PROTOTYPES, prepared.label_names, known)
    make_checkpoint(recipe, prepared, network, len(train), known, metrics).save(folder / CHECKPOINT)
    held_out = [prepared.samples[place] for place in fold.test]
    if not held_out:
        return
    tested = replace(images, samples=[*held_out, *prepared.unseen])
    predictions = predict(network, prepared.labels, tested, known, number, processes.device, options.workers)
    predictions.save(folder / PREDICTIONS)
    queries = predictions.where(predictions.truth != UNSEEN)
    write_json(folder / RETRIEVAL, asdict(retrieval_figures(queries.embedding, queries.truth, embedding, truth)))
    draw_galleries(network, predictions, replace(images, samples=held_out), processes.device, folder)


def fold_task(recipe: Recipe, prepared: Prepared, fold: Fold, options: RunOptions) -> Task:
    """The training samples of a fold."""
    train = tuple(prepared.samples[place] for place in fold.train)
    backgrounds = trainable_backgrounds(options.backgrounds, prepared.samples, fold)
    taxa = tuple(label.taxon for label in prepared.labels)
    return Task(train, prepared.label_names, taxa, pixel_source(recipe, options.cache), backgrounds)


def check_fold(
    recipe: Recipe, prepared: Prepared, fold: Fold, number: int, folder: Path, processes: Processes, options: RunOptions
) -> None:
    """Raises `TrainError` where `train_fold` would not start; the fold's warnings go to standard error."""
    if options.resume and processes.first:
        stored_state(recipe, fold_task(recipe, prepared, fold, options), folder)
    lacking = ", ".join(labels_not_trained(prepared, fold))
    if lacking and recipe.loss.classification == "none":
        raise TrainError(
            f"fold {number} has no training image of {lacking}, whose prototype would be missing; "
            "set data.exclude, fewer data.folds, or loss.classification"
        )
    for warning in fold.warnings if processes.first else ():
        notice(f"fold {number}: warning: {warning}")


def trainable_backgrounds(backgrounds: Sequence[Sample], samples: Sequence[Sample], fold: Fold) -> tuple[Sample, ...]:
    """The backgrounds without those of locations that only the test part has: these must be new to the model."""
    new = {samples[place].location for place in fold.test} - {samples[place].location for place in fold.train}
    return tuple(frame for frame in backgrounds if not frame.location or frame.location not in new)


def draw_galleries(
    network: nn.Module, predictions: Predictions, images: EvaluationImages, device: torch.device, folder: Path
) -> None:
    """`gallery.png` and `mistakes.png` of `images`, whose predictions come first among `predictions`."""
    mask = (np.arange(len(predictions)) < len(images)) & (predictions.truth != UNSEEN)
    known, shown = np.flatnonzero(mask), predictions.where(mask)
    temperature = fit_temperature(shown.logits, shown.truth)
    probabilities = softmax(shown.logits.astype(np.float64) / temperature, axis=1)
    right = probabilities.argmax(1) == shown.truth
    mix, worst = choose_for_gallery(right, probabilities.max(1), shown.truth)
    for name, title, places in (
        ("gallery.png", "Held-out images", mix),
        ("mistakes.png", "The most confident mistakes", worst),
    ):
        tiles = make_tiles(network, images.at(known[places].tolist()), shown.labels, device, temperature)
        draw_gallery(tiles, folder / name, title)


def make_checkpoint(
    recipe: Recipe,
    prepared: Prepared,
    network: Network,
    images: int,
    known: NDArray[np.float32],
    metrics: Mapping[str, Any],
) -> Checkpoint:
    """The checkpoint, with everything that the model card will say."""
    return Checkpoint(
        name=recipe.name,
        version=recipe.version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        network=recipe.network,
        state=network.state_dict(),
        labels=prepared.labels,
        input_height_px=recipe.input.size_px,
        input_width_px=recipe.input.size_px,
        fit=recipe.input.fit,
        higher_taxa=prepared.higher_taxa,
        data=f"{prepared.data_name}: {images} images",
        metrics=dict(metrics),
        recipe=recipe.document(),
        sources=recipe.sources,
        licence=recipe.licence,
        notes=recipe.notes,
        prototypes={
            label: tuple(float(value) for value in row)
            for label, row in zip(prepared.label_names, known, strict=True)
            if row.any()  # zeros: the label had no image
        },
    )
