"""ONNX Runtime sessions whose threads do not spin and whose int8 sums are exact on every processor."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PROBE = Path(__file__).parents[1] / "models" / "int8-probe.onnx"
"""A model whose outputs are 0 where the int8 kernels sum exactly (made by export/quantization/int8_probe.py)."""


def load_runtime() -> Any:
    """The module `onnxruntime`, loaded without its usage events.

    From 1.32 on, ONNX Runtime for Linux keeps a device id and a queue of usage events under ~/.cache, to send them to
    its maker. A device in a forest reports to its owner alone. The runtime reads the variable once, when it is loaded;
    its own function to disable the events comes too late. Loading takes a tenth of a second, which `--version` does
    not need.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(model: Path | bytes, threads: int = 0, profile: Path | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the processor; 0 threads take as many as there are cores.

    `profile` is the beginning of the path that a profile is written to.
    """
    onnxruntime = load_runtime()
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions too
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads respond a little sooner, but they drain the battery while they wait.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if overflows():
        # x86 without VNNI adds pairs of int8 products in 16 bits, so exact kernels are asked for; not on processors
        # with VNNI, whose usual kernels are exact already and three times as fast.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if isinstance(model, Path):
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    # What is given as bytes has no other files: without this, weights could come from the current folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/nowhere")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session._model_bytes = None  # kept by the runtime for other providers, of which there are none
    return session


@cache
def overflows() -> bool:
    """Whether the runtime's fastest int8 kernels overflow on this processor, found by computing the largest sums.

    The processor's flags alone do not tell which kernels this build of the runtime chooses.
    """
    session = load_runtime().InferenceSession(str(PROBE), providers=["CPUExecutionProvider"])
    pixels = np.full(session.get_inputs()[0].shape, 255, np.uint8)
    return any(error.any() for error in session.run(None, {"pixels": pixels}))
