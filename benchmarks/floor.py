"""The floor: reading, strict scaled decoding and one run of the network for each file, and nothing else.

python -m benchmarks.floor FOLDER [--model FILE]
"""

import argparse
from pathlib import Path

import numpy as np

from edge.capture.files import files_below
from edge.image import decode as frame
from edge.inference import attention_crop as look
from edge.inference.model import STARTER, Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    model = Model(given.model)
    side_px = look.decode_side_px(model)
    for seen in files_below(str(given.folder.absolute())):
        picture = frame.decode(Path(seen.path).read_bytes(), side_px, seen.path)
        model.run(np.asarray(model.pixels(picture))[None])


if __name__ == "__main__":
    main()
