"""`python -m train frames`: an exported model on whole frames, through the device's own pipeline."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge.model import Model, ModelError
from train import TrainError
from train.datasets import read_dataset
from train.whole_frames import answer_frames, read_frames, summarise


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        model = Model(options.model)
    except ModelError as error:
        raise TrainError(str(error)) from error
    training = read_dataset(options.training).samples if options.training else ()
    answers = answer_frames(model, read_frames(options.frames, options.source, options.boxes), training)
    for answer in answers:
        mark = "near" if answer.near_training else ""
        print(
            f"{answer.frame.path.name:<24} {answer.frame.scientific_name:<26} first {answer.first:<26}"
            f" both {answer.both:<26} {mark}".rstrip()
        )
    print(summarise(answers))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train frames", description="A model on whole frames.")
    parser.add_argument("model", type=Path, help="exported model (.onnx)")
    parser.add_argument(
        "--frames", type=Path, required=True, help="table: path, source, scientificName, rank, certainty"
    )
    parser.add_argument("--source", default="", help="only frames of this source")
    parser.add_argument("--boxes", type=Path, help="table: path, x, y, width, height in fractions")
    parser.add_argument("--training", type=Path, help="the model's training data: frames near to it are counted apart")
    return parser
