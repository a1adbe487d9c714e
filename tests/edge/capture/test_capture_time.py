"""Capture times, and the reasons to doubt them."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.capture.capture_time import capture_time, host_zone_name
from edge.database.clock_rollback import ClockRollback
from edge.database.schema import open_database
from edge.host.status import clock_synchronised, temperature_c
from edge.image.exif import Exif
from edge.timestamps import iso_utc

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NAIROBI, LONDON = ZoneInfo("Africa/Nairobi"), ZoneInfo("Europe/London")


@pytest.mark.parametrize(
    ("exif", "zone", "at", "doubts"),
    [
        (Exif("2026:05:01 10:00:00"), NAIROBI, "2026-05-01T07:00:00.000Z", ()),
        (Exif("2026:05:01 10:00:00", "25"), NAIROBI, "2026-05-01T07:00:00.250Z", ()),
        (Exif("2026:05:01 10:00:00", "", "-03:00"), NAIROBI, "2026-05-01T13:00:00.000Z", ()),
        (Exif("2026:03:29 01:30:00"), LONDON, "2026-03-29T01:30:00.000Z", ("dst_gap",)),
        (Exif("1999:01:01 00:00:00"), NAIROBI, "1998-12-31T21:00:00.000Z", ("before_2005",)),
        (Exif("2031:01:01 00:00:00"), NAIROBI, "2030-12-31T21:00:00.000Z", ("future",)),
        (Exif(), NAIROBI, "1970-01-12T13:46:40.000Z", ("no_exif", "before_2005")),
        (Exif("0000:00:00 00:00:00"), NAIROBI, "1970-01-12T13:46:40.000Z", ("no_exif", "before_2005")),
        (Exif("0001:01:01 00:00:00"), NAIROBI, "1970-01-12T13:46:40.000Z", ("no_exif", "before_2005")),
        (Exif("2026:05:01 10:00:00", "", "+99:99"), NAIROBI, "2026-05-01T07:00:00.000Z", ()),
    ],
)
def test_capture_time(exif: Exif, zone: ZoneInfo, at: str, doubts: tuple[str, ...]) -> None:
    captured = capture_time(exif, 1_000_000.0, zone, NOW)
    assert (iso_utc(captured.at), captured.doubts) == (at, doubts)
    assert captured.raw == exif.date_time_original


@pytest.mark.parametrize("mtime_s", [-1e18, 1e18, float("1e300")])
def test_a_file_time_that_no_calendar_holds(mtime_s: float) -> None:
    assert "no_exif" in capture_time(Exif(), mtime_s, NAIROBI, NOW).doubts


def test_without_a_zone_the_hosts_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Africa/Nairobi")
    assert host_zone_name() == "Africa/Nairobi"
    assert capture_time(Exif("2026:05:01 10:00:00"), 0.0, None, NOW).doubts == ("zone_assumed",)


def test_a_clock_that_runs_backwards_is_noticed_until_it_has_caught_up(tmp_path: Path) -> None:
    database = open_database(tmp_path / "d.db")
    assert not _backwards(database, "/c/IMG_0001.JPG", "2026:05:01 10:00:00")
    assert not _backwards(database, "/c/IMG_0002.JPG", "2026:05:01 10:05:00")
    assert _backwards(database, "/c/IMG_0003.JPG", "2015:01:01 00:00:00")  # the battery was changed
    assert _backwards(database, "/c/IMG_0004.JPG", "2015:01:01 00:10:00")
    assert not _backwards(database, "/d/IMG_0005.JPG", "2015:01:01 00:20:00")  # another folder, another camera
    assert not _backwards(database, "/c/IMG_0006.JPG", "2026:05:02 10:00:00")
    assert not _backwards(database, "/c/IMG_0000.JPG", "2026:05:01 09:00:00")  # sent late, with its own number
    database.close()


def _backwards(database: sqlite3.Connection, path: str, taken: str) -> bool:
    """Check a frame's clock, with the memory of earlier frames and with the database alone, and log the frame."""
    captured = capture_time(Exif(taken), 0.0, NAIROBI, NOW)
    at = iso_utc(captured.at)
    order = ClockRollback(database)
    backwards = order.runs_backwards(path, at, captured)
    media = database.execute(
        "INSERT INTO media (path, digest, bytes, captured_at, captured_at_raw, clock_doubt, received_at, status) "
        "VALUES (?, ?, 1, ?, ?, ?, ?, 'classified')",
        (path, path, at, taken, "backwards" if backwards else None, at),
    ).lastrowid
    database.execute(
        "INSERT INTO file (path, bytes, mtime_ns, media, seen_at) VALUES (?, 1, 1, ?, ?)", (path, media, at)
    )
    return backwards


def test_the_hosts_state_is_told_where_the_host_tells_it(tmp_path: Path) -> None:
    for number, value in enumerate(("41500", "63000", "broken")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(value)
    assert temperature_c(tmp_path) == 63.0
    assert temperature_c(tmp_path / "nowhere") is None
    assert clock_synchronised() in (True, False, None)
