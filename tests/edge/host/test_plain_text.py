"""Nothing that a message quotes writes on the terminal."""

import io
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from edge.commands.runner import ExitCode, run
from edge.host.one_line import printable
from edge.host.plain_text import PlainText
from edge.settings.strict_toml import SettingsError
from tests.support.database_by_hand import ByHand

REPOSITORY = Path(__file__).parents[3]
HOSTILE = "a\x1b[31mb\rc\nd\x9bm\u202ee\u2066f\u200bg\ufeffh\udcffi\x00\x07\u2028"


def test_control_characters_and_turns_of_the_reading_order_are_escaped() -> None:
    assert printable("Zoé, 北 ÿ") == "Zoé, 北 ÿ"
    assert printable(HOSTILE).isprintable()
    assert printable("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\nb\\u202e"


def test_a_line_end_within_a_message_begins_no_line() -> None:
    out = io.StringIO()
    print("one", HOSTILE, sep="\n", file=PlainText(out))
    assert out.getvalue().split("\n") == ["one", printable(HOSTILE), ""]


def test_messages_of_several_lines_keep_them_and_nothing_else() -> None:
    out = io.StringIO()
    PlainText(out, paragraphs=True).write("fold\trecall\n1\x1b[31m\t0.9\n")
    assert out.getvalue() == "fold\trecall\n1\\x1b[31m\t0.9\n"


def test_what_the_terminal_cannot_write_is_escaped() -> None:
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    PlainText(out).write("Zoé\n")
    out.seek(0)
    assert out.read() == "Zo\\xe9\n"


def test_every_command_prints_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        print(HOSTILE)
        logging.getLogger("library").warning("%s", HOSTILE)
        raise SettingsError(HOSTILE)

    assert run("edge-x", command) == ExitCode.WRONG_USE
    out, err = capsys.readouterr()
    assert out == f"{printable(HOSTILE)}\n"
    assert err.endswith(f"edge-x: {printable(HOSTILE)}\n")
    assert all(line.isprintable() for line in err.splitlines())


@pytest.mark.parametrize("name", ["csv", "jsonl", "events", "megadetector", "health", "digest"])
def test_a_report_on_a_terminal_writes_nothing_but_text(name: str, tmp_path: Path) -> None:
    database, text = ByHand(tmp_path / "detections.db"), HOSTILE.replace("\udcff", "")
    database.deployment(text)
    media = database.frame(0, "lion", camera=text, path=f"/c/{text}.jpg")
    database.connection.execute("UPDATE observation SET taxon = ?, common_name = ?", (text, text))
    database.answer(media, "lion", by=text, note=text)
    database.unreadable(f"/d/{text}", text)
    database.connection.close()
    master, slave = pty.openpty()
    since = ["--since", "2026-05-01"] if name == "digest" else []
    command = [sys.executable, "-m", "edge.commands.report", name, "--db", str(tmp_path / "detections.db"), *since]
    subprocess.run(command, stdout=slave, stderr=slave, cwd=REPOSITORY, timeout=60, check=False)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 65536)
        except OSError:  # so Linux tells that the other end is closed
            break
    os.close(master)
    lines = shown.decode().replace("\r\x1b[K", "").split("\r\n")
    assert lines[0]
    assert all(line.isprintable() for line in lines), lines
