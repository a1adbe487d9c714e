"""Capture times, and the reasons to doubt them."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.capture.capture_time import capture_time, host_zone_name
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


FORMS = {
    "2017:05:16 17:48:24": "2017-05-16T14:48:24.000Z",
    "2017:05:16 05:48:24 PM": "2017-05-16T14:48:24.000Z",
    "2017:05:16 5:48:24pm": "2017-05-16T14:48:24.000Z",
    "2017:05:16 05:48:24 p.m.": "2017-05-16T14:48:24.000Z",
    "2017:05:16 12:10:00 AM": "2017-05-15T21:10:00.000Z",
    "2017:05:16 12:10:00 PM": "2017-05-16T09:10:00.000Z",
    "2017-05-16 17:48:24": "2017-05-16T14:48:24.000Z",
    "2017/05/16 17:48:24": "2017-05-16T14:48:24.000Z",
    "2017.05.16 17.48.24": "2017-05-16T14:48:24.000Z",
    "2017-05-16T17:48:24": "2017-05-16T14:48:24.000Z",
    "2017: 5:16  7: 8: 9": "2017-05-16T04:08:09.000Z",
    "20170516 174824": "2017-05-16T14:48:24.000Z",
    "16/05/2017 17:48:24": "2017-05-16T14:48:24.000Z",
    "05/16/2017 05:48:24 PM": "2017-05-16T14:48:24.000Z",
    "16.05.2017 17:48": "2017-05-16T14:48:00.000Z",
    "2017:05:16 24:10:00": "2017-05-15T21:10:00.000Z",  # phones count the hours of a day from 1 to 24
    "2017:05:16 17:48:60": "2017-05-16T14:48:59.000Z",
    "2017:05:16 17:48:24.125": "2017-05-16T14:48:24.125Z",
    "2017:05:16 17:48:24,5": "2017-05-16T14:48:24.500Z",
    "2017:05:16 05:48:24-05:00": "2017-05-16T10:48:24.000Z",
    "2017:05:16 05:48:24+3": "2017-05-16T02:48:24.000Z",
    "2017:05:16 05:48:24 +0530": "2017-05-16T00:18:24.000Z",
    "2017-05-16T05:48:24Z": "2017-05-16T05:48:24.000Z",
    "2017:05:16 05:48:24 PM +02:00": "2017-05-16T15:48:24.000Z",
    "2017:05:16 05:48:24 GMT+3": "2017-05-16T02:48:24.000Z",
}


@pytest.mark.parametrize("text", FORMS)
def test_forms_that_cameras_write(text: str) -> None:
    captured = capture_time(Exif(text), 1_000_000.0, NAIROBI, NOW)
    assert (iso_utc(captured.at), captured.doubts, captured.raw) == (FORMS[text], (), text)
    assert captured.source.split(",")[0] == "DateTimeOriginal"
    assert ("12_hour" in captured.source) == (text[-1] in "mM." or "PM" in text)


@pytest.mark.parametrize("offset", ["+3", "+03", "+0300", "+03:00", " +03:00 "])
def test_offsets_that_cameras_write(offset: str) -> None:
    captured = capture_time(Exif("2017:05:16 17:48:24", "", offset), 0.0, LONDON, NOW)
    assert (iso_utc(captured.at), captured.zone) == ("2017-05-16T14:48:24.000Z", "+03:00")
    assert captured.source == "DateTimeOriginal,offset_tag"


@pytest.mark.parametrize(
    "text",
    ["06/05/2017 17:48:24", "2017:05:16", "yesterday", "2017:13:01 00:00:00", "2017:05:16 25:00:00", "x\x07" * 99],
)
def test_a_text_that_is_not_understood_is_kept_in_bounds_and_said(text: str) -> None:
    captured = capture_time(Exif(text), 1.5e9, NAIROBI, NOW)
    assert captured.doubts == ("unreadable_time",)
    assert (captured.source, captured.at.timestamp()) == ("file", 1.5e9)
    assert captured.raw
    assert captured.raw.isprintable()
    assert len(captured.raw) <= 64


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "0000:00:00 12:00:01", "-- --", "0001-01-01"]
)
def test_a_clock_that_was_never_set_wrote_no_time(text: str) -> None:
    assert capture_time(Exif(text), 1.5e9, NAIROBI, NOW).doubts == ("no_exif",)


RIGHT, LATER = ("2017:05:16 17:48:24", "", ""), ("2024:11:12 10:00:00", "", "")


@pytest.mark.parametrize(
    ("exif", "raw", "source", "doubts"),
    [
        (Exif(RIGHT[0], digitized=LATER, changed=LATER), RIGHT[0], "DateTimeOriginal", ()),
        (Exif(digitized=RIGHT, changed=LATER), RIGHT[0], "DateTimeDigitized", ()),
        (Exif("0000:00:00 00:00:00", digitized=RIGHT, changed=LATER), RIGHT[0], "DateTimeDigitized", ()),
        (Exif(changed=RIGHT), RIGHT[0], "DateTime", ()),  # some cameras write no other tag
        (Exif(changed=LATER, edited=True), LATER[0], "DateTime", ("edited",)),
        (Exif("0000:00:00 00:00:00", changed=LATER), LATER[0], "DateTime", ("edited",)),
        (Exif("no time", changed=LATER), LATER[0], "DateTime", ("edited",)),
        (Exif(changed=LATER, edited=True, gps_time="2017:05:16 14:48:24"), "2017:05:16 14:48:24", "GPSTimeStamp", ()),
    ],
)
def test_the_tag_that_counts(exif: Exif, raw: str, source: str, doubts: tuple[str, ...]) -> None:
    captured = capture_time(exif, 0.0, NAIROBI, NOW)
    assert (captured.raw, captured.source, captured.doubts) == (raw, source, doubts)


def test_the_offset_of_the_same_time_in_another_tag_counts() -> None:
    exif = Exif(RIGHT[0], changed=(RIGHT[0], "", "+05:00"))
    assert iso_utc(capture_time(exif, 0.0, NAIROBI, NOW).at) == "2017-05-16T12:48:24.000Z"
    other = Exif(RIGHT[0], changed=(LATER[0], "", "+05:00"))  # of an edit in another country
    assert iso_utc(capture_time(other, 0.0, NAIROBI, NOW).at) == "2017-05-16T14:48:24.000Z"


def test_the_repeated_hour_of_autumn_is_marked() -> None:
    captured = capture_time(Exif("2025:10:26 01:30:00"), 0.0, LONDON, NOW)
    assert (iso_utc(captured.at), captured.doubts) == ("2025-10-26T00:30:00.000Z", ("dst_repeat",))
    assert captured.repeated.total_seconds() == 3600
    assert capture_time(Exif("2025:10:26 02:00:00"), 0.0, LONDON, NOW).doubts == ()


def test_the_hosts_state_is_told_where_the_host_tells_it(tmp_path: Path) -> None:
    for number, value in enumerate(("41500", "63000", "broken")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(value)
    assert temperature_c(tmp_path) == 63.0
    assert temperature_c(tmp_path / "nowhere") is None
    assert clock_synchronised() in (True, False, None)
