"""Configuration of the commands: a TOML file and the flags that override it, checked and typed."""

import argparse
import difflib
import os
import re
import reprlib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints
from unicodedata import normalize
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct

from edge.host.text_file import read_text
from edge.timestamps import period_bound, zone_named

Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Period = Annotated[float, Meta(gt=0, le=1e9)]
"""How often something is done, in seconds."""
Bytes = Annotated[int, Meta(ge=0, le=10**18)]
Parallel = Annotated[int, Meta(ge=0, le=1000)]
"""Threads or processes."""


class SettingsError(ValueError):
    """Wrong use, in one line."""


class SamplingDesign(StrEnum):
    """How the cameras' places were chosen (the terms of Camtrap DP)."""

    SIMPLE_RANDOM = "simpleRandom"
    SYSTEMATIC_RANDOM = "systematicRandom"
    CLUSTERED_RANDOM = "clusteredRandom"
    EXPERIMENTAL = "experimental"
    TARGETED = "targeted"
    OPPORTUNISTIC = "opportunistic"


class CaptureMethod(StrEnum):
    """What makes the cameras take a frame (the terms of Camtrap DP)."""

    ACTIVITY_DETECTION = "activityDetection"
    TIME_LAPSE = "timeLapse"


class ContributorRole(StrEnum):
    """The part that a person or an organisation had (the terms of Camtrap DP)."""

    CONTACT = "contact"
    PRINCIPAL_INVESTIGATOR = "principalInvestigator"
    RIGHTS_HOLDER = "rightsHolder"
    PUBLISHER = "publisher"
    CONTRIBUTOR = "contributor"


class DeploymentFrom(StrEnum):
    """What tells which deployment a frame belongs to, where no table [deployment.ID] does."""

    FOLDER = "folder"
    """The name of the first folder below the one that is classified or watched."""


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
_SECOND = timedelta(seconds=1)


class Contributor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person or an organisation of the study."""

    title: str
    role: ContributorRole | None = None
    email: str | None = None
    path: str | None = None
    organization: str | None = None


class Licence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The licence of the data or of the media."""

    name: str | None = None
    path: str | None = None
    title: str | None = None
    scope: str | None = None


