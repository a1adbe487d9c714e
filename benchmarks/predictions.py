"""Writes a model's logits and decisions on real frames to a file, and compares two such files.

It compares processors: run `python -m benchmarks.predictions write` on each of them, then `compare` anywhere. It needs
only what a device has installed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.image.decode import decode
from edge.inference.attention_crop import decode_side_px
from edge.inference.decision import Decider
from edge.inference.frame_classification import classify_frames, network_input
from edge.inference.model import STARTER, Model


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.predictions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="classify frames and write the predictions")
    write.add_argument("frames", type=Path, help="a folder, searched at any depth for .jpg")
    write.add_argument("--model", type=Path, default=STARTER)
    write.add_argument("--count", type=int, default=100)
    write.add_argument("--out", type=Path, required=True, help="an .npz file")
    compare = commands.add_parser("compare", help="compare two files of `write`")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    given = parser.parse_args(argv)
    if given.command == "write":
        return _write(given.frames, given.model, given.count, given.out)
    return _compare(given.a, given.b)


def _write(folder: Path, path: Path, count: int, out: Path) -> int:
    model = Model(path)
    decider = Decider(model.card)
    frames = sorted(folder.rglob("*.jpg"))
    chosen = frames[:: max(1, len(frames) // count)][:count]
    began = time.perf_counter()
    pixels, logits, logs, decisions = [], [], [], []
    for frame in chosen:
        seen = network_input(model, decode(frame.read_bytes(), decode_side_px(model.card), frame.name))
        pixels.append(int(seen.whole.sum(dtype=np.int64)))
        logits.append(model.run(seen.whole[None]).logits[0])
        prediction = classify_frames(model, [seen])[0]
        decision = decider.decide(prediction.log_probabilities, prediction.familiarity)
        logs.append(prediction.log_probabilities)
        decisions.append(f"{decision.kind} {decision.taxon} {decision.reason}")
    np.savez(out, names=[frame.name for frame in chosen], pixels=pixels, logits=logits, logs=logs, decisions=decisions)
    print(f"{len(chosen)} frames in {time.perf_counter() - began:.0f} s -> {out}")
    return 0


def _compare(first: Path, second: Path) -> int:
    with np.load(first) as a, np.load(second) as b:
        if not np.array_equal(a["names"], b["names"]):
            print("the two files hold predictions of different frames", file=sys.stderr)
            return 2
        same = a["decisions"] == b["decisions"]
        print(f"frames                       {len(same)}")
        print(f"identical input pixels       {int((a['pixels'] == b['pixels']).sum())}")
        print(f"identical decisions          {int(same.sum())}")
        print(f"max logit difference         {np.abs(a['logits'] - b['logits']).max():.6f}")
        print(f"max probability difference   {np.abs(np.exp(a['logs']) - np.exp(b['logs'])).max():.6f}")
        for place in np.flatnonzero(~same):
            print(f"  {a['names'][place]}: {a['decisions'][place]} | {b['decisions'][place]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
