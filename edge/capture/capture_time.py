"""When a frame was taken, and how far its clock can be trusted."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

from edge.image.exif import Exif
from edge.timestamps import EARLIEST_PLAUSIBLE, FUTURE_ALLOWANCE, zone_named
from edge.vocabulary import ClockDoubt

LONGEST_RAW = 64
"""Characters of a time that are kept as the camera wrote them."""

_USUAL = re.compile(r"\d{4}:\d\d:\d\d ([01]\d|2[0-3]):\d\d:\d\d", re.ASCII)
_WITHOUT_MARKS = re.compile(r"(\d{4})(\d\d)(\d\d)[T _-]?(\d\d)(\d\d)(\d\d)", re.ASCII)
_TIME = re.compile(
    r"""
    (?: (?P<year>\d{4}) (?P<mark>[-:/. ]) \s? (?P<month>\d{1,2}) (?P=mark) \s? (?P<day>\d{1,2})   # the year first
      | (?P<one>\d{1,2}) (?P<dash>[-:/.]) (?P<two>\d{1,2}) (?P=dash) (?P<last_year>\d{4}) )       # or last
    (?: ,?\s* T? \s* (?<=[\sT]) | [-:_] )
    (?P<hour>\d{1,2}) (?P<between>[-:.]) \s? (?P<minute>\d{1,2})
    (?: (?P=between) \s? (?P<second>\d{1,2}) (?: [.,:] (?P<fraction>\d+) )? )?
    (?: \s* (?P<half>[AP]) \.? (?: \s? M \.? )? )?
    (?: \s* (?: (?:UTC|GMT)? \s* (?P<sign>[-+]) \s? (?P<hours>\d{1,2}) (?: :? (?P<minutes>\d{2}) )? (?: :? 00 )?
              | (?P<utc>Z|UTC|GMT) ) )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_OFFSET = re.compile(r"(?:UTC|GMT)?\s*([-+])(\d{1,2})(?::?(\d{2}))?(?::?00)?|(Z|UTC|GMT)", re.IGNORECASE | re.ASCII)
_UNSET = re.compile(r"[^1-9A-Za-z\x80-\U0010ffff]*|0{4}\D.*|0*1\D0?1\D0?1\b.*", re.DOTALL | re.ASCII)
"""Zeros and blanks, or the first day of the calendar: what cameras whose clock was never set write."""


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """The time at which a frame was taken, with the reasons to doubt it."""

    at: datetime
    """Aware, UTC."""
    raw: str
    """The time as the camera wrote it; empty when it wrote none."""
    zone: str
    """Name of the zone that `raw` was read in."""
    doubts: tuple[ClockDoubt, ...]
    """Reasons to doubt the time; empty when there is none."""
    source: str = ""
    """The tag that was read (`file`: the file's modification time) and how, comma-separated."""
    repeated: timedelta = timedelta()
    """How much later the frame was taken if this is the second time that the clocks showed `raw` in that night."""


@dataclass(frozen=True, slots=True)
class ReadTime:
    """A time as text, understood."""

    local: datetime
    """Without a zone."""
    offset: timezone | None
    """Behind the time; `None` when it has none."""
    twelve_hours: bool
    """Whether it says AM or PM."""


def capture_time(exif: Exif, mtime_s: float, zone: ZoneInfo | None, received_at: datetime) -> CaptureTime:
    """Read the time that EXIF tells; fall back on the file's modification time and say so.

    DateTimeOriginal counts before DateTimeDigitized, DateTime and the satellites' time. EXIF times carry no zone unless
    an offset is told. `zone` is the camera's; with `None` the host's zone is taken, and the doubt `zone_assumed` noted.
    """
    doubts: list[ClockDoubt] = []
    name = host_zone_name() if zone is None else zone.key
    repeated = timedelta()
    raw, read, offset, source = _best_time(exif, doubts)
    if read is None:
        at = _from_timestamp(mtime_s)
    elif offset is not None:
        at, name = read.local.replace(tzinfo=offset).astimezone(UTC), offset_name(offset)
    else:
        at, repeated, of_the_zone = at_zone(read.local, zone)
        if zone is None:
            doubts.append(ClockDoubt.ZONE_ASSUMED)
        doubts.extend(of_the_zone)
    if at < EARLIEST_PLAUSIBLE:
        doubts.append(ClockDoubt.BEFORE_2005)
    if at > received_at + FUTURE_ALLOWANCE:
        doubts.append(ClockDoubt.FUTURE)
    return CaptureTime(at, raw, name, tuple(doubts), source, repeated)


