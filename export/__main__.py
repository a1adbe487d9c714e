"""`python -m export COMMAND ...`: each command is a module with `main(argv) -> int`, imported when it is asked for."""

import sys
from collections.abc import Sequence
from importlib import import_module

from edge.card import CardError
from edge.model import ModelError
from export import ExportError
from train import TrainError

# command -> (module, what it does in one line)
COMMANDS = {
    "model": ("export.model_command", "a checkpoint as one int8 model file that carries the proof of its quantisation"),
    "adopt": ("export.adopt_command", "give somebody else's ONNX classifier or detector a card"),
    "bench": ("export.bench_command", "measure a model's speed and size, float and int8 side by side"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0 done, 2 wrong use, setup or a refused model."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m export COMMAND [options]\n\ncommands:")
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:<10} {purpose}")
        print("\n`python -m export COMMAND --help` explains a command's options.")
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"export: there is no command {argv[0]!r}, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[argv[0]]
    try:
        code: int = import_module(module).main(argv[1:])
    except (ExportError, TrainError, CardError, ModelError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
