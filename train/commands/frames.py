"""`python -m train frames`: runs an exported model on whole frames with the device's pipeline."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from edge.commands.runner import Parser
from edge.inference.model import Model, ModelError
from train import TrainError, notice
from train.data.readers import read_dataset
from train.data.sample import Dataset, Sample
from train.data.validate import readable
from train.evaluation.whole_frames import predict_frames, read_frames, summarise


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        model = Model(options.model)
    except ModelError as error:
        raise TrainError(str(error)) from error
    frames = read_frames(options.frames, options.source, options.boxes)
    dataset = Dataset(str(options.frames), tuple(Sample(frame.path, frame.scientific_name) for frame in frames))
    decoded = {sample.path for sample in readable(dataset, options.skip_bad).samples}
    training = _training(options.training) if options.training else ()
    predictions = predict_frames(model, [frame for frame in frames if frame.path in decoded], training)
    for prediction in predictions:
        mark = {True: "near", False: "", None: "?"}[prediction.near_training] if training else ""
        print(
            f"{prediction.frame.path.name:<24} {prediction.frame.scientific_name:<26} whole {prediction.whole:<26}"
            f" with crop {prediction.combined:<26} {mark}".rstrip()
        )
    print(summarise(predictions))
    return 0


def _training(path: Path) -> tuple[Sample, ...]:
    """The training samples; a warning says how many have no time, for frames near to these cannot be recognised."""
    dataset = read_dataset(path)
    for problem in dataset.problems:
        notice(f"bad_row: {problem}")
    rows = len(dataset.samples) + len(dataset.problems)
    untimed = rows - sum(sample.captured_at is not None for sample in dataset.samples)
    if untimed:
        notice(f"warning: {untimed} of {rows} training samples have no time; frames near to them are not marked")
    return dataset.samples


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m train frames", description="A model on whole frames.")
    parser.add_argument("model", type=Path, help="exported model (.onnx)")
    parser.add_argument(
        "--frames", type=Path, required=True, help="table: path, scientificName, rank, certainty; source for --source"
    )
    parser.add_argument("--source", default="", help="only frames of this source")
    parser.add_argument("--boxes", type=Path, help="table: path, x, y, width, height in fractions")
    parser.add_argument("--training", type=Path, help="the model's training data: frames near to it are counted apart")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable frames out instead of stopping")
    return parser
