"""Compares the whole pipeline with the bare loops that most people write: same frames, network and run.

python -m benchmarks.side_by_side ../shared/data/field/frames --checkpoint starter.pt [--model FILE] [--frames 300]
    [--rounds 3] [--loop-frames 300] [--edge PYTHON] [--sparrow PYTHON]

The bare loops are timed from their first frame to their last, without imports and loading, and therefore need fewer
frames. The pipeline is timed from its start to its end, all included. The loop with Pillow is a script of its own that
imports nothing else: in a process that also imports torch, freed memory stays with the process, and the loop would save
a third of its time. `--edge` is the Python of an environment with what a device installs, `--sparrow` the Python of one
with sparrow-engine. Two more rows measure decoding alone: at the pipeline's scale, and at an eighth, where hardly more
is done than reading the bits, which every scale has to do.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import onnx
import simplejpeg
from onnx import TensorProto, helper

from benchmarks.backlog import classify_command, cost, field_frames, make_backlog
from edge.inference.attention_crop import decode_side_px
from edge.inference.model import STARTER, Model
from export.graph import float_graph
from train.model.checkpoint import Checkpoint

Classify = Callable[[Path], None]

PILLOW_LOOP = """
import sys, time
import numpy as np, onnxruntime
from PIL import Image
from pathlib import Path
model, frames = sys.argv[1:3]
paths = sorted(Path(frames).iterdir())[:int(sys.argv[3])]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1  # a second thread only spins beside the work
session = onnxruntime.InferenceSession(model, options)
side = session.get_inputs()[0].shape[1]
def classify(path):
    frame = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    session.run(["logits"], {"pixels": np.asarray(frame, np.uint8)[None]})
classify(paths[0])
begun = time.process_time()
for path in paths:
    classify(path)
print((time.process_time() - begun) / len(paths))
"""
SPARROW_LOOP = """
import sys, time
import sparrow_engine
models, frames = sys.argv[1:3]
sparrow_engine.init("cpu", models)
from pathlib import Path
paths = sorted(str(path) for path in Path(frames).iterdir())[:int(sys.argv[3])]
sparrow_engine.classify(paths[0], model="same")
begun = time.process_time()
sparrow_engine.classify(paths, model="same")
print((time.process_time() - begun) / len(paths))
"""
SPARROW_MANIFEST = """
[model]
id = "same"
name = "same"
version = "1"
type = "classifier"
model_type = "classifier"
format = "onnx"
file = "model.onnx"
[preprocessing]
method = "resize"
input_size = [{side}, {side}]
layout = "nchw"
normalization = "imagenet"
[postprocessing]
method = "softmax"
[inference]
device = "cpu"
strategy = "single"
[labels]
file = "labels.txt"
format = "one_per_line"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-least-mp", type=float, default=0.0, help="only frames of that many million pixels")
    parser.add_argument("--loop-frames", type=int, default=300, help="how many of them the bare loops get")
    parser.add_argument("--edge", type=Path, default=Path(sys.executable))
    parser.add_argument("--sparrow", type=Path)
    parser.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.loop:
        print(_timed(sorted(given.source.iterdir())[: given.loop_frames], LOOPS[given.loop](given)))
        return
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = folder / "frames"
        frames.mkdir()
        make_backlog(field_frames(given.source, given.at_least_mp), frames, given.frames)
        floats = folder / "float.onnx"
        onnx.save(float_graph(Checkpoint.load(given.checkpoint)), floats)
        if given.sparrow:
            _write_sparrow_model(floats, folder / "models" / "same")
        for turn in range(given.rounds):
            for crops, flags in (("whole frame only", ["--no-second-look"]), ("with crop", [])):
                db = folder / f"{crops}{turn}.db"
                command = classify_command(db, given.model, frames, "-q", *flags, python=given.edge)
                figures.setdefault(f"edge-classify, {crops}", []).append(cost(command).cpu_s / given.frames)
            command = [str(given.edge), "-c", PILLOW_LOOP, str(floats), str(frames), str(given.loop_frames)]
            figures.setdefault("Pillow, ONNX Runtime", []).append(float(subprocess.check_output(command)))
            for loop in LOOPS:
                command = [sys.executable, "-m", "benchmarks.side_by_side", str(frames), "--loop", loop]
                command += ["--loop-frames", str(given.loop_frames)]
                command += ["--checkpoint", str(given.checkpoint), "--model", str(given.model)]
                figures.setdefault(loop, []).append(float(subprocess.check_output(command)))
            if given.sparrow:
                command = [str(given.sparrow), "-c", SPARROW_LOOP, f"{name}/models", str(frames)]
                command.append(str(given.loop_frames))
                figures.setdefault("sparrow-engine", []).append(float(subprocess.check_output(command).split()[-1]))
    ours = {name: median(values) for name, values in figures.items() if name.startswith("edge-classify")}
    print(f"{'':26} {'CPU/frame':>10}  " + "  ".join(f"x {name.removeprefix('edge-classify, ')}" for name in ours))
    for name, values in figures.items():
        ratios = "  ".join(f"{median(values) / whole:10.2f}" for whole in ours.values())
        print(f"{name:26} {median(values) * 1e3:7.1f} ms  {ratios}")


def _torchvision_loop(given: argparse.Namespace) -> Classify:
    """The reader and transforms of torchvision, torch eager on one thread."""
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    loaded = Checkpoint.load(given.checkpoint)
    network = loaded.build_network().eval()
    side = loaded.input_height_px
    resize = v2.Resize((side, side), antialias=True)
    transform = v2.Compose([resize, v2.ToDtype(torch.float32), v2.Normalize([127.0] * 3, [128.0] * 3)])

    def classify(path: Path) -> None:
        with torch.inference_mode():
            network(transform(decode_image(str(path), ImageReadMode.RGB))[None])

    return classify


def _decode_loop(given: argparse.Namespace) -> Classify:
    """Strict decoding at the pipeline's scale, and nothing else."""
    return _decoding(decode_side_px(Model(given.model).card))


def _decode_eighth_loop(given: argparse.Namespace) -> Classify:
    """Strict decoding at the smallest scale that there is: one pixel for each block of 8 x 8."""
    return _decoding(1)


def _decoding(side_px: int) -> Classify:
    def classify(path: Path) -> None:
        simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=side_px, min_width=side_px, strict=True)

    return classify


LOOPS: dict[str, Callable[[argparse.Namespace], Classify]] = {
    "torchvision": _torchvision_loop,
    "decoding alone": _decode_loop,
    "decoding to an eighth": _decode_eighth_loop,
}


def _timed(paths: Sequence[Path], classify: Classify) -> float:
    classify(paths[0])
    begun = time.process_time()
    for path in paths:
        classify(path)
    return (time.process_time() - begun) / len(paths)


def _write_sparrow_model(floats: Path, folder: Path) -> None:
    """The same float network, fed with normalised planes as that engine does."""
    model = onnx.load(floats)
    graph = model.graph
    side = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    labels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    convolution = next(node for node in graph.node if node.op_type == "Conv")
    fed = {"pixels"}
    for node in list(graph.node):
        if fed.intersection(node.input) and node.op_type in ("Transpose", "DequantizeLinear"):
            fed.update(node.output)
            graph.node.remove(node)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(convolution.input[0], TensorProto.FLOAT, ["N", 3, side, side]))
    del graph.output[1:]
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "labels.txt").write_text("".join(f"{place}\n" for place in range(labels)))
    (folder / "manifest.toml").write_text(SPARROW_MANIFEST.format(side=side))


if __name__ == "__main__":
    main()
