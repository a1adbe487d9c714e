"""Makes the small model with which a device tests whether its int8 kernels overflow (`edge.inference.onnx_session`).

`python -m export.quantization.int8_probe` writes it into the package.
"""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge.inference.onnx_session import PROBE

CHANNELS, SIDE_PX, LEVEL = 64, 4, 200


def probe() -> bytes:
    """Convolutions of an image of 255 with weights of 127, of which the sum of two products overflows 16 bits.

    Some give integers and some give bytes that should be `LEVEL`, because the runtime has different kernels for these.
    Each output is the difference from the right result.
    """
    constants: dict[str, Any] = {"one": np.float32(1), "zero": np.uint8(0), "level": np.int32(LEVEL)}
    nodes, outputs = [], []
    for kernel in (1, 3):
        total = 255 * 127 * CHANNELS * kernel**2
        first, second, scale, sum_, byte = (f"{name}{kernel}" for name in ("first", "second", "scale", "sum", "byte"))
        weights = np.full((16, CHANNELS, kernel, kernel), 127, np.int8)
        constants |= {
            first: weights,
            second: weights,  # a second constant: the runtime cannot prepare one for exact kernels twice
            f"zero{kernel}": np.int8(0),
            scale: np.float32(total / LEVEL),
            f"total{kernel}": np.int32(total),
        }
        quantised = ["pixels", "one", "zero", second, "one", f"zero{kernel}", scale, "zero"]
        nodes += [
            helper.make_node("ConvInteger", ["pixels", first], [sum_]),
            helper.make_node("Sub", [sum_, f"total{kernel}"], [f"{sum_}_error"]),
            helper.make_node("QLinearConv", quantised, [byte]),
            helper.make_node("Cast", [byte], [f"{byte}_number"], to=TensorProto.INT32),
            helper.make_node("Sub", [f"{byte}_number", "level"], [f"{byte}_error"]),
        ]
        outputs += [f"{sum_}_error", f"{byte}_error"]
    graph = helper.make_graph(
        nodes,
        "int8 probe",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, CHANNELS, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info(name, TensorProto.INT32, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_version="")
    return bytes(model.SerializeToString())


if __name__ == "__main__":
    PROBE.write_bytes(probe())
