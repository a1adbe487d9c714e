"""edge-doctor: is this host fit for months alone? Each check says what it found, and what to do when it is wrong."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from edge import __version__
from edge.commands.runner import ExitCode, Parser, run
from edge.host import status as heartbeat
from edge.host.mounts import is_silent, mounts_of, read_mounts
from edge.settings.options import Settings, add_arguments, read_settings
from edge.settings.strict_toml import SettingsError
from edge.timestamps import now

SERVICE_CONFIG = Path("/etc/edge-classify/config.toml")
SERVICE_DATABASE = Path("/var/lib/edge-classify/detections.db")
OPTIONS = ("watch", "db", "model", "detector", "time_zone", "species_list", "poll", "min_free_bytes", "heartbeat_s")
"""What of the settings the checks use."""
ROOMY_BYTES = 1_000_000_000
HOT_C = 80.0  # a Raspberry Pi begins to slow itself down here
_UNIT = "edge-classify.service"
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
# Bits of the Raspberry Pi's firmware; 16 higher: since the start.
_POWER_TROUBLE = {
    0: "the supply's voltage is too low",
    1: "the processor is slowed down",
    2: "the processor is throttled",
    3: "the processor is near its temperature limit",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    verdict: Literal["ok", "note", "problem"]
    subject: str
    fact: str
    advice: str | None = None
    """What to do; `None` when there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where the host tells about itself; tests give it other places."""

    inotify: Path = Path("/proc/sys/fs/inotify")
    clocks: Path = Path("/sys/class/rtc")
    throttled: Path = _THROTTLED
    synchronised: Callable[[], bool | None] = heartbeat.clock_synchronised
    temperature_c: Callable[[], float | None] = heartbeat.temperature_c
    now: Callable[[], datetime] = now


def examine(settings: Settings, host: Host) -> Iterator[Finding]:
    """Every check in turn."""
    yield check_model(settings)
    yield check_database(settings, host)
    yield check_captures(settings)
    yield check_watches(settings, host)
    yield from check_clock(settings, host)
    yield check_space(settings)
    yield check_power(host)
    yield check_service()


def check_model(settings: Settings) -> Finding:
    from edge.inference.model import ModelError
    from edge.service.model_trial import load_tried_models

    try:
        models = load_tried_models("edge-doctor", settings)
    except (ModelError, SettingsError) as error:
        return Finding(
            "problem", "model", str(error), "give another one: sudo /opt/edge-classify/install.sh --model FILE"
        )
    return Finding("ok", "model", f"{models.name} {models.card.version}, {len(models.card.labels)} labels")


def check_database(settings: Settings, host: Host) -> Finding:
    path = settings.db
    if not path.exists():
        if os.access(path.parent, os.W_OK):
            return Finding("ok", "database", f"{path} will be made")
        return Finding(
            "problem",
            "database",
            f"{path} is not there and {path.parent} cannot be written",
            "choose another folder with --db, or run this as the service does: sudo -u edge-classify edge-doctor",
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (frames,) = connection.execute("SELECT count(*) FROM media").fetchone()
            (beat,) = connection.execute("SELECT max(at) FROM heartbeat").fetchone()
    except sqlite3.Error as error:
        return Finding(
            "problem",
            "database",
            f"{path}: {error}",
            "run this as the service does: sudo -u edge-classify edge-doctor; if it says the same, the next"
            " start of the service sets the file aside and saves what it can",
        )
    if health != "ok":
        return Finding(
            "problem",
            "database",
            f"{path} is damaged: {health}",
            "restart the service: it sets the file aside and saves what it can; then check the card",
        )
    if beat is None:
        return Finding("note", "database", f"{path}: {frames} files, no heartbeat yet", None)
    silent_s = (host.now() - datetime.fromisoformat(beat)).total_seconds()
    if silent_s > 3 * settings.heartbeat_s:
        return Finding(
            "problem",
            "database",
            f"{path}: {frames} files, silent for {silent_s / 3600:.1f} h (since {beat})",
            f"see why the daemon is silent: journalctl -u {_UNIT} -n 50",
        )
    return Finding("ok", "database", f"{path}: {frames} files, last heartbeat {beat}")


def check_captures(settings: Settings) -> Finding:
    folder = settings.watch
    if folder is None:
        return Finding("note", "captures", "no folder is watched", "name it as `watch` in the configuration")
    try:
        os.listdir(folder)
    except PermissionError:
        return Finding(
            "problem",
            "captures",
            f"{folder} cannot be read by this user",
            f"let others read it: sudo chmod o+rx {folder}",
        )
    except OSError as error:
        return Finding(
            "problem",
            "captures",
            f"{folder}: {error.strerror}; the daemon waits for it",
            f"mount the card, or make the folder: sudo install -d {folder}",
        )
    mounts = mounts_of(str(folder), read_mounts())
    silent = next((mount.file_system for mount in mounts if is_silent(mount.file_system)), None)
    if silent and settings.poll is None:
        return Finding(
            "note",
            "captures",
            f"{folder} is on {silent}, which sends no events",
            "set `poll = 10.0` in the configuration, or a longer time to save power",
        )
    return Finding("ok", "captures", f"{folder}" + (f" ({mounts[0].file_system})" if mounts else ""))


def check_watches(settings: Settings, host: Host) -> Finding:
    """The kernel watches folder by folder, and the number of watches is limited for each user."""
    try:
        limit = int((host.inotify / "max_user_watches").read_text("ascii"))
    except (OSError, ValueError):
        return Finding("note", "inotify", "the kernel does not tell its limits")
    folders = 1 if settings.watch is None else 1 + sum(len(names) for _, names, _ in os.walk(settings.watch))
    if folders > limit * 0.8:
        return Finding(
            "problem",
            "inotify",
            f"{folders} folders, and the kernel lets a user watch {limit}",
            f"echo fs.inotify.max_user_watches={folders * 4} | sudo tee /etc/sysctl.d/60-inotify.conf"
            " && sudo sysctl --system",
        )
    return Finding("ok", "inotify", f"{folders} of {limit} folders that can be watched")


def check_clock(settings: Settings, host: Host) -> Iterator[Finding]:
    synchronised, battery = host.synchronised(), any(host.clocks.glob("rtc*"))
    moment = f"{host.now():%Y-%m-%d %H:%M} UTC"
    set_it = "set it: sudo timedatectl set-time 'YYYY-MM-DD hh:mm:ss'"
    if host.now().year < 2024:
        yield Finding("problem", "clock", f"it says {host.now():%Y-%m-%d}, which is before this software", set_it)
    elif synchronised:
        yield Finding("ok", "clock", f"{moment}, kept right by a time service")
    elif battery:
        yield Finding(
            "note",
            "clock",
            f"{moment}, kept by a battery clock; no time service is heard",
            f"compare it with a watch at each visit; {set_it}",
        )
    else:
        yield Finding(
            "problem",
            "clock",
            f"{moment}, with neither time service nor battery clock: it stands still while the power is off",
            "fit a clock with a battery (Raspberry Pi 5: on connector J5; others: a DS3231 on I2C), or set"
            " it at each visit; frames keep their camera's own time",
        )
    zones = [deployment.time_zone for deployment in settings.deployments]
    if settings.time_zone is None and (not zones or None in zones):
        yield Finding(
            "note",
            "time zone",
            "not every camera's zone is given; the host's is taken and noted as a doubt",
            "set `time_zone` in the configuration",
        )


def check_space(settings: Settings) -> Finding:
    free = shutil.disk_usage(settings.db.absolute().parent if settings.db.parent.exists() else "/").free
    fact = f"{free / 1e9:.1f} GB free for the database"
    if free < settings.min_free_bytes:
        return Finding(
            "problem",
            "space",
            f"{fact}: nothing is logged below {settings.min_free_bytes / 1e6:.0f} MB",
            "make room: copy frames away and delete them, or `edge-db prune`",
        )
    if free < ROOMY_BYTES:
        return Finding("note", "space", fact, "little for months: copy frames away, or `edge-db prune`")
    return Finding("ok", "space", fact)


def check_power(host: Host) -> Finding:
    temperature = host.temperature_c()
    heat = "no thermometer" if temperature is None else f"{temperature:.0f} °C"
    try:
        bits = int(host.throttled.read_text("ascii"), 16)
    except (OSError, ValueError):
        bits = None
    now_wrong = [text for bit, text in _POWER_TROUBLE.items() if bits is not None and bits >> bit & 1]
    since_start = [text for bit, text in _POWER_TROUBLE.items() if bits is not None and bits >> (bit + 16) & 1]
    if now_wrong or (temperature is not None and temperature >= HOT_C):
        return Finding(
            "problem",
            "power",
            ", ".join([heat, *now_wrong]),
            "use the maker's supply and a short thick cable; give the box shade and a heat sink",
        )
    if since_start:
        return Finding(
            "note", "power", f"{heat}; since the start: {', '.join(since_start)}", "check supply, cable and battery"
        )
    told = "" if bits is not None else "; this board does not tell whether it is throttled"
    return Finding("ok", "power", heat + told)


def check_service() -> Finding:
    systemctl = shutil.which("systemctl")
    wanted = ["show", "--property=LoadState,ActiveState,NRestarts,StatusText", _UNIT]
    done = systemctl and subprocess.run([systemctl, *wanted], capture_output=True, text=True, check=False)
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line) if done else {}
    if told.get("LoadState") != "loaded":
        return Finding("note", "service", f"{_UNIT} is not installed here", "install it: sudo ./systemd/install.sh")
    if told.get("ActiveState") not in ("active", "reloading"):
        return Finding(
            "problem",
            "service",
            f"{_UNIT} is {told.get('ActiveState')}",
            f"sudo systemctl enable --now {_UNIT}; why it ended: journalctl -u {_UNIT} -n 50",
        )
    restarts = f"; restarted {told['NRestarts']} times" if told.get("NRestarts", "0") != "0" else ""
    return Finding("ok", "service", told.get("StatusText", "") + restarts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "edge-doctor",
        description="Check whether this device is fit to classify for months alone.",
        epilog=f"Without --config, {SERVICE_CONFIG} is taken where it exists, with the service's database."
        " Exit codes: 0 nothing is wrong; 1 a problem was found; 2 wrong use or setup; 130 interrupted.",
    )
    add_arguments(parser, only=OPTIONS)
    parser.add_argument("--json", action="store_true", help="print one JSON object per check")
    parser.add_argument("--version", action="version", version=f"edge-doctor {__version__}")
    given = parser.parse_args(arguments)
    return run("edge-doctor", lambda: _check(given.config, vars(given), given.json))


def _check(config: Path | None, flags: Mapping[str, object], as_json: bool) -> int:
    if config is None and SERVICE_CONFIG.exists():
        settings = read_settings(SERVICE_CONFIG, {**flags, "db": flags["db"] or SERVICE_DATABASE})
    else:
        settings = read_settings(config, flags)
    problem = False
    for finding in examine(settings, Host()):
        problem = problem or finding.verdict == "problem"
        if as_json:
            print(json.dumps(asdict(finding)))  # in ASCII: nothing in it is escaped once more
            continue
        print(f"{finding.verdict:<8} {finding.subject:<10} {finding.fact}")
        if finding.advice:
            print(f"{'':<8} {'':<10} -> {finding.advice}")
    return ExitCode.PROBLEM if problem else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
