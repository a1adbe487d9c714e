"""Whether decoding at a scale changes any decision, against decoding every pixel.

python -m benchmarks.decode_scale ../shared/data/field/frames [--model FILE]
"""

import argparse
from pathlib import Path

from benchmarks.backlog import field_frames
from edge import frame, look
from edge.decide import Decider
from edge.model import STARTER, Model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", type=Path, default=STARTER)
    given = parser.parse_args()
    model = Model(given.model)
    decider = Decider(model.card)
    paths = field_frames(given.source)
    differing = []
    for path in paths:
        answers = []
        for side_px in (look.decode_side_px(model), None):
            picture = frame.decode(path.read_bytes(), side_px)
            (seen,) = look.look(model, [look.view(model, picture)])
            answers.append(decider.decide(seen.log_probabilities, seen.familiarity))
        scaled, full = answers
        if (scaled.kind, scaled.taxon) != (full.kind, full.taxon):
            differing.append(f"{path.name}: scaled {scaled.taxon or scaled.kind} {scaled.confidence:.3f}, "
                             f"full {full.taxon or full.kind} {full.confidence:.3f}")  # fmt: skip
    same = len(paths) - len(differing)
    print(f"{same} of {len(paths)} decisions are the same ({same / len(paths):.1%})")
    print("\n".join(differing))


if __name__ == "__main__":
    main()
