"""Broken models: none stops a command with a traceback, and none takes the place of one that works."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import pytest

from edge.commands.model import main as edge_model
from edge.inference.card import MOST_LABELS, Card, CardError, Label
from edge.inference.decision import Decider
from edge.inference.model import Model, ModelError
from edge.inference.taxonomy import Taxon
from edge.service.crash_guard import TrialProcess
from edge.settings.options import Settings
from edge.vocabulary import Kind
from tests.support.command_child import CommandChild
from tests.support.daemon_process import DaemonProcess
from tests.support.made_images import noisy_jpeg
from tests.support.mutated_models import endless_model, hungry_model, mutants, with_card
from tests.support.requirements import LONG
from tests.support.tiny_model import tiny_card, write_tiny_model

SEED, MUTANTS = 22, 5000 if LONG else 40
SWAPPED = 100 if LONG else 2
_WAIT_S = 300
"""What takes ten seconds of the processor takes a busy machine minutes."""
PEAK_MB = 700
"""Of a process that has read thousands of broken models one after the other."""


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandChild]:
    folder = tmp_path_factory.mktemp("child")
    (folder / "captures").mkdir()
    (folder / "captures" / "a.jpg").write_bytes(noisy_jpeg(1))
    write_tiny_model(folder / "good.onnx")
    child = CommandChild(folder)
    yield child
    child.close()


@pytest.fixture
def model(child: CommandChild) -> Iterator[Path]:
    """Where the child's commands expect a model; nothing is there before and after a test."""
    path = child.folder / "m.onnx"
    yield path
    for each in (path, path.with_name("m.onnx.sha256"), child.folder / "d.db"):
        _remove(each)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)


