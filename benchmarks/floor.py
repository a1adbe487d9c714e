"""The floor of a benchmark: it reads, decodes and runs the network once for each file, and does nothing else.

python -m benchmarks.floor FOLDER [--model FILE]
"""

import argparse
from pathlib import Path

import numpy as np

from edge.capture.files import files_below
from edge.image import decode as frame
from edge.inference.attention_crop import decode_side_px
from edge.inference.model import STARTER, Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    model = Model(given.model)
    side_px = decode_side_px(model.card)
    for seen in files_below(str(given.folder.absolute())):
        decoded = frame.decode(Path(seen.path).read_bytes(), side_px, seen.path)
        model.run(np.asarray(model.pixels(decoded))[None])


if __name__ == "__main__":
    main()
