"""Sums of int8 products are exact on whatever processor the tests run on."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge import onnx_session
from edge.onnx_session import has_vnni, open_session

CHANNELS, SIDE = 64, 8


def convolution(weights: NDArray[np.int8], scale: float) -> bytes:
    """A quantised convolution of uint8[1, 64, 8, 8] whose output is its sum divided by `scale`."""
    constants = {
        "one": np.float32(1),
        "zero": np.uint8(0),
        "weights": weights,
        "weight_zero": np.int8(0),
        "scale": np.float32(scale),
    }
    inputs = ["x", "one", "zero", "weights", "one", "weight_zero", "scale", "zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", inputs, ["y"])],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, CHANNELS, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("kernels", ["those of this processor", "those of one without VNNI"])
@pytest.mark.parametrize("side", [1, 3])
def test_pairs_of_large_products_do_not_overflow(side: int, kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels != "those of this processor":
        monkeypatch.setattr(onnx_session, "has_vnni", lambda: False)
    # Two products of 255 and 127 in 16 bits would stop at 32,767 instead of 64,770.
    weights = np.full((16, CHANNELS, side, side), 127, np.int8)
    weights[1::2] = np.random.default_rng(0).integers(-127, 128, weights[1::2].shape)
    pixels = np.full((1, CHANNELS, SIDE, SIDE), 255, np.uint8)
    sums = 255 * weights.astype(np.int64).sum(axis=(1, 2, 3))
    scale = sums.max() / 200
    (answer,) = open_session(convolution(weights, scale), 1).run(None, {"x": pixels})
    assert answer[0, :, 0, 0].tolist() == np.clip(np.rint(sums / scale), 0, 255).tolist()


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni ssse3\n", True),
        ("model name : x\nflags : avx2 avx_vnni\n", True),
        ("flags : fpu avx2 avx512f\n", False),
        ("Features : fp asimd asimddp\n", False),
        (None, False),
    ],
)
def test_the_processor_is_asked_for_vnni(
    text: str | None, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(onnx_session, "_CPU", tmp_path / "cpuinfo")
    assert has_vnni.__wrapped__() is has