class Project(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [project]: what reports and exports say of the study."""

    title: str = ""
    id: str = ""
    description: str = ""
    version: str = ""
    homepage: str = ""
    keywords: tuple[str, ...] = ()
    licenses: tuple[Licence, ...] = ()
    contributors: tuple[Contributor, ...] = ()
    bibliographic_citation: str = msgspec.field(name="bibliographicCitation", default="")
    sampling_design: SamplingDesign | None = None
    capture_method: tuple[CaptureMethod, ...] = ()
    individual_animals: bool = False
    sensitive: tuple[str, ...] = ()
    """Names of taxa whose cameras' coordinates are coarsened by `edge-report --obscure`."""


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a run can be told. Each field is a long flag (with dashes) and a TOML key (with underscores)."""

    watch: Path | None = None
    db: Path = Path("detections.db")
    model: Path | None = None
    detector: Path | None = None
    deployment: str | None = None
    deployment_from: DeploymentFrom | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    time_zone: str | None = None
    species_list: Path | None = None
    poll: Period | None = None
    settle_s: Seconds = 2.0
    give_up_s: Seconds = 600.0
    min_free_bytes: Bytes = 50_000_000
    heartbeat_s: Period = 600.0
    threads: Parallel = 0
    workers: Parallel = 0
    power: bool = False
    second_look: bool = True
    reclassify: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.time_zone is not None:
            zone_named(self.time_zone)


HELP = {
    "watch": ("DIR", "classify what is in DIR and then every new frame, until stopped"),
    "db": ("FILE", "database of detections (default: detections.db here)"),
    "model": ("FILE", "model with a card inside (default: the shipped starter model)"),
    "detector": (
        "FILE",
        "detector with a card inside: finds the animals, people and vehicles of a frame before they are classified",
    ),
    "deployment": ("ID", "name of this camera at this place and period"),
    "deployment_from": (
        "folder",
        "each first folder below what is classified is a camera of that name, unless a table [deployment.ID] says"
        " otherwise",
    ),
    "latitude": ("DEGREES", "latitude of the deployment, degrees north"),
    "longitude": ("DEGREES", "longitude of the deployment, degrees east"),
    "time_zone": ("NAME", "zone of the camera's clock (default: the host's, noted as a doubt)"),
    "species_list": ("FILE", "the only taxa that may be answered, one scientific name a line, # comments"),
    "poll": ("SECONDS", "also scan the folder every SECONDS (default 10): for file systems that send no events"),
    "settle_s": ("SECONDS", "a file that was not seen closed is complete after this long without change"),
    "give_up_s": (
        "SECONDS",
        "a file that is still incomplete after this long is logged as unreadable (and tried again when it changes)",
    ),
    "min_free_bytes": (
        "BYTES",
        "nothing is logged while the database's disk has less room than this; frames wait (default 50 MB)",
    ),
    "heartbeat_s": ("SECONDS", "how often --watch logs that the device is alive"),
    "threads": ("N", "threads that read and classify (default: one for each core it may use)"),
    "workers": (
        "N",
        "processes that read and classify, for an archive on a machine with many cores (default: none, threads only)",
    ),
    "power": (
        None,
        "save power: new frames wait up to a minute and are classified together, on one thread unless --threads says"
        " otherwise",
    ),
    "second_look": (None, "also classify a crop around what drew the model's attention"),
    "reclassify": (None, "classify logged files again with the current model; rows are added"),
    "json": (None, "print one JSON object per frame"),
}
"""Of each option: what its value is called in `--help`, and what it does."""


class Settings(Options, frozen=True, kw_only=True):
    """The settings of one run: the options with the tables of thresholds and deployments."""

    thresholds: dict[str, float] = {}
    """Least probability for an answer by rank, kind or label name, instead of the model's."""
    deployments: tuple[Deployment, ...] = ()
    config: Path | None = None
    """The configuration file, for messages."""
    sources: tuple[Path, ...] = ()
    """What is classified or watched (absolute), for `deployment_from`."""

    def deployment_of(self, path: Path, at: datetime | None = None) -> Deployment | None:
        """The deployment of a frame: the one named by the flag, else the one whose folder holds it most closely.

        Of several that share the folder it is the one within whose period the frame was taken.
        """
        return self.in_period(self.deployments_for(path), at)

    def deployments_for(self, path: Path) -> tuple[Deployment, ...]:
        """The deployment named by the flag, else those whose folder holds a file most closely: several may share it."""
        if self.deployment is not None:
            return tuple(d for d in self.deployments if d.id == self.deployment)
        folders = [(d.folder, d) for d in self.deployments if d.folder is not None and path.is_relative_to(d.folder)]
        folders += self._named_by_folder(path)
        closest = max((len(folder.parts) for folder, _ in folders), default=0)
        return tuple({d.id: d for folder, d in folders if len(folder.parts) == closest}.values())

    def in_period(self, sharing: tuple[Deployment, ...], at: datetime | None) -> Deployment | None:
        """The one of some deployments that share a folder within whose period `at` lies; a single one always."""
        if len(sharing) < 2:
            return next(iter(sharing), None)
        zone = None if self.time_zone is None else zone_named(self.time_zone)
        periods = [(*deployment.period(zone), deployment) for deployment in sharing]
        return next((d for start, end, d in periods if at is not None and start <= at < end + _SECOND), None)

    def _named_by_folder(self, path: Path) -> list[tuple[Path, Deployment]]:
        """The deployments that first folders below the sources give a file, with these folders."""
        found = []
        for source in self.sources if self.deployment_from == DeploymentFrom.FOLDER else ():
            if path.is_relative_to(source) and len(parts := path.relative_to(source).parts) > 1:
                folder, name = source / parts[0], _as_text(parts[0])
                table = next((d for d in self.deployments if d.id == name), Deployment(id=name))
                found.append((folder, table if table.folder else msgspec.structs.replace(table, folder=folder)))
        return found


def _as_text(name: str) -> str:
    """A folder's name as a deployment's: composed characters, and escapes for bytes that are no text."""
    return normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that a configuration file says."""

    options: Options = Options()
    thresholds: dict[str, float] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    project: Project = Project()


def add_arguments(parser: argparse.ArgumentParser, only: Collection[str] = tuple(HELP)) -> None:
    """Add `--config` and a flag for each option in `only`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same keys; flags override it")
    types = get_type_hints(Options)
    for option in msgspec.structs.fields(Options):
        name, (metavar, help_) = option.name, HELP[option.name]
        flag, kind = "--" + name.replace("_", "-"), (*get_args(types[name]), types[name])[0]
        if name not in only:
            continue
        if kind is DeploymentFrom:
            parser.add_argument(flag, choices=[one.value for one in DeploymentFrom], help=help_)
        elif kind is bool:
            action = argparse.BooleanOptionalAction if option.default else "store_true"
            parser.add_argument(flag, action=action, default=None, help=help_)
        elif name == "poll":
            parser.add_argument(flag, type=kind, nargs="?", const=10.0, metavar=metavar, help=help_)
        else:
            parser.add_argument(flag, type=kind, metavar=metavar, help=help_)


def read_settings(config: Path | None, flags: Mapping[str, object]) -> Settings:
    """The settings of a configuration file, overridden by `flags` (by option name; `None` is not set).

    Raises `SettingsError`.
    """
    configuration = Configuration() if config is None else read_configuration(config)
    given = {name: flags[name] for name in HELP if flags.get(name) is not None}
    _parse(Options, given, "--")
    options = msgspec.structs.asdict(configuration.options) | given
    deployments = dict(configuration.deployments)
    name = options["deployment"]
    if name is None and (options["latitude"] is not None or options["longitude"] is not None):
        raise SettingsError("--latitude and --longitude describe a deployment; name it with --deployment ID")
    if name is not None:
        if not _is_name(name):
            raise SettingsError(f"--deployment is {reprlib.repr(name)}: no name that can be read, such as ridge")
        known = deployments.get(name, Deployment(id=name))
        deployments[name] = msgspec.structs.replace(
            known,
            latitude=known.latitude if options["latitude"] is None else options["latitude"],
            longitude=known.longitude if options["longitude"] is None else options["longitude"],
            time_zone=known.time_zone or options["time_zone"],
        )
    return Settings(
        **options, thresholds=configuration.thresholds, deployments=tuple(deployments.values()), config=config
    )


def read_configuration(path: Path) -> Configuration:
    """Read a configuration file strictly. Raises `SettingsError` for unknown keys, wrong types and wrong values."""
    document = _read_toml(path)
    tables = document.pop("deployment") if isinstance(document.get("deployment"), dict) else {}
    thresholds = _parse(dict[str, Any], document.pop("thresholds", {}), f"{path}: [thresholds]")
    project = document.pop("project", {})
    if isinstance(project, dict):
        several = {key: [project[key]] for key in _LISTS if key in project and not isinstance(project[key], list)}
        project |= several
    options = _parse(Options, document, f"{path}: ")
    deployments = {name: _deployment(path, name, table) for name, table in tables.items()}
    _check_periods(path, deployments.values(), options.time_zone)
    return Configuration(
        options,
        {name: _parse(Probability, value, f"{path}: [thresholds] {name}") for name, value in thresholds.items()},
        deployments,
        _parse(Project, project, f"{path}: [project] "),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
    except OSError as error:
        raise SettingsError(f"{path}: the configuration cannot be read ({error.strerror}); check --config") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise SettingsError(f"{path}: its values are nested too deeply; expected tables of plain values") from error
    except tomllib.TOMLDecodeError as error:
        if _KEY_BEFORE_TABLES.search(text):
            raise SettingsError(
                f"{path}: `deployment = ...` and tables [deployment.ID] cannot stand in one TOML file ({error}); keep"
                " the tables, each with its `folder`, and leave out the key (or give --deployment ID)"
            ) from error
        raise SettingsError(f"{path}: not valid TOML ({error}); {_toml_advice(text, str(error))}") from error


def _toml_advice(text: str, problem: str) -> str:
    """What to correct in a file that is no TOML, in words."""
    if match := re.match(r"Cannot declare \((.*)\) twice", problem):
        table = ".".join(re.findall(r"'([^']*)'", match[1]))
        return f"the table [{table}] stands twice; leave one of them out"
    if match := re.search(r"at line (\d+)", problem):
        line = next(iter(text.splitlines()[int(match[1]) - 1 :]), "").strip()
        if found := re.match(r"\s*\w+\s*=\s*(-?\d+),(\d+)\s*(#|$)", line):
            return f"{line!r}: write a decimal point, {found[1]}.{found[2]}"
        if re.match(r"(start|end)\s*=", line):
            return f"{line!r}: expected {_TIMES}"
        if found := re.match(r"\[deployment\.([^\]\"']+)\]", line):
            return f'a name with spaces or accents stands in quotes: [deployment."{found[1]}"]'
        if line:
            return f"correct the line {line[:80]!r}"
    return "correct the line named"


def _deployment(path: Path, name: str, table: object) -> Deployment:
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: deployment.{name} is {table!r}: expected tables such as [deployment.ridge-3]")
    if not _is_name(name):
        raise SettingsError(
            f"{path}: [deployment.{reprlib.repr(name)}] has no name that can be read; name it as [deployment.ridge]"
        )
    # TOML has dates and times of its own.
    table = {key: str(v) if key in ("start", "end") and isinstance(v, date) else v for key, v in table.items()}
    known = msgspec.structs.asdict(_parse(DeploymentTable, table, f"{path}: [deployment.{name}] "))
    folder = known.pop("folder")
    if folder is not None:  # what is relative starts at the configuration file, wherever the command is started
        try:
            folder = Path(os.path.abspath(path.absolute().parent / folder.expanduser()))
        except RuntimeError as error:  # `~` of nobody
            raise SettingsError(f"{path}: [deployment.{name}] folder is {str(folder)!r}: no home is known") from error
        if folder.is_file():
            raise SettingsError(f"{path}: [deployment.{name}] folder is {str(folder)!r}: a file, expected a folder")
    return Deployment(id=name, folder=folder, **known)


def _is_name(text: str) -> bool:
    """Whether a deployment can be called so."""
    return bool(text.strip()) and text.isprintable() and len(text) <= 200


def _check_periods(path: Path, deployments: Collection[Deployment], time_zone: str | None) -> None:
    """Raise `SettingsError` for a period that ends before it begins, and for two at once in one folder."""
    zone = None if time_zone is None else zone_named(time_zone)
    periods = {deployment.id: deployment.period(zone) for deployment in deployments}
    for deployment in deployments:
        if periods[deployment.id][0] > periods[deployment.id][1]:
            raise SettingsError(
                f"{path}: [deployment.{deployment.id}] start is {deployment.start!r}, later than its end"
                f" {deployment.end!r}; expected a period that begins before it ends"
            )
    for one, other in combinations([d for d in deployments if d.folder is not None], 2):
        (start, end), (other_start, other_end) = periods[one.id], periods[other.id]
        if one.folder == other.folder and start <= other_end and other_start <= end:
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
            return f"no such time; expected {_TIMES}{hint}"
        return None if 1970 <= year < 2200 else f"expected a year from 1970 to 2199, in {_TIMES}"
    if match := re.fullmatch(r"(\d{4})[-./](\d{1,2})[-./](\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4})", text.strip()):
        year_, month, day = match.group(1, 2, 3) if match[1] else match.group(6, 5, 4)
        return f"expected {_TIMES}; did you mean {year_}-{month:0>2}-{day:0>2}?"
    return f"expected {_TIMES}"


_WRITTEN_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_TIMES = "a date or a time such as 2026-05-01 or 2026-05-01T18:00"


def _parse(kind: Any, value: object, prefix: str) -> Any:
    """`value` as an instance of `kind`. Raises `SettingsError` in one line, which `prefix` begins."""
    try:
        return msgspec.convert(value, kind, dec_hook=_as_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_in_words(str(error), kind, value, prefix)) from error


def _as_path(_kind: object, value: object) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError("Expected `path`")
    if value == "" or "\0" in str(value):
        raise ValueError("names no file")
    return Path(value)


def _in_words(problem: str, kind: Any, value: Any, prefix: str) -> str:
    """What msgspec found, for people: the place, the value there, what was expected."""
    said, _, place = problem.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    names = re.findall(r"\w+", place)
    for name in names:
        value = value[int(name)] if isinstance(value, list) else value[name]
    place = f"{prefix}{place.replace('_', '-') if prefix == '--' else place}".strip()
    if match := re.match("Object contains unknown field `(.*)`", said):
        owner = _INSIDE_LISTS.get(names[0], kind) if names else kind
        known = [f.encode_name for f in msgspec.structs.fields(owner)]
        return f"{place.rstrip(':')}: the key {match[1]!r} is not known; {nearest(match[1], known)}"
    if match := re.match("Object missing required field `(.*)`", said):
        return f"{place}: the key {match[1]!r} is missing"
    if match := re.match(r"Expected `(\w+)(?: \| null)?`(?: (<=|>=|>) (\S+))?", said):
        expected = _TYPES[match[1]] + (f" {_LIMITS[match[2]]} {float(match[3]):g}" if match[2] else "")
        expected += _advice(names[-1] if names else prefix.split()[-1], value, match[1])
    elif said.startswith("Invalid enum value"):
        expected = "one of " + ", ".join(next(_CHOICES[name] for name in reversed(names) if name in _CHOICES))
    else:
        return said if prefix == "--" else f"{place} {said}"
    return f"{place} is {reprlib.repr(value)}: expected {expected}"


def _advice(name: str, value: object, kind: str) -> str:
    """What a wrong number may have meant, in words."""
    if kind in ("float", "int") and isinstance(value, str):
        with suppress(ValueError):
            return f"; write it without quotes and with a decimal point: {float(value.replace(',', '.')):g}"
    if name in ("latitude", "--latitude") and isinstance(value, int | float) and 90 < abs(value) <= 180:
        return "; are latitude and longitude swapped?"
    return ""


def nearest(name: str, known: Iterable[str]) -> str:
    """What a wrong name may have meant, in words: the nearest known names, or all of them when none is near."""
    by_lower = {one.lower(): one for one in known}
    near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, 3)]
    return f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(by_lower.values())}"


