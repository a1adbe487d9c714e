"""`python -m train enrol`: teach a trained model new species by a few images each, without training."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.taxonomy import Taxon
from train import TrainError
from train.checkpoint import Checkpoint
from train.datasets import read_dataset
from train.enrol import enrol
from train.predictions import run_network
from train.prepare import pixel_source
from train.processes import started
from train.recipe import recipe_from_document
from train.run_folder import CHECKPOINT, PROTOTYPES
from train.sample import Sample
from train.taxa_table import card_labels


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    checkpoint = Checkpoint.load(options.run / CHECKPOINT)
    recipe = recipe_from_document(checkpoint.recipe)
    dataset = read_dataset(options.data, options.format)
    trained = tuple(label.name for label in checkpoint.labels)
    samples = [sample for sample in dataset.samples if not options.label or sample.label in options.label]
    new = tuple(sorted({sample.label for sample in samples} - set(trained)))
    samples = [sample for sample in samples if sample.label in new]
    if not new:
        raise TrainError(f"{options.data} holds no label that the model lacks; it knows {', '.join(trained)}")
    try:
        with np.load(options.run / PROTOTYPES, allow_pickle=False) as archive:
            known = {name: archive[name] for name in ("prototypes", "embedding", "truth")}
    except OSError as error:
        raise TrainError(f"{options.run} holds no {PROTOTYPES}; give a folder that `fit` finished") from error
    with started(options.device) as processes:
        embedding = run_network(
            checkpoint.build_network(), samples, pixel_source(recipe, None), recipe.input.size_px, recipe.input.fit,
            processes.device,
        ).embedding  # fmt: skip
    truth = np.array([new.index(sample.label) for sample in samples], np.int64)
    made = enrol(trained, known["prototypes"], known["embedding"], known["truth"], new, embedding, truth)
    vectors = {label: tuple(map(float, row)) for label, row in zip(made.labels, made.prototypes, strict=True)}
    enrolled = card_labels(new, _taxa(samples) | dataset.taxa)
    replace(checkpoint, prototypes=vectors, enrolled=enrolled, prototype_scale=made.scale).save(options.out)
    for label in new:
        print(f"{label}: {int((truth == new.index(label)).sum())} images, {made.recall[label]:.0%} told when left out")
    for label, share in made.taken.items():
        if share > 0:
            print(f"{label}: the new prototypes take {share:.1%} of its training images")
    return 0


def _taxa(samples: Sequence[Sample]) -> dict[str, Taxon]:
    """Of labels whose samples give a species' scientific name."""
    named = {sample.label: sample.scientific_name for sample in samples if " " in sample.scientific_name}
    return {label: Taxon(name, "species", label, genus=name.split()[0], species=name) for label, name in named.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train enrol", description="Enrol new species by prototypes.")
    parser.add_argument("run", type=Path, help="run folder of a finished training")
    parser.add_argument("--data", type=Path, required=True, help="labelled images of the new species")
    parser.add_argument("--format", default="auto", help="layout of the data")
    parser.add_argument("--label", action="append", help="only this new label (may be repeated)")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser
