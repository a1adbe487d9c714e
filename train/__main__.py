"""`python -m train COMMAND ...`: finds the command's module, which has `main(argv) -> int`, and runs it."""

import sys
from collections.abc import Sequence

from edge.inference.card import CardError
from train.commands.runner import run

# command -> (module, what it does in one line)
COMMANDS = {
    "fit": ("train.commands.fit", "train by a recipe: one fold, all folds, or all data"),
    "evaluate": ("train.commands.evaluate", "figures of a run, or of its model on other data"),
    "predict": ("train.commands.predict", "a gallery of images with predictions and attention"),
    "frames": ("train.commands.frames", "an exported model on whole frames, with and without the attention crop"),
    "compose": ("train.commands.compose", "whole frames made of crops, to calibrate a model that was trained on crops"),
    "enrol": ("train.commands.enrol", "new species from a few images, without training"),
    "ablate": ("train.commands.ablate", "each technique alone compared with the plain recipe, in one table"),
    "compare": ("train.commands.compare", "two runs on the same held-out images"),
    "starter": ("train.starter", "make the starter's checkpoint: ImageNet weights regrouped into animal taxa"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0 done, 2 wrong use or setup."""
    return run("train", COMMANDS, (CardError,), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
