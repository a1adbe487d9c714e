"""Odd command lines and odd configuration files: each ends in a line that says what is wrong, never in a traceback."""

import importlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from edge.commands.classify import main as edge_classify
from edge.settings.options import read_configuration
from edge.settings.strict_toml import SettingsError
from tests.support.command_child import CommandChild
from tests.support.made_images import noisy_jpeg
from tests.support.odd_command_lines import make_odd_files, odd_command_lines, odd_configurations, parser_of
from tests.support.requirements import LONG
from tests.support.signal_handlers import keep_signals
from tests.support.tiny_model import write_tiny_model

SEED, EACH = 22, 600 if LONG else 15
HANG_S = 300.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and values that make it work."""

    module: str
    usual: Mapping[str, Sequence[str]]
    left_out: frozenset[str] = frozenset()
    """Arguments that make it wait for ever, as they should."""
    first: tuple[str, ...] = ()
    """Words that name the command to its module."""


_DB, _MODEL = ["d.db"], ["good.onnx"]
_RUN = {"out": ["run"], "data": ["captures"], "recipe": ["folder"], "run": ["folder"], "images": ["captures"]}
COMMANDS = {
    "edge-classify": Command(
        "edge.commands.classify",
        {"paths": ["captures"], "db": _DB, "model": _MODEL, "min_free_bytes": ["0"]},
        frozenset({"watch", "min_free_bytes", "poll"}),
    ),
    "edge-report": Command("edge.commands.report", {"db": _DB, "out": ["out"]}),
    "edge-db": Command(
        "edge.commands.db",
        {"db": _DB, "out": ["out"], "frame": ["1"], "taxon": ["Vulpes vulpes"], "format": ["labels"]}
        | {"file": ["labels.csv"], "deployment": ["ridge"], "model": ["tiny@1"]},
    ),
    "edge-model": Command("edge.commands.model", {"file": _MODEL}),
    "edge-doctor": Command("edge.commands.doctor", {"db": _DB, "model": _MODEL}, frozenset({"watch"})),
}
for _name, _usual in {
    "adopt": {"model": _MODEL, "labels": ["labels.csv"], "out": ["out"]},
    "bench": {"model": _MODEL, "seconds": ["0.01"]},
    "model": {"checkpoint": ["empty"], "calibrate": ["captures"], "out": ["out"]},
}.items():
    COMMANDS[f"export {_name}"] = Command("export.__main__", _usual, frozenset({"seconds"}), (_name,))
for _name in ("fit", "evaluate", "predict", "frames", "compose", "enrol", "ablate", "compare"):
    COMMANDS[f"train {_name}"] = Command("train.__main__", _RUN, frozenset(), (_name,))
CONFIGURED = {
    "edge-classify": ["captures", "--db", "d.db", "--model", "good.onnx", "--min-free-bytes", "0", "-q"],
    "edge-report": ["csv", "--db", "d.db"],
    "edge-doctor": ["--db", "d.db", "--model", "good.onnx"],
}


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandChild]:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "captures").mkdir()
    for number in range(6):
        (folder / "captures" / f"{number}.jpg").write_bytes(noisy_jpeg(number, f"2026:05:01 08:00:0{number}"))
    make_odd_files(folder)
    write_tiny_model(folder / "good.onnx")
    (folder / "labels.csv").write_text("file,species\n1.jpg,Vulpes vulpes\n")
    child = CommandChild(folder)
    arguments = ["captures", "--db", "kept.db", "--model", "good.onnx", "--min-free-bytes", "0", "-q"]
    assert child.run("edge.commands.classify", arguments).code == 0
    yield child
    child.close()


def _as_before(folder: Path) -> None:
    """Only what the fixture made lies in the folder."""
    for path in [*folder.glob("d.db*"), *folder.glob("out*"), folder / "run"]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    shutil.copy(folder / "kept.db", folder / "d.db")


def _run_all(child: CommandChild, module: str, lines: Iterator[list[str]]) -> None:
    codes: Counter[int | str | None] = Counter()
    found = []
    for line in islice(lines, EACH):
        _as_before(child.folder)
        end = child.run(module, line, HANG_S)
        codes[end.code] += 1
        if problem := end.problem(most_lines=8):
            found.append(f"{[word[:80] for word in line]}: {problem}: {end.err[-600:]}")
    print(module, dict(codes))
    assert not found, "\n\n".join(found[:20])
    assert codes[2], "the lines are odd"


@pytest.mark.parametrize("name", [name for name in COMMANDS if LONG or name.startswith("edge")])
def test_odd_command_lines_end_in_a_line(child: CommandChild, name: str) -> None:
    command = COMMANDS[name]
    with keep_signals():
        parser = parser_of(lambda rest: importlib.import_module(command.module).main([*command.first, *rest]))
    lines = odd_command_lines(parser, command.usual, command.left_out, random.Random(f"{SEED} {name}"))
    child.run(command.module, [*command.first, "--help"], HANG_S)  # what is imported once is not any line's time
    _run_all(child, command.module, ([*command.first, *line] for line in lines))


@pytest.mark.parametrize("name", CONFIGURED)
def test_odd_configurations_end_in_a_line(child: CommandChild, name: str) -> None:
    module = COMMANDS[name].module

    def lines() -> Iterator[list[str]]:
        left_out = frozenset({"watch", "min_free_bytes", "poll"})
        for content in odd_configurations(random.Random(f"{SEED} {name}"), "", left_out):
            (child.folder / "c.toml").write_bytes(content)
            yield [*CONFIGURED[name], "--config", "c.toml"]

    _run_all(child, module, lines())


ODD_FILES = {"pipe": "a pipe", "folder": "a folder", "loop": "symbolic link", "dangling": "No such file"}


@pytest.mark.parametrize("odd", ODD_FILES)
@pytest.mark.parametrize("flag", ["--model", "--detector", "--config", "--species-list", "--db"])
def test_what_is_no_file_is_refused_at_once(child: CommandChild, flag: str, odd: str) -> None:
    if (flag, odd) == ("--db", "dangling"):
        pytest.skip("the database is made where the link leads")
    _as_before(child.folder)
    usual = {"--model": "good.onnx", "--db": "d.db", "--min-free-bytes": "0"} | {flag: odd}
    end = child.run("edge.commands.classify", ["captures", *(word for pair in usual.items() for word in pair)], 15)
    assert (end.code, end.problem(most_lines=1)) == (2, None), end
    assert odd in end.err
    if flag != "--db":
        assert ODD_FILES[odd] in end.err


def test_a_pipe_as_lock_is_refused_at_once(child: CommandChild) -> None:
    _as_before(child.folder)
    lock = child.folder / "d.db.lock"
    lock.unlink(missing_ok=True)
    os.mkfifo(lock)
    end = child.run("edge.commands.classify", ["captures", "--db", "d.db", "--model", "good.onnx"], 15)
    assert (end.code, end.problem(most_lines=1)) == (2, None), end


@pytest.mark.parametrize("command", ["import megadetector", "import speciesnet", "import labels", "import camtrap-dp"])
def test_a_pipe_is_not_imported(child: CommandChild, command: str) -> None:
    _as_before(child.folder)
    end = child.run("edge.commands.db", [*command.split(), "pipe", "--db", "d.db"], 15)
    assert end.code in (1, 2), end
    assert end.problem(most_lines=2) is None, end


def test_a_user_without_a_name_is_known_by_a_number(
    child: CommandChild, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container that runs under a bare number: no entry in passwd, and no variable that says a name."""
    from edge.commands.db import main as edge_db

    def nobody(number: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr("pwd.getpwnam", nobody)
    _as_before(child.folder)
    monkeypatch.chdir(child.folder)
    assert edge_db(["label", "1", "human", "--db", "d.db"]) == 0
    assert f"by {os.getuid()}" in capsys.readouterr().out
    assert edge_db(["import", "labels", "labels.csv", "--db", "d.db"]) in (0, 1)
    (tmp_path / "c.toml").write_text('[deployment.a]\nfolder = "~/a"\n')
    with pytest.raises(SettingsError, match="folder is"):
        read_configuration(tmp_path / "c.toml")


def test_an_empty_path_is_not_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """`edge-classify "$CARD"` with a variable that is not set."""
    with pytest.raises(SystemExit), keep_signals():
        edge_classify([""])
    assert "an empty name; expected a path" in capsys.readouterr().err
