"""`python -m train COMMAND ...`: each command is a module with `main(argv) -> int`, imported when it is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module

from edge.card import CardError
from train import TrainError
from train.memory import keep_freed_memory

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
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m train COMMAND [options]\n\ncommands:")
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:<10} {purpose}")
        print("\n`python -m train COMMAND --help` explains a command's options.")
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"train: there is no command {argv[0]!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[argv[0]]
    try:
        code: int = import_module(module).main(argv[1:])
    except (TrainError, CardError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main(sys.argv[1:]))
