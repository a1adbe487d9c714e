"""What people see of a run: lines for frames, a counter that other lines don't run into, and what was done."""

import io
import logging
import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.database.frame_result import ClassifiedFrame, Conclusion, Duplicate, FailedFile
from edge.inference.decision import Candidate, Decision
from edge.service.console import Console, configure_logging
from edge.timestamps import now
from edge.vocabulary import DecisionReason, FileReason, Kind

CARD = Path("/srv/card")
FOX = Candidate("Vulpes vulpes", "species", "red fox", 0.34)


class LoggedFiles:
    """A database in which every file has a copy."""

    def detection(self, file: FileState) -> dict[str, Any]:
        return {"path": file.path}

    def other_path(self, file: FileState) -> str | None:
        return str(CARD / "a" / "IMG_1.JPG")


def frame(name: str, decision: Decision) -> ClassifiedFrame:
    return ClassifiedFrame(
        FileState(str(CARD / name), 1, 1),
        "d",
        640,
        480,
        None,
        Conclusion(
            CaptureTime(now(), "2024:05:01 13:45:10", "UTC", ()),
            decision,
            None,
            None,
            False,
            np.zeros((12, 16), np.uint8),
        ),
    )


LION = Decision(Kind.ANIMAL, "Panthera leo", "species", "lion", 0.94, DecisionReason.CONFIDENT, (FOX,))


@pytest.fixture
def terminal() -> Iterator[tuple[TextIO, int]]:
    """A terminal's end to write to, and the one on which it is seen."""
    seen, written = pty.openpty()
    with os.fdopen(written, "w") as out:
        yield out, seen
    os.close(seen)


