"""`python -m export bench`: measure the speed and size of a model, side by side with another one (its float version).

The figures are not written into the card, because they depend on the machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edge.commands.runner import Parser
from edge.inference.card import METADATA_KEY
from edge.inference.model import Model
from edge.inference.onnx_session import open_session
from export import ExportError

THREADS, BATCHES = (1, 2, 4), (1, 8)
INT8_OPS = {"QLinearConv", "QLinearMatMul", "QGemm", "QLinearAdd", "MatMulInteger", "ConvInteger", "QLinearMul"}
ROUNDING_OPS = {"QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed and size of one model on this machine."""

    latency_ms: dict[str, float]
    """Median for one image, by `threads x batch`."""
    load_ms: float
    peak_memory_bytes: int
    """Peak of a fresh process that loads the model and runs it once, less that of one that only loads the runtime."""
    file_bytes: int
    card_bytes: int
    nodes: dict[str, int]
    """Number of each operator that the runtime executes after its own optimisation."""
    profile_ms: dict[str, float]
    """Time in each operator for one image, one thread."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("python -m export bench", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--against", type=Path, metavar="FILE", help="a second model, measured in turn with the first")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(argv)
    paths = [path for path in (given.model, given.against) if path is not None]
    speeds = measure(paths, given.seconds)
    if given.json:
        print(json.dumps({str(path): asdict(speed) for path, speed in zip(paths, speeds, strict=True)}, indent=1))
    else:
        _print(paths, speeds)
    return 0


def measure(paths: Sequence[Path], seconds: float) -> list[Speed]:
    """Measure all models, their runs interleaved so that other load on the machine affects each alike."""
    for path in paths:
        Model(path)  # raises one line of error for a file without a card
    latencies: list[dict[str, float]] = [{} for _ in paths]
    for threads in (number for number in THREADS if number <= (os.cpu_count() or 1)):
        sessions = [open_session(path, threads) for path in paths]
        for batch in BATCHES:
            times = _interleaved(sessions, batch, seconds)
            for place, values in enumerate(times):
                latencies[place][f"{threads} x {batch}"] = float(np.median(values)) * 1e3 / batch
    return [_speed(path, latency) for path, latency in zip(paths, latencies, strict=True)]


def _interleaved(sessions: Sequence[Any], batch: int, seconds: float) -> list[list[float]]:
    inputs = [_image(session, batch) for session in sessions]
    times: list[list[float]] = [[] for _ in sessions]
    for session, pixels in zip(sessions, inputs, strict=True):
        session.run(None, pixels)
    end = time.perf_counter() + seconds * len(sessions)
    while time.perf_counter() < end or len(times[0]) < 5:
        for place, session in enumerate(sessions):
            began = time.perf_counter()
            session.run(None, inputs[place])
            times[place].append(time.perf_counter() - began)
    return times


def _speed(path: Path, latency: dict[str, float]) -> Speed:
    began = time.perf_counter()
    open_session(path, 1)
    load_ms = (time.perf_counter() - began) * 1e3
    card = {prop.key: prop.value for prop in onnx.load(path).metadata_props}.get(METADATA_KEY, "")
    nodes, profile = _profile(path)
    return Speed(
        latency, load_ms, _peak_bytes(path) - _peak_bytes(None), path.stat().st_size, len(card.encode()), nodes, profile
    )


def _image(session: Any, batch: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    entry = session.get_inputs()[0]
    shape = [batch, *(size if isinstance(size, int) else 1 for size in entry.shape[1:])]
    return {entry.name: np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)}


def _profile(path: Path, runs: int = 20) -> tuple[dict[str, int], dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="edge-classify-") as folder:
        session = open_session(path, 1, Path(folder) / "profile")
        pixels = _image(session, 1)
        for _ in range(runs):
            session.run(None, pixels)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    times: Counter[str] = Counter()
    names: dict[str, set[str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            operator = event["args"]["op_name"]
            times[operator] += event["dur"]
            names.setdefault(operator, set()).add(event["name"])
    nodes = {operator: len(members) for operator, members in sorted(names.items())}
    return nodes, {operator: total / runs / 1e3 for operator, total in times.most_common()}


def _peak_bytes(path: Path | None) -> int:
    """Peak resident memory of a fresh process that runs the model; `None` measures the runtime without a model."""
    code = "import sys, numpy\nfrom edge.inference.onnx_session import load_runtime\nload_runtime()\n"
    if path is not None:
        code += (
            "from edge.inference.onnx_session import open_session\ns = open_session(sys.argv[1])\n"
            "i = s.get_inputs()[0]\n"
            "s.run(None, {i.name: numpy.zeros([1, *i.shape[1:]], numpy.uint8)})\n"
        )
    # Not ru_maxrss: a child begins with its parent's peak.
    code += "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ExportError(f"{path} cannot be measured ({reason}); expected a model file that `python -m export` wrote")
    return int(done.stdout) * 1024


def _print(paths: Sequence[Path], speeds: Sequence[Speed]) -> None:
    first, *others = speeds
    print(f"{'':<28}" + "".join(f"{path.name[-20:]:>22}" for path in paths) + ("        ratio" if others else ""))

    def row(title: str, values: Sequence[float], form: str) -> None:
        ratio = f"{values[1] / values[0]:>13.2f}" if others and values[0] else ""
        print(f"{title:<28}" + "".join(f"{value:>22{form}}" for value in values) + ratio)

    for key in first.latency_ms:
        row(f"ms an image, {key}", [speed.latency_ms[key] for speed in speeds], ".2f")
    row("load, ms", [speed.load_ms for speed in speeds], ".0f")
    row("peak memory, MB", [speed.peak_memory_bytes / 1e6 for speed in speeds], ".1f")
    row("file, MB", [speed.file_bytes / 1e6 for speed in speeds], ".2f")
    row("without the card, MB", [(speed.file_bytes - speed.card_bytes) / 1e6 for speed in speeds], ".2f")
    in_float = {op for speed in speeds for op in speed.nodes} - INT8_OPS - ROUNDING_OPS
    for title, operators in (("int8", INT8_OPS), ("rounding", ROUNDING_OPS), ("float", in_float)):
        row(f"nodes: {title}", [sum(speed.nodes.get(op, 0) for op in operators) for speed in speeds], "d")
    print("ms by operator, one thread, one image")
    for operator in dict.fromkeys(name for speed in speeds for name in speed.profile_ms):
        row(f"  {operator}", [speed.profile_ms.get(operator, 0.0) for speed in speeds], ".3f")