def test_mutated_models_are_refused_in_one_line_or_work(tmp_path: Path, child: CommandChild, model: Path) -> None:
    found: list[str] = []
    peak_mb = slowest_s = 0.0
    ended: Counter[str] = Counter()
    checksum = model.with_name("m.onnx.sha256")
    for number, mutant in enumerate(mutants(tmp_path, SEED, MUTANTS)):
        model.write_bytes(mutant.content)
        checksum.unlink(missing_ok=True)
        if mutant.checksum is not None:
            checksum.write_bytes(mutant.checksum)
        (child.folder / "d.db").unlink(missing_ok=True)
        used = ["--model", "good.onnx", "--detector"] if mutant.kind.startswith("detector") else ["--model"]
        codes = []
        for module, arguments in (
            ("edge.commands.model", ["info", "--all", "m.onnx"]),
            ("edge.commands.model", ["verify", "m.onnx"]),
            ("edge.commands.classify", ["captures", "--db", "d.db", "--min-free-bytes", "0", "-q", *used, "m.onnx"]),
        ):
            end = child.run(module, arguments)
            codes.append(end.code)
            if problem := end.problem(most_lines=2):
                found.append(f"{number} {mutant.kind}: {arguments[0]}: {problem}: {end.err[-300:]}")
            peak_mb, slowest_s = max(peak_mb, end.peak_mb), max(slowest_s, end.seconds)
        assert (codes[1] == 0) == (codes[2] == 0), f"{number} {mutant.kind}: `verify` and use disagree: {codes}"
        ended[f"{mutant.kind}: {'works' if codes[2] == 0 else 'refused'}"] += 1
    print(*sorted(ended.items()), f"peak {peak_mb:.0f} MB, slowest {slowest_s:.1f} s of the processor", sep="\n")
    assert peak_mb < PEAK_MB
    assert not found, "\n".join(found)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _cards(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        document = json.loads(tiny_card().to_json()) | changes
        path.write_bytes(with_card(onnx.load(str(write_tiny_model(path))), json.dumps(document).encode()))

    return write


def _enormous(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 10**12)


def _beside(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_tiny_model(path, seed=5)
        make(path.with_name(path.name + ".sha256"))

    return write


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a null name": (_cards(name=None), "name"),
    "a table as version": (_cards(version={}), "version"),
    "no labels": (_cards(labels=[]), "labels"),
    "a card for fewer outputs": (_cards(labels=json.loads(tiny_card().to_json())["labels"][:3]), "logits"),
    "an input of another size": (_cards(input_width_px=64), "pixels"),
    "weights without a number": (lambda path: write_tiny_model(path, sharpness=float("nan")), "logits"),
    "a graph that eats memory": (hungry_model, "ConstantOfShape"),
    "half a file": (lambda path: path.write_bytes(write_tiny_model(path).read_bytes()[:4000]), "cannot load"),
    "a pipe": (os.mkfifo, "a pipe"),
    "a folder": (Path.mkdir, "a folder"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "an enormous file": (_enormous, "larger than"),
    "a folder as checksum": (_beside(Path.mkdir), "a folder"),
    "a pipe as checksum": (_beside(os.mkfifo), "a pipe"),
    "a checksum that leads nowhere": (_beside(lambda path: path.symlink_to("nowhere")), "No such file"),
    "a checksum that leads to itself": (_beside(lambda path: path.symlink_to(path)), "symbolic link"),
    "an enormous checksum": (_beside(_enormous), "larger than"),
    "a checksum of another kind": (_beside(lambda path: path.write_text("MD5 (m) = 12")), "no SHA-256"),
    "another file's checksum": (_beside(lambda path: path.write_text("0" * 64)), "damaged or was changed"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_is_refused_in_one_line_at_the_start(child: CommandChild, model: Path, kind: str) -> None:
    write, words = BROKEN[kind]
    write(model)
    arguments = ["--model", "m.onnx", "--db", "d.db", "--min-free-bytes", "0"]
    end = child.run("edge.commands.classify", ["--watch", "captures", *arguments])
    assert (end.code, end.problem(most_lines=1)) == (2, None), end
    assert words in end.err
    assert "m.onnx" in end.err
    assert not (child.folder / "d.db").exists()


def test_a_broken_model_that_is_swapped_in_leaves_the_old_one_at_work(tmp_path: Path) -> None:
    """Each is refused once, whatever it is; frames that come meanwhile are classified by the old one."""
    model = write_tiny_model(tmp_path / "model.onnx", tiny_card(version="old"))
    daemon = DaemonProcess(tmp_path, model).start()
    daemon.wait_for_log("watching")
    kinds = list(BROKEN.values()) if LONG else [BROKEN[kind] for kind in ("a null name", "a graph that eats memory")]
    writers: list[Callable[[Path], object]] = [*(write for write, _ in kinds), *([endless_model] if LONG else [])]
    broken = list(zip((f"kind {number}" for number in range(len(writers))), writers, strict=True))
    chosen = (mutant for mutant in mutants(tmp_path, SEED + 1, 10 * SWAPPED) if mutant.kind.startswith("classifier"))
    for number, mutant in zip(range(SWAPPED), chosen, strict=False):
        broken.append((f"mutant {number}, {mutant.kind}", partial(_write, mutant.content)))
    for number, (what, write) in enumerate(broken):
        new = tmp_path / "new.onnx"
        write(new)
        lines = daemon.log.count("\n")
        for suffix in ("", ".sha256"):
            beside = model.with_name(model.name + suffix)
            _remove(beside)
            if os.path.lexists(part := new.with_name(new.name + suffix)):
                part.rename(beside)
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGHUP)
        (daemon.captures / f"{number}.jpg").write_bytes(noisy_jpeg(100 + number))
        end = time.monotonic() + _WAIT_S
        while not (said := [line for line in daemon.log.splitlines()[lines:] if "model" in line]):
            assert time.monotonic() < end, f"{what}: no word about it"
            assert not daemon.has_ended, f"{what}: {daemon.log[-2000:]}"
            time.sleep(0.02)
        if "from now on" in said[0]:  # a mutant that does no harm
            assert what.startswith("mutant"), said
            write_tiny_model(tmp_path / "back.onnx", tiny_card(version="old")).replace(model)
            daemon.wait_for_log("model tiny old from now on")
    daemon.wait_for_log("refused", len(writers))
    (daemon.captures / "last.jpg").write_bytes(noisy_jpeg(99))
    write_tiny_model(tmp_path / "back.onnx", tiny_card(version="new"), seed=3).replace(model)
    model.with_name(model.name + ".sha256").unlink(missing_ok=True)
    daemon.wait_for_log("model tiny new from now on")  # noticed without a signal
    daemon.stop()
    assert "Traceback" not in daemon.log
    assert len(daemon.classified()) == len(broken) + 1
    for line in (refused := [line for line in daemon.log.splitlines() if "refused" in line]):
        assert len(line) < 700
    assert len(refused) <= len(broken), "each is told once"


@pytest.mark.faults_long
def test_a_model_that_never_answers_is_given_up(child: CommandChild, model: Path) -> None:
    endless_model(model)
    for module, arguments in (
        ("edge.commands.model", ["verify", "m.onnx"]),
        ("edge.commands.classify", ["captures", "--db", "d.db", "--model", "m.onnx"]),
    ):
        end = child.run(module, arguments, _WAIT_S)
        assert end.code in (1, 2)
        assert "given up: it takes more than 10 s" in end.err


def test_weights_beside_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would notice that they were changed, because the checksum is the model's."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(str(write_tiny_model(tmp_path / "m.onnx")))
    onnx.save_model(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").exists()
    with pytest.raises(ModelError, match="its weights lie in other files"):
        Model(tmp_path / "m.onnx")


def test_a_card_has_at_most_so_many_labels_and_is_read_in_time() -> None:
    label = Label("l", Kind.ANIMAL, "animal", Taxon("A", "species", "", "Mammalia", "Carnivora", "Canidae", "Canis"))
    document = json.loads(replace(tiny_card(), gate=None, labels=(label,)).to_json())
    one = json.dumps(document["labels"])[1:-1]
    labels = [one.replace('"l"', f'"l{n}"').replace('"A"', f'"A b{n}"') for n in range(MOST_LABELS + 1)]
    text = json.dumps(document).replace(one, ", ".join(labels[:-1]))
    start = time.process_time()
    read = Card.from_json(text)
    assert time.process_time() - start < 2
    assert len(Decider(read).tree.nodes) > MOST_LABELS
    with pytest.raises(CardError, match="labels"):
        Card.from_json(json.dumps(document).replace(one, ", ".join(labels)))


@pytest.mark.parametrize("words", ["info", "info --all", "verify"])
def test_no_card_writes_on_the_terminal(tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    card = replace(tiny_card(), notes=("\x1b[2Jgone",), licence="a\x07b", metrics={"\x1b]0;title\x07": {"a": 1}})
    model = write_tiny_model(tmp_path / "m.onnx", card)
    assert edge_model([*words.split(), str(model)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_no_frame_is_blamed_for_a_broken_model(tmp_path: Path) -> None:
    """After a crash, frames are tried in a child, which reads the model again; a broken one may lie there now."""
    frame = tmp_path / "a.jpg"
    frame.write_bytes(noisy_jpeg(1))
    broken: list[Callable[[Path], object]] = [
        lambda path: write_tiny_model(path, sharpness=float("nan")),
        lambda path: path.write_bytes(b""),
    ]
    for write in [*broken, *([endless_model] if LONG else [])]:
        write(tmp_path / "m.onnx")
        trial = TrialProcess(Settings(model=tmp_path / "m.onnx"))
        assert trial.fault(str(frame)) is None
        trial.close()