def at_zone(local: datetime, zone: ZoneInfo | None) -> tuple[datetime, timedelta, tuple[ClockDoubt, ...]]:
    """The moment at which clocks of `zone` (`None`: the host's) show `local`, the earlier one if they show it twice.

    Gives in UTC the moment, how much later they show it again, and the doubts.
    """
    if (zone := zone or _host_zone()) is None:
        return local.astimezone(UTC), timedelta(), ()
    first = local.replace(tzinfo=zone)
    second = first.replace(fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    at = first.astimezone(UTC)
    if before == after or before is None or after is None:
        return at, timedelta(), ()
    if before < after:
        return at, timedelta(), (ClockDoubt.DST_GAP,)  # the clocks of this zone never showed that time
    return at, before - after, (ClockDoubt.DST_REPEAT,)


def read_time(text: str, sub_seconds: str = "") -> ReadTime | None:
    """Understand a time in any form that cameras write; `None` for one that can be read in two ways, or in none."""
    if _USUAL.fullmatch(text):
        with suppress(ValueError):  # a leap second, or no day of the calendar
            local = datetime.fromisoformat(text[:10].replace(":", "-") + text[10:])
            return _in_calendar(_with_fraction(local, sub_seconds), None, False)
    match = _TIME.fullmatch(_WITHOUT_MARKS.sub(r"\1:\2:\3 \4:\5:\6", text, count=1))
    if match is None:
        return None
    part = match.groupdict()
    hour = int(part["hour"])
    if part["half"]:
        # Some cameras write 17:48 PM.
        if hour > 12 and part["half"] in "aA":
            return None
        hour = hour % 12 + 12 * (part["half"] in "pP") if hour <= 12 else hour
    if hour == 24:
        hour = 0  # as the first hour of the day that is named, seen on phones whose clock counts from 1 to 24
    try:
        date = _date(part)
        if date is None:
            return None
        second = int((part["second"] or "0").replace("60", "59"))  # a leap second
        local = datetime(*date, hour, int(part["minute"]), second, tzinfo=UTC).replace(tzinfo=None)
        offset = _offset_of(part["sign"], part["hours"], part["minutes"], part["utc"])
    except ValueError:
        return None
    fraction = part["fraction"] or sub_seconds
    return _in_calendar(_with_fraction(local, fraction), offset, bool(part["half"]))


def offset_name(offset: timezone) -> str:
    """An offset from UTC as `+HH:MM`."""
    minutes = round((offset.utcoffset(None)).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def host_zone_name() -> str:
    """Name of the host's time zone; where the host does not tell it, its present offset from UTC."""
    return _host_zone_name(os.environ.get("TZ", "").removeprefix(":"))


def _host_zone() -> ZoneInfo | None:
    """The host's zone, where its name is one of the tables."""
    name = host_zone_name()
    return None if name[:1] in "+-" else zone_named(name)


@cache  # the C library too reads the host's zone once, when the process begins
def _host_zone_name(named: str) -> str:
    named = named or os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    try:
        return zone_named(named).key
    except ValueError:
        return datetime.now().astimezone().strftime("%z")


def _from_timestamp(seconds: float) -> datetime:
    """A file's time as a moment; 1970 for a time that no calendar holds."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _best_time(exif: Exif, doubts: list[ClockDoubt]) -> tuple[str, ReadTime | None, timezone | None, str]:
    """The text of the most trusted tag that can be understood, what it says, its offset from UTC, and its source."""
    told = (
        ("DateTimeOriginal", exif.date_time_original, exif.sub_seconds, exif.offset),
        ("DateTimeDigitized", *exif.digitized),
        ("DateTime", *exif.changed),
    )
    not_understood = ""
    written = ""
    for tag, text, sub_seconds, offset_text in told:
        if not text:
            continue
        written = written or _plain(text)
        read = read_time(text, sub_seconds)
        if read is None:
            not_understood = not_understood or ("" if _UNSET.fullmatch(text) else _plain(text))
            continue
        if tag == "DateTime" and (exif.edited or written != _plain(text)):
            if exif.gps_time and read_time(exif.gps_time):
                break
            doubts.append(ClockDoubt.EDITED)  # what the camera wrote is gone, or was no time
        how = ["12_hour"] if read.twelve_hours else []
        offset = read.offset
        if offset is not None:
            how.append("offset_in_text")
        else:
            same = (told[place][3] for place in range(3) if told[place][1] == text)
            for other in (offset_text, *same):
                if (offset := _parse_offset(other)) is not None:
                    how.append("offset_tag")
                    break
        return _plain(text), read, offset, ",".join([tag, *how])
    if exif.gps_time and (read := read_time(exif.gps_time)) is not None:
        return _plain(exif.gps_time), read, UTC, "GPSTimeStamp"
    doubts.append(ClockDoubt.UNREADABLE_TIME if not_understood else ClockDoubt.NO_EXIF)
    return not_understood or written, None, None, "file"


def _plain(text: str) -> str:
    """A camera's text without control characters, and no longer than a time can be."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:LONGEST_RAW]).strip()


def _date(part: dict[str, str]) -> tuple[int, int, int] | None:
    """Year, month and day; `None` where day and month could be either."""
    if part["year"]:
        return int(part["year"]), int(part["month"]), int(part["day"])
    year, one, two = int(part["last_year"]), int(part["one"]), int(part["two"])
    if part["dash"] == "." or one > 12 or one == two:
        return year, two, one
    return (year, one, two) if two > 12 else None


def _with_fraction(moment: datetime, digits: str) -> datetime:
    digits = digits.strip()
    return moment.replace(microsecond=int(f"{digits:0<6}"[:6])) if digits.isascii() and digits.isdigit() else moment


def _in_calendar(local: datetime, offset: timezone | None, twelve_hours: bool) -> ReadTime | None:
    """`None` for the calendar's first and last year: no zone can be applied to them."""
    return ReadTime(local, offset, twelve_hours) if 1 < local.year < 9999 else None


def _parse_offset(text: str) -> timezone | None:
    if not text:
        return None  # as with most cameras
    match = _OFFSET.fullmatch(text.strip())
    try:
        return None if match is None else _offset_of(*match.groups())
    except ValueError:
        return None


def _offset_of(sign: str | None, hours: str | None, minutes: str | None, utc: str | None) -> timezone | None:
    """Raises `ValueError` for what no clock of the world is ahead or behind."""
    if utc:
        return UTC
    if not sign:
        return None
    shift = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if shift > timedelta(hours=15) or int(minutes or 0) > 59:
        raise ValueError("an offset beyond the last time zone")
    return timezone(-shift if sign == "-" else shift)
