"""`python -m export COMMAND ...`: each command is a module with `main(argv) -> int`, imported when it is asked for."""

import sys
from collections.abc import Sequence

from edge.inference.card import CardError
from edge.inference.model import ModelError
from edge.inference.onnx_session import load_runtime
from export import ExportError
from train.commands.runner import run

# command -> (module, what it does in one line)
COMMANDS = {
    "model": ("export.commands.model", "make an int8 model file, with the proof of its quantisation, of a checkpoint"),
    "adopt": ("export.commands.adopt", "give an ONNX classifier or detector from elsewhere a model card"),
    "bench": ("export.commands.bench", "measure a model's speed and size, float and int8 side by side"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command. Returns the exit code: 0 done, 2 wrong use, setup or a refused model."""
    load_runtime()  # before a command loads the runtime's quantisation tools
    return run("export", COMMANDS, (ExportError, CardError, ModelError), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
