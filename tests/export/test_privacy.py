"""Exporting leaves nothing behind in the user's home either, by whatever way the runtime is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge


@pytest.mark.parametrize(
    "program",
    [
        "import export.foreign, onnx; export.foreign._answer(onnx.load(sys.argv[1]), 'logits', 1)",
        "import export.ranges as ranges, onnx;"
        " ranges.open_session(ranges.with_outputs(onnx.load(sys.argv[1]), ['logits']).SerializeToString())",
        "from pathlib import Path; import export.bench_command as bench; bench._peak_bytes(Path(sys.argv[1]))",
    ],
)
def test_the_runtime_keeps_no_record_of_its_use(program: str, tiny_model: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(edge.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", f"import sys; {program}", str(tiny_model)], env=environment, check=True)
    assert [path.name for path in tmp_path.rglob("*")] == []
