"""Loading a model leaves nothing behind in the user's home: no device id, no queue of usage events."""

import os
import subprocess
import sys
from pathlib import Path

import edge


def test_the_runtime_keeps_no_record_of_its_use(tiny_model: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(edge.__file__).parents[1])}
    program = "import sys; from edge.inference.model import Model; Model(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(tiny_model)], env=environment, check=True)
    assert [path.name for path in tmp_path.rglob("*")] == []
