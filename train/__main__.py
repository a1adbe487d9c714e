"""`python -m train COMMAND ...`: each command is a module with `main(argv) -> int`, imported when it is asked for."""

import sys
from collections.abc import Sequence

from edge.inference.card import CardError
from train import TrainError
from train.commands.runner import run

# command -> (module, what it does in one line)
COMMANDS = {
    "fit": ("train.commands.fit", "train by a recipe: one fold, all folds, or all data"),
    "evaluate": ("train.commands.evaluate", "figures of a run, or of its model on other data"),
    "predict": ("train.commands.predict", "a gallery of pictures with answers and attention"),
    "frames": ("train.commands.frames", "an exported model on whole frames, both looks"),
    "compose": ("train.commands.compose", "whole frames out of crops, to calibrate a crop-trained model with"),
    "enrol": ("train.commands.enrol", "new species from a few images, without training"),
    "ablate": ("train.commands.ablate", "each technique alone against the plain recipe, in one table"),
    "compare": ("train.commands.compare", "two runs on the same held-out images"),
    "starter": ("train.starter", "make the starter's checkpoint: ImageNet weights regrouped into animal taxa"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0 done, 2 wrong use or setup."""
    return run("train", COMMANDS, (TrainError, CardError), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
