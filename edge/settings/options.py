"""Configuration of the commands: a TOML file and the flags that override it, checked and typed."""

import argparse
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints
from unicodedata import normalize

import msgspec
from msgspec import Meta, Struct

from edge.host.text_file import read_text
from edge.settings.deployment_table import (
    SECOND,
    Deployment,
    Latitude,
    Longitude,
    check_periods,
    is_name,
    read_deployment,
)
from edge.settings.project import Project
from edge.settings.strict_toml import SettingsError, parse, read_toml
from edge.timestamps import zone_named

Probability = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Period = Annotated[float, Meta(gt=0, le=1e9)]
"""How often something is done, in seconds."""
Bytes = Annotated[int, Meta(ge=0, le=10**18)]
Parallel = Annotated[int, Meta(ge=0, le=1000)]
"""Threads or processes."""


class DeploymentFrom(StrEnum):
    """What tells which deployment a frame belongs to, where no table [deployment.ID] does."""

    FOLDER = "folder"
    """The name of the first folder below the one that is classified or watched."""


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
        return next((d for start, end, d in periods if at is not None and start <= at < end + SECOND), None)

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


_LISTS = ("keywords", "licenses", "contributors", "capture_method", "sensitive")
"""Keys of [project] that hold one value or several."""


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
    parse(Options, given, "--")
    options = msgspec.structs.asdict(configuration.options) | given
    deployments = dict(configuration.deployments)
    name = options["deployment"]
    if name is None and (options["latitude"] is not None or options["longitude"] is not None):
        raise SettingsError("--latitude and --longitude describe a deployment; name it with --deployment ID")
    if name is not None:
        if not is_name(name):
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
    document = read_toml(path)
    tables = document.pop("deployment") if isinstance(document.get("deployment"), dict) else {}
    thresholds = parse(dict[str, Any], document.pop("thresholds", {}), f"{path}: [thresholds]")
    project = document.pop("project", {})
    if isinstance(project, dict):
        several = {key: [project[key]] for key in _LISTS if key in project and not isinstance(project[key], list)}
        project |= several
    options = parse(Options, document, f"{path}: ")
    deployments = {name: read_deployment(path, name, table) for name, table in tables.items()}
    check_periods(path, deployments.values(), options.time_zone)
    return Configuration(
        options,
        {name: parse(Probability, value, f"{path}: [thresholds] {name}") for name, value in thresholds.items()},
        deployments,
        parse(Project, project, f"{path}: [project] "),
    )


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
