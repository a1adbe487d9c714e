"""`python -m train enrol`: adds new species to a trained model from a few images each, without training."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.commands.runner import Parser
from edge.host.output_file import Guard
from edge.inference.taxonomy import Taxon
from train import TrainError
from train.commands.runner import add_machine_options
from train.data.prepare import pixel_source, samples_of_inputs
from train.data.readers import read_dataset
from train.data.sample import Sample
from train.data.taxa_table import card_labels
from train.data.validate import readable
from train.enrolment import enrol
from train.evaluation.images import EvaluationImages
from train.evaluation.predictions import run_network
from train.model.checkpoint import Checkpoint
from train.recipe import recipe_from_document
from train.runtime.distributed import started
from train.trained_model import ReferenceEmbeddings, TrainedModel, file_digests, is_references, references_file


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    guard = Guard(force=options.force)
    guard.check(options.out, Checkpoint.is_own)
    guard.check(references_file(options.out), is_references)
    trained = TrainedModel(options.run)
    known, references = trained.prototypes(), trained.references  # first: without prototypes there is no recipe either
    recipe, names = recipe_from_document(trained.checkpoint.recipe), trained.names
    dataset = read_dataset(options.data, options.format)
    chosen = tuple(
        sample
        for sample in dataset.samples
        if sample.label not in names and (not options.label or sample.label in options.label)
    )
    samples = samples_of_inputs(readable(replace(dataset, samples=chosen), options.skip_bad).samples, recipe)
    new = tuple(sorted({sample.label for sample in samples}))
    if not new:
        found = ", ".join(dataset.labels())
        asked = f" among those of --label ({', '.join(options.label)})" if options.label else ""
        raise TrainError(
            f"{options.data} has {found}: no label{asked} that the model lacks; it knows {', '.join(names)}"
        )
    if references is None:
        raise TrainError(f"{options.run} lacks its .npz with the training's embeddings; keep it beside the checkpoint")
    with started(options.device, options.threads) as processes:
        images = EvaluationImages(samples, pixel_source(recipe, None), recipe.input.size_px, recipe.input.fit)
        embedding = run_network(trained.network(), images, processes.device).embedding
    truth = np.array([new.index(sample.label) for sample in samples], np.int64)
    made = enrol(names, known, references.embedding, references.truth, new, embedding, truth)
    vectors = {
        label: tuple(map(float, row)) for label, row in zip(made.labels, made.prototypes, strict=True) if row.any()
    }
    enrolled = (*trained.checkpoint.enrolled, *card_labels(new, _taxa(samples) | dataset.taxa))
    replace(trained.checkpoint, prototypes=vectors, enrolled=enrolled, prototype_scale=made.scale).save(options.out)
    together = ReferenceEmbeddings(
        np.concatenate([references.embedding, embedding]),
        np.concatenate([references.truth, truth + len(names)]),
        np.concatenate([references.digest, file_digests(samples)]),
    )
    calibration = {} if trained.temperature is None else {"temperature": trained.temperature}
    together.save(references_file(options.out), made.labels, made.prototypes, **calibration)
    for label in new:
        count = int((truth == new.index(label)).sum())
        recognised = (
            f"{made.recall[label]:.0%} recognised when held out" if label in made.recall else "too few to hold one out"
        )
        print(f"{label}: {count} image{'' if count == 1 else 's'}, {recognised}")
    for label, share in made.taken.items():
        if share > 0:
            print(f"{label}: the new prototypes take {share:.1%} of its training images")
    return 0


def _taxa(samples: Sequence[Sample]) -> dict[str, Taxon]:
    """The taxa of labels whose samples have the scientific name of a species."""
    named = {sample.label: sample.scientific_name for sample in samples if " " in sample.scientific_name}
    return {label: Taxon(name, "species", label, genus=name.split()[0], species=name) for label, name in named.items()}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m train enrol", description="Enrol new species by prototypes.")
    parser.add_argument("run", type=Path, help="run folder of a finished training, or a checkpoint of this command")
    parser.add_argument("--data", type=Path, required=True, help="labelled images of the new species")
    parser.add_argument("--format", default="auto", help="layout of the data")
    parser.add_argument("--label", action="append", help="only this new label (may be repeated)")
    parser.add_argument("--skip-bad", action="store_true", help="leave samples with problems out instead of stopping")
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoint to write; its embeddings lie beside it, as .npz"
    )
    parser.add_argument("--force", action="store_true", help="replace also what is no checkpoint with its embeddings")
    add_machine_options(parser)
    return parser
