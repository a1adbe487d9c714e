"""What edge-doctor says of hosts that are well and of hosts that are not."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from edge.commands import doctor
from edge.commands.doctor import Host
from edge.database.schema import open_database
from edge.settings.options import Settings

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that is well: a Raspberry Pi with a clock of its own and a network."""
    (tmp_path / "inotify").mkdir()
    (tmp_path / "inotify/max_user_watches").write_text("8192\n")
    (tmp_path / "clocks/rtc0").mkdir(parents=True)
    (tmp_path / "throttled").write_text("0\n")
    return Host(
        tmp_path / "inotify", tmp_path / "clocks", tmp_path / "throttled", lambda: True, lambda: 51.2, lambda: NOON
    )


@pytest.fixture
def settings(tmp_path: Path, tiny_model: Path) -> Settings:
    (tmp_path / "captures").mkdir()
    with_beat = open_database(tmp_path / "detections.db")
    with_beat.execute("INSERT INTO heartbeat (at) VALUES (?)", ((NOON - timedelta(minutes=5)).isoformat(),))
    with_beat.close()
    db = tmp_path / "detections.db"
    return Settings(watch=tmp_path / "captures", db=db, model=tiny_model, time_zone="UTC", min_free_bytes=1)


def problems(settings: Settings, host: Host) -> dict[str, str]:
    found = [f for f in doctor.examine(settings, host) if f.verdict == "problem" and f.subject != "service"]
    assert all(finding.advice for finding in found), "a problem comes with what to do"
    return {finding.subject: finding.fact for finding in found}


def test_a_host_that_is_well_has_no_problem(settings: Settings, host: Host) -> None:
    assert problems(settings, host) == {}


def test_a_damaged_model_is_named(settings: Settings, host: Host, tmp_path: Path) -> None:
    assert settings.model is not None
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(settings.model.read_bytes()[:1000])
    assert str(broken) in problems(structs.replace(settings, model=broken), host)["model"]


def test_a_silent_daemon_and_a_damaged_database_differ(settings: Settings, host: Host) -> None:
    later = replace(host, now=lambda: NOON + timedelta(hours=5))
    assert "silent for 5.1 h" in problems(settings, later)["database"]
    with settings.db.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (settings.db.stat().st_size - 4096))
    assert "silent for" not in problems(settings, later)["database"]


def test_a_folder_that_is_not_there_is_waited_for(settings: Settings, host: Host) -> None:
    assert settings.watch is not None
    shutil.rmtree(settings.watch)
    assert "waits for it" in problems(settings, host)["captures"]


def test_more_folders_than_the_kernel_watches(settings: Settings, host: Host) -> None:
    assert settings.watch is not None
    for name in "abcdefghij":
        (settings.watch / name).mkdir()
    (host.inotify / "max_user_watches").write_text("10\n")
    assert problems(settings, host)["inotify"] == "11 folders, and the kernel lets a user watch 10"


def test_a_clock_that_stands_still_at_night(settings: Settings, host: Host) -> None:
    shutil.rmtree(host.clocks / "rtc0")
    assert problems(settings, replace(host, synchronised=lambda: None))["clock"].endswith("while the power is off")
    assert problems(settings, host) == {}  # the network keeps it right
    reset = replace(host, now=lambda: datetime(1970, 1, 1, tzinfo=UTC), synchronised=lambda: False)
    assert "1970" in problems(settings, reset)["clock"]


def test_a_full_card(settings: Settings, host: Host) -> None:
    assert "nothing is logged" in problems(structs.replace(settings, min_free_bytes=10**18), host)["space"]


def test_a_weak_supply_and_heat(settings: Settings, host: Host) -> None:
    host.throttled.write_text("50005\n")
    said = problems(settings, host)["power"]
    assert said == "51 °C, the supply's voltage is too low, the processor is throttled"
    host.throttled.write_text("50000\n")  # it was, since the start: worth knowing, nothing to act on today
    assert problems(settings, host) == {}
    assert problems(settings, replace(host, temperature_c=lambda: 84.0))["power"].startswith("84")


def test_the_exit_code_tells(settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert doctor.main(["--watch", str(missing), "--model", str(settings.model), "--db", str(settings.db)]) == 1
    assert "mount the card" in capsys.readouterr().out
    assert doctor.main(["--config", str(missing)]) == 2


def test_json_is_one_object_for_each_check(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = doctor.main(["--json", "--db", str(tmp_path / "d.db"), "--model", str(tiny_model)])
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {finding["subject"] for finding in findings} >= {"model", "database", "captures", "clock", "space"}
    assert all(set(finding) == {"verdict", "subject", "fact", "advice"} for finding in findings)
    assert code == int(any(finding["verdict"] == "problem" for finding in findings))


def test_the_help_has_only_flags_that_a_check_uses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        doctor.main(["--help"])
    said = capsys.readouterr().out
    assert "--min-free-bytes" in said
    assert not [flag for flag in ("--reclassify", "--power", "--threads", "--second-look") if flag in said]
