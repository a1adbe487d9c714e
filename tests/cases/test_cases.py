"""The shared cases from the field give their expected values, step by step in a copy of each case's folder.

`tests/cases/NAME.json` belongs to `../shared/cases/NAME`:

- `steps`: command lines. `edge-...` runs that command; `cp`, `mv`, `rm` and `mkdir` take file names and patterns; words
  `NAME=value` in front set the environment. A step may be a table: `run`, `exit` (default 0), and patterns that its
  standard output and error must (`stdout`, `stderr`) or must not have (`no_stdout`, `no_stderr`).
- `queries`: `db`, `sql` and the `rows` that it gives; the copy's folder is taken off all texts.
- `files`: `path` and patterns that the file must have (`has`) or must not have (`lacks`).
"""

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CASES = HERE.parents[2] / "shared" / "cases"
COMMANDS = {"classify", "report", "db", "model", "doctor"}


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("*.json")))
def test_case(name: str, tmp_path: Path) -> None:
    if not (CASES / name).is_dir():
        pytest.skip(f"no ../shared/cases/{name}")
    expected = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    copy = tmp_path / "copy"
    shutil.copytree(CASES / name, copy)
    (copy / "out").mkdir(exist_ok=True)
    for step in expected["steps"]:
        run(step if isinstance(step, dict) else {"run": step}, copy)
    for query in expected.get("queries", ()):
        with closing(sqlite3.connect(copy / query["db"])) as connection:
            rows = [[without(value, copy) for value in row] for row in connection.execute(query["sql"])]
        assert rows == query["rows"], query["sql"]
    for file in expected.get("files", ()):
        text = (copy / file["path"]).read_text("utf-8")
        check(text, file.get("has", ()), file.get("lacks", ()), file["path"])


def run(step: dict[str, Any], folder: Path) -> None:
    """Run one step and check what it says."""
    words = shlex.split(step["run"])
    environment = dict(os.environ) | {"PYTHONPATH": str(HERE.parents[1])}
    while "=" in words[0]:
        key, _, value = words.pop(0).partition("=")
        environment[key] = value
    if words[0] in ("cp", "mv", "rm", "mkdir"):
        change(words[0], [word for word in words[1:] if not word.startswith("-")], folder)
        return
    command = words[0].removeprefix("edge-")
    assert command in COMMANDS, step["run"]
    done = subprocess.run(
        [sys.executable, "-m", f"edge.commands.{command}", *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == step.get("exit", 0), (step["run"], done.stderr)
    check(done.stdout, step.get("stdout", ()), step.get("no_stdout", ()), step["run"])
    check(done.stderr, step.get("stderr", ()), step.get("no_stderr", ()), step["run"])


def change(command: str, names: list[str], folder: Path) -> None:
    """What the shell's command of that name does, as far as the cases need it."""
    if command == "mkdir":
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
        return
    *sources, last = names if command != "rm" else [*names, ""]
    for path in [path for source in sources for path in sorted(folder.glob(source))]:
        target = folder / last / path.name if (folder / last).is_dir() else folder / last
        if command == "mv":
            shutil.move(path, target)
        elif command == "rm":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy2(path, target)


def without(value: Any, folder: Path) -> Any:
    return value.replace(f"{folder}/", "") if isinstance(value, str) else value


def check(text: str, has: list[str], lacks: list[str], where: str) -> None:
    for pattern in has:
        assert re.search(pattern, text, re.MULTILINE), (where, pattern, text)
    for pattern in lacks:
        assert not re.search(pattern, text, re.MULTILINE), (where, pattern, text)
