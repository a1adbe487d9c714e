"""Exporting leaves nothing behind in the user's home, and a model names no folder of the machine that made it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import edge
from edge.inference.model import STARTER
from export.model_card import card_of
from train.model.checkpoint import Checkpoint

MODELS = STARTER.parent


@pytest.mark.parametrize(
    "program",
    [
        "import export.adopt.foreign_graph as foreign, onnx; foreign._run_once(onnx.load(sys.argv[1]), 'logits')",
        "import export.quantization.activation_ranges as ranges, onnx;"
        " ranges.open_session(ranges.with_outputs(onnx.load(sys.argv[1]), ['logits']).SerializeToString())",
        "from pathlib import Path; import export.commands.bench as bench; bench._peak_bytes(Path(sys.argv[1]))",
    ],
)
def test_the_runtime_keeps_no_record_of_its_use(program: str, tiny_model: Path, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path(edge.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", f"import sys; {program}", str(tiny_model)], env=environment, check=True)
    assert [path.name for path in tmp_path.rglob("*")] == []


def test_a_card_holds_no_folder_of_the_machine_that_it_was_made_on(checkpoint: Checkpoint) -> None:
    recipe = {"data": {"taxa": "/home/ana/recipes/taxa.csv", "split": "location"}, "weights": "/mnt/disk/backbone.pt"}
    named = card_of(replace(checkpoint, recipe=recipe), "made").recipe
    assert named["data"] == {"taxa": "taxa.csv", "split": "location"}
    assert named["weights"] == "backbone.pt"


@pytest.mark.parametrize("model", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.name)
def test_the_shipped_models_name_no_folder(model: Path) -> None:
    metadata = json.dumps([[entry.key, entry.value] for entry in onnx.load(model).metadata_props])
    assert not re.findall(r"(?<![\w.:/])/(?:work|home|root|tmp|mnt|usr|var|opt)/", metadata)
