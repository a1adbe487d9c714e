"""Settings of the classifying commands: a TOML file, then flags, into one frozen object."""

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from edge.timestamps import zone_named

# Each is right by itself, and of both TOML's reader says only "Cannot overwrite a value".
_KEY_BEFORE_TABLES = re.compile(r"^\s*deployment\s*=.*^\s*\[\s*deployment\b", re.MULTILINE | re.DOTALL)


class SettingsError(ValueError):
    """Wrong use, in one line."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One camera at one place for one period."""

    id: str
    latitude: float | None = None
    longitude: float | None = None
    time_zone: str | None = None
    folder: Path | None = None
    start: str | None = None
    end: str | None = None


def _option(default: Any, kind: type, help_: str, metavar: str | None = None, flag: bool = True) -> Any:
    """A settings field that documents itself: the same text serves `--help` and the sample configuration."""
    return field(default=default, metadata={"type": kind, "help": help_, "metavar": metavar, "flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a run can be told. Each field is a long flag (dashes) and a TOML key (underscores)."""

    watch: Path | None = _option(None, Path, "classify what is in DIR and then every new frame, until stopped", "DIR")
    db: Path = _option(Path("detections.db"), Path, "database of detections (default: detections.db here)", "FILE")
    model: Path | None = _option(None, Path, "model with a card inside (default: the shipped starter model)", "FILE")
    detector: Path | None = _option(None, Path, "detector with a card inside: finds the animals, people and vehicles"
                                    " of a frame before they are classified", "FILE")  # fmt: skip
    deployment: str | None = _option(None, str, "name of this camera at this place and period", "ID")
    latitude: float | None = _option(None, float, "of the deployment, degrees north", "DEGREES")
    longitude: float | None = _option(None, float, "of the deployment, degrees east", "DEGREES")
    time_zone: str | None = _option(None, str, "zone of the camera's clock (default: the host's, noted)", "NAME")
    species_list: Path | None = _option(None, Path, "allowed taxa, one scientific name a line, # comments", "FILE")
    poll: float | None = _option(None, float, "also look through the folder every SECONDS (default 10): for file"
                                 " systems that send no events", "SECONDS")  # fmt: skip
    settle_s: float = _option(2.0, float, "a file not seen closed counts as complete after this long without change",
                              "SECONDS")  # fmt: skip
    give_up_s: float = _option(600.0, float, "a file that is still not a whole frame after this long is logged as"
                               " unreadable (and tried again when it changes)", "SECONDS")  # fmt: skip
    min_free_bytes: int = _option(50_000_000, int, "nothing is logged while the database's disk has less room than"
                                  " this; frames wait (default 50 MB)", "BYTES")  # fmt: skip
    heartbeat_s: float = _option(600.0, float, "how often --watch logs that the box is alive", "SECONDS")
    threads: int = _option(0, int, "threads that read and decode (default: one for each core it may use)", "N")
    workers: int = _option(0, int, "processes that read and classify, for an archive on a machine with many cores"
                           " (default: none, threads only)", "N")  # fmt: skip
    power: bool = _option(False, bool, "save power: new frames wait up to a minute and are classified together, on one"
                          " thread unless --threads says otherwise")  # fmt: skip
    second_look: bool = _option(True, bool, "look again at the region that drew attention")
    reclassify: bool = _option(False, bool, "look again at logged files with the current model; rows are added")
    json: bool = _option(False, bool, "print one JSON object per frame")
    thresholds: dict[str, float] = field(default_factory=dict)
    """From the table [thresholds]: by rank, kind or label name, in place of the model's."""
    deployments: tuple[Deployment, ...] = ()
    """From the tables [deployment.ID]."""

    def deployment_of(self, path: Path) -> Deployment | None:
        """Of a frame: the one named by the flag, else the one whose folder holds it most closely."""
        if self.deployment is not None:
            return next(d for d in self.deployments if d.id == self.deployment)
        holding = [d for d in self.deployments if d.folder is not None and path.is_relative_to(d.folder)]
        return max(holding, key=lambda d: len(str(d.folder)), default=None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each settings field, and `--config`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the same keys; flags win")
    for option in fields(Settings):
        if "help" not in option.metadata:
            continue
        name = "--" + option.name.replace("_", "-")
        meta = option.metadata
        if meta["type"] is bool:
            action = argparse.BooleanOptionalAction if option.default else "store_true"
            parser.add_argument(name, action=action, default=None, help=meta["help"])
        elif option.name == "poll":
            parser.add_argument(name, type=float, nargs="?", const=10.0, metavar=meta["metavar"], help=meta["help"])
        else:
            parser.add_argument(name, type=meta["type"], metavar=meta["metavar"], help=meta["help"])


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Merge the TOML file and the flags. Raises `SettingsError`, in one line, for anything that cannot be meant."""
    document = read_toml(arguments.config) if arguments.config else {}
    values: dict[str, Any] = {}
    tables = {"deployment", "project", "thresholds"}
    known = {option.name: option for option in fields(Settings) if "help" in option.metadata}
    for key, value in document.items():
        if isinstance(value, dict) and key in tables:
            continue
        if key not in known:
            raise SettingsError(f"{arguments.config}: key {key!r} is not known; expected one of {', '.join(known)}")
        values[key] = _checked(known[key], value, arguments.config)
    values.update({name: given for name in known if (given := getattr(arguments, name, None)) is not None})
    deployments = _deployments(document.get("deployment", {}), arguments.config)
    thresholds = document.get("thresholds", {})
    if not isinstance(thresholds, dict) or not all(isinstance(t, int | float) for t in thresholds.values()):
        raise SettingsError(f"{arguments.config}: [thresholds] holds numbers from 0 to 1 by rank, kind or label")
    return _place_deployment(values, deployments, {key: float(value) for key, value in thresholds.items()})


def read_toml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
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


def _checked(option: "Field[Any]", value: Any, path: Path) -> Any:
    kind = option.metadata["type"]
    expected: tuple[type, ...] = {Path: (str,), float: (int, float)}.get(kind, (kind,))
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise SettingsError(f"{path}: {option.name} is {value!r}; expected {option.metadata['help']}")
    return kind(value)


def _deployments(tables: Any, path: Path | None) -> dict[str, Deployment]:
    allowed = {option.name for option in fields(Deployment)} - {"id"}
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise SettingsError(f"{path}: deployments are tables such as [deployment.ridge-3]")
    found = {}
    for name, table in tables.items():
        if unknown := set(table) - allowed:
            expected = ", ".join(sorted(allowed))
            raise SettingsError(
                f"{path}: [deployment.{name}] has the unknown key {min(unknown)!r}; expected {expected}"
            )
        texts = {key: str(value) for key, value in table.items() if key in ("start", "end", "time_zone")}
        numbers = {key: float(value) for key, value in table.items() if key in ("latitude", "longitude")}
        folder = Path(table["folder"]).expanduser().absolute() if "folder" in table else None
        found[name] = Deployment(name, folder=folder, **numbers, **texts)  # type: ignore[arg-type]
    return found


def _place_deployment(
    values: dict[str, Any], deployments: dict[str, Deployment], thresholds: Mapping[str, float]
) -> Settings:
    """Let the flags describe the one deployment that `--deployment` names, and check every place and zone."""
    name = values.get("deployment")
    if name is None and (values.get("latitude") is not None or values.get("longitude") is not None):
        raise SettingsError("--latitude and --longitude describe a deployment; name it with --deployment ID")
    if name is not None:
        known = deployments.get(name, Deployment(name))
        deployments[name] = Deployment(
            name,
            values.get("latitude", known.latitude),
            values.get("longitude", known.longitude),
            known.time_zone or values.get("time_zone"),
            known.folder,
            known.start,
            known.end,
        )
    for deployment in deployments.values():
        for word, value, limit in (("latitude", deployment.latitude, 90), ("longitude", deployment.longitude, 180)):
            if value is not None and not -limit <= value <= limit:
                raise SettingsError(f"{word} of {deployment.id} is {value}; expected -{limit} to {limit} degrees")
    for zone in {values.get("time_zone"), *(d.time_zone for d in deployments.values())} - {None}:
        try:
            zone_named(str(zone))
        except ValueError as error:
            raise SettingsError(str(error)) from error
    return Settings(**values, deployments=tuple(deployments.values()), thresholds=dict(thresholds))


def read_species_list(path: Path) -> tuple[str, ...]:
    """Scientific names of the allowed taxa, in the file's order. Raises `SettingsError`."""
    try:
        lines = path.read_text("utf-8").splitlines()
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
