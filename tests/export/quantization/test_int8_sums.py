"""Sums of int8 products are exact on whatever processor the tests run on."""

from pathlib import Path

import numpy as np
import pytest

from edge.inference import onnx_session
from edge.inference.onnx_session import PROBE, open_session, overflows
from export.quantization.int8_probe import CHANNELS, SIDE_PX, probe


def test_the_shipped_probe_is_the_one_that_is_made_here() -> None:
    assert PROBE.read_bytes() == probe()


@pytest.mark.parametrize("kernels", ["as chosen for this processor", "as for one that overflows"])
def test_pairs_of_large_products_do_not_overflow(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels == "as for one that overflows":
        monkeypatch.setattr(onnx_session, "overflows", lambda: True)
    pixels = np.full((1, CHANNELS, SIDE_PX, SIDE_PX), 255, np.uint8)
    for error in open_session(PROBE, 1).run(None, {"pixels": pixels}):
        assert not error.any()


def test_kernels_that_overflow_are_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = probe().replace(np.int32(255 * 127 * CHANNELS).tobytes(), np.int32(32_767 * CHANNELS // 2).tobytes())
    assert wrong != probe()
    (tmp_path / "wrong.onnx").write_bytes(wrong)
    monkeypatch.setattr(onnx_session, "PROBE", tmp_path / "wrong.onnx")
    assert overflows.__wrapped__()
