"""Deployments as a configuration describes them: the tables [deployment.ID], with their periods."""

import os
import re
import reprlib
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from edge.settings.strict_toml import TIMES, SettingsError, parse
from edge.timestamps import period_bound, zone_named

Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]


class DeploymentTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [deployment.ID]."""

    latitude: Latitude | None = None
    longitude: Longitude | None = None
    time_zone: str | None = None
    folder: Path | None = None
    start: str | None = None
    """ISO 8601; in the deployment's zone unless it has an offset."""
    end: str | None = None

    def __post_init__(self) -> None:
        if self.time_zone is not None:
            zone_named(self.time_zone)
        for name, text in (("start", self.start), ("end", self.end)):
            if text is not None and (problem := _problem_of_time(text)):
                raise ValueError(f"{name} is {text!r}: {problem}")


class Deployment(DeploymentTable, frozen=True, kw_only=True):
    """One camera at one place for one period."""

    id: str

    def period(self, zone: ZoneInfo | None) -> tuple[datetime, datetime]:
        """First and last moment (UTC), far away where it is not given; `zone` is that of a deployment without one."""
        zone = zone if self.time_zone is None else zone_named(self.time_zone)
        return (
            _LONG_AGO if self.start is None else period_bound(self.start, zone),
            _FAR_OFF if self.end is None else period_bound(self.end, zone, end=True),
        )


_LONG_AGO, _FAR_OFF = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def read_deployment(path: Path, name: str, table: object) -> Deployment:
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: deployment.{name} is {table!r}: expected tables such as [deployment.ridge-3]")
    if not is_name(name):
        raise SettingsError(
            f"{path}: [deployment.{reprlib.repr(name)}] has no name that can be read; name it as [deployment.ridge]"
        )
    # TOML has dates and times of its own.
    table = {key: str(v) if key in ("start", "end") and isinstance(v, date) else v for key, v in table.items()}
    known = msgspec.structs.asdict(parse(DeploymentTable, table, f"{path}: [deployment.{name}] "))
    folder = known.pop("folder")
    if folder is not None:  # what is relative starts at the configuration file, wherever the command is started
        try:
            folder = Path(os.path.abspath(path.absolute().parent / folder.expanduser()))
        except RuntimeError as error:  # `~` of nobody
            raise SettingsError(f"{path}: [deployment.{name}] folder is {str(folder)!r}: no home is known") from error
        if folder.is_file():
            raise SettingsError(f"{path}: [deployment.{name}] folder is {str(folder)!r}: a file, expected a folder")
    return Deployment(id=name, folder=folder, **known)


def is_name(text: str) -> bool:
    """Whether a deployment can be called so."""
    return bool(text.strip()) and text.isprintable() and len(text) <= 200


def check_periods(path: Path, deployments: Collection[Deployment], time_zone: str | None) -> None:
    """Raise `SettingsError` for a period that ends before it begins, and for two at once in one folder."""
    zone = None if time_zone is None else zone_named(time_zone)
    periods = {deployment.id: deployment.period(zone) for deployment in deployments}
    for deployment in deployments:
        if periods[deployment.id][0] > periods[deployment.id][1]:
            raise SettingsError(
                f"{path}: [deployment.{deployment.id}] start is {deployment.start!r}, later than its end"
                f" {deployment.end!r}; expected a period that begins before it ends"
            )
    in_folders = [deployment for deployment in deployments if deployment.folder is not None]
    # Where any two of a folder overlap, so do two of which one begins next after the other.
    for one, other in pairwise(sorted(in_folders, key=lambda one: (str(one.folder), periods[one.id]))):
        if one.folder == other.folder and periods[other.id][0] <= periods[one.id][1]:
            raise SettingsError(
                f"{path}: [deployment.{one.id}] and [deployment.{other.id}] share the folder {str(one.folder)!r}, and"
                " their periods overlap; give each a start and an end so that no moment belongs to both"
            )


def _problem_of_time(text: str) -> str | None:
    """Why text is neither a date nor a time, with what was expected; `None` when it is one."""
    if _WRITTEN_TIME.fullmatch(text):
        try:
            year = datetime.fromisoformat(text).year
        except ValueError as error:
            hint = ", the next day at 00:00" if re.search(r"[T ]24:", text) else f" ({error})"
            return f"no such time; expected {TIMES}{hint}"
        return None if 1970 <= year < 2200 else f"expected a year from 1970 to 2199, in {TIMES}"
    if match := re.fullmatch(r"(\d{4})[-./](\d{1,2})[-./](\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4})", text.strip()):
        year_, month, day = match.group(1, 2, 3) if match[1] else match.group(6, 5, 4)
        return f"expected {TIMES}; did you mean {year_}-{month:0>2}-{day:0>2}?"
    return f"expected {TIMES}"


_WRITTEN_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
