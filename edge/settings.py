"""Configuration of the commands: a TOML file and the flags that override it, checked and typed."""

import argparse
import difflib
import re
import reprlib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from edge.host.text_file import read_text
from edge.timestamps import zone_named

Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
Probability = Annotated[float, Meta(ge=0, le=1)]
AtLeastZero = Annotated[float, Meta(ge=0)]
AboveZero = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]


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
            try:
                datetime.fromisoformat(text or "2000-01-01")
            except ValueError:
                raise ValueError(
                    f"{name} is {text!r}: expected a date or a time such as 2026-05-01 or 2026-05-01T18:00"
                ) from None


class Deployment(DeploymentTable, frozen=True, kw_only=True):
    """One camera at one place for one period."""

    id: str


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
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    time_zone: str | None = None
    species_list: Path | None = None
    poll: AboveZero | None = None
    settle_s: AtLeastZero = 2.0
    give_up_s: AtLeastZero = 600.0
    min_free_bytes: Count = 50_000_000
    heartbeat_s: AboveZero = 600.0
    threads: Count = 0
    workers: Count = 0
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

    def deployment_of(self, path: Path) -> Deployment | None:
        """The deployment of a frame: the one named by the flag, else the one whose folder holds it most closely."""
        if self.deployment is not None:
            return next(d for d in self.deployments if d.id == self.deployment)
        holding = [d for d in self.deployments if d.folder is not None and path.is_relative_to(d.folder)]
        return max(holding, key=lambda d: len(str(d.folder)), default=None)


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
        if kind is bool:
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
        known = deployments.get(name, Deployment(id=name))
        deployments[name] = msgspec.structs.replace(
            known,
            latitude=known.latitude if options["latitude"] is None else options["latitude"],
            longitude=known.longitude if options["longitude"] is None else options["longitude"],
            time_zone=known.time_zone or options["time_zone"],
        )
    return Settings(**options, thresholds=configuration.thresholds, deployments=tuple(deployments.values()))


def read_configuration(path: Path) -> Configuration:
    """Read a configuration file strictly. Raises `SettingsError` for unknown keys, wrong types and wrong values."""
    document = _read_toml(path)
    tables = document.pop("deployment") if isinstance(document.get("deployment"), dict) else {}
    thresholds = _parse(dict[str, Any], document.pop("thresholds", {}), f"{path}: [thresholds]")
    project = document.pop("project", {})
    if isinstance(project, dict):
        several = {key: [project[key]] for key in _LISTS if key in project and not isinstance(project[key], list)}
        project |= several
    return Configuration(
        _parse(Options, document, f"{path}: "),
        {name: _parse(Probability, value, f"{path}: [thresholds] {name}") for name, value in thresholds.items()},
        {name: _deployment(path, name, table) for name, table in tables.items()},
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
    except tomllib.TOMLDecodeError as error:
        if _KEY_BEFORE_TABLES.search(text):
            raise SettingsError(
                f"{path}: `deployment = ...` and tables [deployment.ID] cannot stand in one TOML file ({error}); keep"
                " the tables, each with its `folder`, and leave out the key (or give --deployment ID)"
            ) from error
        raise SettingsError(f"{path}: not valid TOML ({error}); correct the line named") from error


def _deployment(path: Path, name: str, table: object) -> Deployment:
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: deployment.{name} is {table!r}: expected tables such as [deployment.ridge-3]")
    # TOML has dates and times of its own.
    table = {key: str(v) if key in ("start", "end") and isinstance(v, date) else v for key, v in table.items()}
    known = msgspec.structs.asdict(_parse(DeploymentTable, table, f"{path}: [deployment.{name}] "))
    folder = known.pop("folder")
    return Deployment(id=name, folder=folder and folder.expanduser().absolute(), **known)


def _parse(kind: Any, value: object, prefix: str) -> Any:
    """`value` as an instance of `kind`. Raises `SettingsError` in one line, which `prefix` begins."""
    try:
        return msgspec.convert(value, kind, dec_hook=_as_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_in_words(str(error), kind, value, prefix)) from error


def _as_path(_kind: object, value: object) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError("Expected `path`")
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
    elif said.startswith("Invalid enum value"):
        expected = "one of " + ", ".join(next(_CHOICES[name] for name in reversed(names) if name in _CHOICES))
    else:
        return said if prefix == "--" else f"{place} {said}"
    return f"{place} is {reprlib.repr(value)}: expected {expected}"


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
_CHOICES = {"sampling_design": SamplingDesign, "capture_method": CaptureMethod, "role": ContributorRole}
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
