"""Code that the daemon and its children run first, to set a constant or to break a library on purpose."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from tests.support.places import REPOSITORY


def start_hook(folder: Path, constants: Mapping[str, float], code: str = "") -> dict[str, str]:
    """The environment of a process that first runs `code` and sets `constants` (package.module.NAME -> value)."""
    lines = [code]
    for dotted, value in constants.items():
        module, _, name = dotted.rpartition(".")
        assert hasattr(import_module(module), name), f"{module} has no {name}"  # Python would only warn in the process
        lines.append(f"import {module}\n{dotted} = {value}")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("\n".join(lines), "utf-8")
    return {"PYTHONPATH": f"{folder}:{REPOSITORY}"}