def set_up_logging(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command does for its process; the tests' own handlers stand aside meanwhile."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger("edge"), "level", logging.INFO)
    configure_logging(False, False, console.live_line)


def screen(seen: int) -> list[str]:
    """The lines as a terminal shows them in the end, of all that was written to it so far."""
    os.set_blocking(seen, False)
    data = b""
    try:
        while part := os.read(seen, 65536):
            data += part
    except BlockingIOError:
        pass
    lines = [""]
    for token in re.findall(r"\r\n|\r|\n|\x1b\[K|[^\r\n\x1b]+", data.decode()):
        if token in ("\r\n", "\n"):
            lines.append("")
        elif token in ("\r", "\x1b[K"):
            lines[-1] = ""  # always together here: back to the beginning, and cleared
        else:
            lines[-1] += token
    return lines


def test_log_lines_and_frames_stand_above_the_counter(
    terminal: tuple[TextIO, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = terminal
    monkeypatch.setattr("sys.stderr", out)
    console = Console(out, CARD)
    set_up_logging(console, monkeypatch)
    console.begin(LoggedFiles())
    console.expect(5)
    console.pass_by(1)
    logging.getLogger("edge.elsewhere").warning("the disk is slow")
    console(frame("a/IMG_1.JPG", LION))
    logging.getLogger("edge.elsewhere").warning("the disk is full")
    shown = screen(seen)
    assert shown[:3] == [
        "WARNING the disk is slow",
        "2024-05-01 13:45:10  a/IMG_1.JPG  lion (Panthera leo)  0.94",
        "WARNING the disk is full",
    ]
    assert shown[3:] == ["1 of 5 files"], "the counter is back below the last line, and no rate is made up"
    console.finish()
    done = screen(seen)
    assert re.fullmatch(r"INFO 1 new, 1 already logged in \d\.\d s", done[0])
    assert done[1:] == [""]


@pytest.mark.parametrize(
    ("read", "elapsed_s", "words"),
    [
        (0, 30.0, "0 of 100 files"),
        (2, 5.0, "2 of 100 files, 0.4/s, 4:05 left"),
        (1, 60.0, "1 of 100 files, 1.0/min, 1h39 left"),
        (50, 2.0, "50 of 100 files, 25/s, 0:02 left"),
    ],
)
def test_the_rate_is_never_rounded_to_nothing(read: int, elapsed_s: float, words: str) -> None:
    console = Console(io.StringIO(), CARD)
    console.expect(100)
    console.classified = read
    assert console._counter(elapsed_s) == words


def test_frames_of_two_folders_differ_and_a_copy_names_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    console = Console(out, CARD)
    console.begin(LoggedFiles())
    console(frame("a/IMG_1.JPG", LION))
    console(frame("b/IMG_1.JPG", LION))
    console(Duplicate(FileState(str(CARD / "b/IMG_2.JPG"), 1, 1), "d"))
    console(Duplicate(FileState("/elsewhere/IMG_2.JPG", 1, 1), "d"))
    assert [line.split("  ", 1)[-1] for line in out.getvalue().splitlines()[:2]] == [
        "a/IMG_1.JPG  lion (Panthera leo)  0.94",
        "b/IMG_1.JPG  lion (Panthera leo)  0.94",
    ]
    assert out.getvalue().splitlines()[2:] == [
        "b/IMG_2.JPG  same content as a/IMG_1.JPG",
        "/elsewhere/IMG_2.JPG  same content as a/IMG_1.JPG",
    ]


@pytest.mark.parametrize(
    ("kind", "reason", "candidates", "words"),
    [
        (Kind.UNKNOWN, DecisionReason.BELOW_THRESHOLD, (FOX,), "unknown (best guess: red fox, 34%)"),
        (
            Kind.UNKNOWN,
            DecisionReason.OUT_OF_DISTRIBUTION,
            (FOX,),
            "unknown (unlike what the model knows; best guess: red fox, 34%)",
        ),
        (Kind.UNKNOWN, DecisionReason.BELOW_THRESHOLD, (), "unknown"),
        (Kind.BLANK, DecisionReason.BLANK, (FOX,), "blank  0.97"),
        (Kind.HUMAN, DecisionReason.CONFIDENT, (FOX,), "human  0.97"),
    ],
)
def test_a_decision_in_words(kind: Kind, reason: DecisionReason, candidates: tuple[Candidate, ...], words: str) -> None:
    out = io.StringIO()
    console = Console(out, CARD)
    console(frame("IMG_1.JPG", Decision(kind, None, None, kind, 0.97, reason, candidates)))
    console(frame("IMG_1.JPG", Decision(Kind.ANIMAL, "Aves", "class", "bird", 0.81, DecisionReason.ROLLED_UP)))
    assert out.getvalue().splitlines() == [
        f"2024-05-01 13:45:10  IMG_1.JPG  {words}",
        "2024-05-01 13:45:10  IMG_1.JPG  bird (Aves)  0.81  rolled up",
    ]


def test_the_last_line_counts_what_is_known_and_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().addHandler(caplog.handler)
    console = Console(io.StringIO(), CARD)
    with caplog.at_level(logging.INFO, "edge"):
        console.waiting(2, known=147)
        console.finish()
        console(FailedFile(FileState("/srv/card/x.jpg", 1, 1), None, FileReason.CORRUPT, "no end", final=True))
        console.finish("3 of 5 left")
    said = [record.getMessage() for record in caplog.records if "new," in record.getMessage()]
    lines = [line[: line.rindex(" in ")] for line in said]
    assert lines == [
        "0 new, 147 already logged, 2 waiting",
        "0 new, 147 already logged, 1 unreadable, 2 waiting, 3 of 5 left",
    ]


def test_json_has_one_object_for_each_logged_file_and_none_for_a_copy() -> None:
    out = io.StringIO()
    console = Console(out, CARD, as_json=True)
    console.begin(LoggedFiles())
    console(frame("a\x85.jpg", LION))
    console(Duplicate(FileState("/srv/card/b.jpg", 1, 1), "d"))
    assert out.getvalue() == '{"path": "/srv/card/a\\u0085.jpg"}\n'


def test_the_output_may_fail_while_a_log_line_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the output goes away: it is said once, and nothing waits for ever."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as out:
        console = Console(out, CARD)
        set_up_logging(console, monkeypatch)
        console(frame("a.jpg", LION))
        console(frame("b.jpg", LION))
    assert console.classified == 2