# Each is right by itself; of both together TOML's reader says only "Cannot overwrite a value".
_KEY_BEFORE_TABLES = re.compile(r"^\s*deployment\s*=.*^\s*\[\s*deployment\b", re.MULTILINE | re.DOTALL)
_LISTS = ("keywords", "licenses", "contributors", "capture_method", "sensitive")
"""Keys of [project] that hold one value or several."""
_INSIDE_LISTS = {"contributors": Contributor, "licenses": Licence}
_CHOICES = {
    "sampling_design": SamplingDesign,
    "capture_method": CaptureMethod,
    "role": ContributorRole,
    "deployment_from": DeploymentFrom,
}
_LIMITS = {"<=": "of at most", ">=": "of at least", ">": "above"}
_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "str": "text",
    "path": "a path",
    "bool": "true or false",
    "object": "a table",
    "array": "a list",
}


def read_species_list(path: Path) -> tuple[str, ...]:
    """Scientific names of the allowed taxa, in the file's order. Raises `SettingsError`."""
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise SettingsError(
            f"{path}: the species list cannot be read ({error.strerror}); check --species-list"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: the species list is not UTF-8 text; save it as UTF-8") from error
    names = tuple(name for line in lines if (name := line.split("#")[0].strip()))
    if not names:
        raise SettingsError(f"{path}: the species list names no taxon; expected one scientific name a line")
    return names
