"""`python -m train frames`: an exported model on whole frames, through the device's own pipeline."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge.inference.model import Model, ModelError
from train import TrainError
from train.data.readers import read_dataset
from train.data.sample import Dataset, Sample
from train.data.validate import readable
from train.evaluation.whole_frames import answer_frames, read_frames, summarise


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        model = Model(options.model)
    except ModelError as error:
        raise TrainError(str(error)) from error
    frames = read_frames(options.frames, options.source, options.boxes)
    pictures = Dataset(str(options.frames), tuple(Sample(frame.path, frame.scientific_name) for frame in frames))
    whole = {sample.path for sample in readable(pictures, options.skip_bad).samples}
    training = _training(options.training) if options.training else ()
    answers = answer_frames(model, [frame for frame in frames if frame.path in whole], training)
    for answer in answers:
        mark = {True: "near", False: "", None: "?"}[answer.near_training] if training else ""
        print(
            f"{answer.frame.path.name:<24} {answer.frame.scientific_name:<26} first {answer.first:<26}"
            f" both {answer.both:<26} {mark}".rstrip()
        )
    print(summarise(answers))
    return 0


def _training(path: Path) -> tuple[Sample, ...]:
    """What is not known of them is said: a frame near to such a one cannot be told from a far one."""
    dataset = read_dataset(path)
    for problem in dataset.problems:
        print(f"bad_row: {problem}", file=sys.stderr)
    rows = len(dataset.samples) + len(dataset.problems)
    untimed = rows - sum(sample.captured_at is not None for sample in dataset.samples)
    if untimed:
        print(f"warning: no time is known of {untimed} of {rows} training samples; what is near to them is not marked",
              file=sys.stderr)  # fmt: skip
    return dataset.samples


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train frames", description="A model on whole frames.")
    parser.add_argument("model", type=Path, help="exported model (.onnx)")
    parser.add_argument(
        "--frames", type=Path, required=True, help="table: path, scientificName, rank, certainty; source for --source"
    )
    parser.add_argument("--source", default="", help="only frames of this source")
    parser.add_argument("--boxes", type=Path, help="table: path, x, y, width, height in fractions")
    parser.add_argument("--training", type=Path, help="the model's training data: frames near to it are counted apart")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable frames out instead of stopping")
    return parser
