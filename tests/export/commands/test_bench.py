"""`python -m export bench`: figures of one model, and of two side by side."""

import json
from pathlib import Path

import onnx
import pytest

from edge.inference.card import METADATA_KEY
from edge.inference.model import STARTER
from export.__main__ import main


def test_two_models_are_compared_row_by_row(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_model), "--against", str(STARTER), "--seconds", "0.01"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["tiny.onnx", "starter.onnx", "ratio"]
    rows = [row for row in rows if not row.startswith("ms by operator")]
    figures = {row[:28].strip(): [float(figure) for figure in row[28:].split()] for row in rows}
    assert figures["nodes: int8"][0] == 0 < figures["nodes: int8"][1]
    first, second, ratio = figures["nodes: float"]
    assert ratio == pytest.approx(second / first, abs=0.006)
    assert figures["file, MB"][1] == pytest.approx(STARTER.stat().st_size / 1e6, abs=0.006)
    assert figures["ms an image, 1 x 1"][2] > 10  # the tiny model takes less than a millisecond


def test_the_figures_are_those_of_the_file(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_model), "--seconds", "0.01", "--json"]) == 0
    (speed,) = json.loads(capsys.readouterr().out).values()
    card = {entry.key: entry.value for entry in onnx.load(tiny_model).metadata_props}[METADATA_KEY]
    assert speed["file_bytes"] == tiny_model.stat().st_size
    assert speed["card_bytes"] == len(card.encode())
    assert sum(speed["nodes"].values()) >= 5
    assert set(speed["profile_ms"]) == set(speed["nodes"])


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("no model")
    assert main(["bench", str(tmp_path / "notes.txt")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"export: {tmp_path / 'notes.txt'}: ONNX Runtime cannot load it")
