"""Lines in systemd's journal: their fields, their priorities and their limited number."""

import logging
import os
import socket
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

from edge.capture.capture_time import CaptureTime
from edge.capture.files import FileState
from edge.database.frame_result import ClassifiedFrame, Conclusion
from edge.host.journald import FRAME_CLASSIFIED, TIMES, JournalHandler, fields, is_journal
from edge.inference.decision import Decision
from edge.service import frame_log
from edge.service.frame_log import FrameLog
from edge.timestamps import now
from edge.vocabulary import DecisionReason, Kind


class Journal:
    """Stands in for journald and parses its datagrams."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver

    def entry(self) -> dict[str, bytes]:
        data, found = self._receiver.recv(1 << 16), {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                length = int.from_bytes(rest[:8], "little")
                value, rest = rest[8 : 8 + length], rest[9 + length :]
            found[name.decode()], data = value, rest
        return found

    def is_silent(self) -> bool:
        self._receiver.setblocking(False)
        try:
            self._receiver.recv(1)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.settimeout(5)
        yield Journal(receiver)


@pytest.fixture
def said(journal: Journal, tmp_path: Path) -> Iterator[logging.Logger]:
    handler, logger = JournalHandler(str(tmp_path / "journal")), logging.getLogger("edge")
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    handler.close()
    logger.level, logger.propagate = before


def scored(name: str = "impala") -> ClassifiedFrame:
    return ClassifiedFrame(
        FileState("/srv/captures/a\nb\udcff.jpg", 1, 1),
        "d1",
        640,
        480,
        "ridge",
        Conclusion(
            CaptureTime(now(), "", "UTC", ()),
            Decision(Kind.ANIMAL, "Aepyceros melampus", "species", name, 0.9, DecisionReason.CONFIDENT),
            np.zeros(1, np.float32),
            None,
            False,
            np.zeros((12, 16), np.uint8),
        ),
    )


def test_a_frame_can_be_found_by_its_fields(journal: Journal, said: logging.Logger) -> None:
    FrameLog().add(scored(), "a line for people")
    entry = journal.entry()
    assert entry["MESSAGE"] == b"a line for people"
    assert entry["PRIORITY"] == b"6"
    assert entry["MESSAGE_ID"] == FRAME_CLASSIFIED.encode()
    assert entry["FRAME"] == b"/srv/captures/a\nb\xff.jpg"  # neither UTF-8 nor one line: still the file's own name
    assert entry["TAXON"] == b"Aepyceros melampus"
    assert entry["CONFIDENCE"] == b"0.9000"


def test_levels_become_priorities(journal: Journal, said: logging.Logger) -> None:
    for level in (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO):
        said.log(level, "level %d", level)
    assert [journal.entry()["PRIORITY"] for _ in range(4)] == [b"2", b"3", b"4", b"6"]


def test_one_fault_a_thousand_times_is_a_few_lines_and_a_count(
    journal: Journal, said: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        said.warning("%s: corrupt", f"{number}.jpg", extra=fields("id", FRAME=f"{number}.jpg"))
    said.error("disk full")  # another kind is not held back by the first
    entries = [journal.entry() for _ in range(TIMES + 1)]
    assert [entry["FRAME"] for entry in entries[:-1]] == [f"{number}.jpg".encode() for number in range(TIMES)]
    assert entries[-1]["MESSAGE"] == b"disk full"
    later = logging.LogRecord("edge", logging.WARNING, "", 0, "%s: corrupt", ("z.jpg",), None)
    later.created += 61
    said.handle(later)
    assert journal.entry()["MESSAGE"] == f"z.jpg: corrupt (and {1000 - TIMES} more of this kind before)".encode()


def test_under_a_backlog_no_frame_has_a_line_and_the_sum_has_one(journal: Journal, said: logging.Logger) -> None:
    log = FrameLog()
    log.waiting(frame_log.BACKLOG)
    for name in ["blank"] * 300 + ["impala"] * 80:
        log.add(scored(name), name)
    assert journal.is_silent()
    log.flush()
    assert journal.entry()["MESSAGE"] == b"380 frames: 300 blank, 80 impala; 20 waiting"


def test_without_a_backlog_a_fast_trickle_is_summed_up_as_well(journal: Journal, said: logging.Logger) -> None:
    log = FrameLog()
    for _ in range(TIMES + 5):
        log.add(scored(), "a line")
    log.flush()
    messages = [journal.entry()["MESSAGE"] for _ in range(TIMES + 1)]
    assert messages == [b"a line"] * TIMES + [b"5 frames: 5 impala; 0 waiting"]


def test_while_journald_is_away_the_line_goes_to_the_stream(
    said: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal").unlink()
    said.error("disk full")
    assert capfd.readouterr().err == "<3>disk full\n"


def test_only_the_stream_that_the_manager_connected_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        assert isinstance(stream, TextIOWrapper)
        status = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": "garbage"})
        assert not is_journal(stream, {})
