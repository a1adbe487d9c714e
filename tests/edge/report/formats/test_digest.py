"""A day in a text message: never a byte too many, and the rarest animal is in it."""

import json
from pathlib import Path

import pytest

from edge.commands.report import main


@pytest.mark.parametrize("size", [20, 51, 80, 140, 400])
def test_fits_and_is_plain(made: Path, size: int, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    words = ["digest", "--db", str(made), "--since", "2026-03-02", "--until", "2026-03-05", "--max-bytes", str(size)]
    assert main(words) == 0
    line = capsysbinary.readouterr().out
    assert len(line.rstrip(b"\n")) <= size
    assert line.isascii()
    assert line.startswith(b"03-02 ")
    assert b"ev" in line


def test_as_json_the_whole_day(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["digest", "--db", str(made), "--since", "2026-03-02", "--until", "2026-03-05", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert sum(facts["species"].values()) == facts["events"] > 0
    assert facts["frames"] > facts["blank"] > 0


def test_without_a_period_it_is_yesterday(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["digest", "--db", str(made), "--json"])
    assert json.loads(capsys.readouterr().out)["frames"] == 0
