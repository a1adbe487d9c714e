"""ONNX Runtime as every part of the project runs it: threads that don't spin, exact int8 sums on any processor."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

# From 1.32 on ONNX Runtime for Linux keeps a device id and a queue of usage events under ~/.cache, to be sent home. A
# box in a forest reports to its owner alone. Read once, when the runtime is loaded; its own call comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
PROBE = Path(__file__).parents[1] / "models" / "int8-probe.onnx"
"""A model whose outputs are 0 where the int8 kernels sum exactly (made by export/quantization/int8_probe.py)."""


def open_session(model: Path | bytes, threads: int = 0, profile: Path | None = None) -> Any:
    """An `onnxruntime.InferenceSession` on the processor; 0 threads: as many as there are cores.

    `profile` is where a profile is written to, with more added to the name.
    """
    # Imported here: the runtime takes a tenth of a second to load, and `--version` needs none of it.
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised as well
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads answer a little sooner and burn the battery while they wait.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if overflows():
        # x86 without VNNI adds pairs of int8 products in 16 bits: ask for exact kernels. Those are three times slower
        # than VNNI's, which are exact as they are, and the runtime would take them there too.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    given = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


@cache
def overflows() -> bool:
    """Whether the runtime's quickest int8 kernels overflow on this processor: it is asked for the largest sums.

    The processor's flags would tell it too, but not of the kernels that this build of the runtime chooses by them.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(PROBE), providers=["CPUExecutionProvider"])
    pixels = np.full(session.get_inputs()[0].shape, 255, np.uint8)
    return any(error.any() for error in session.run(None, {"pixels": pixels}))
