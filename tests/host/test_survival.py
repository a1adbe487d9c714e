"""The service on a booted Debian under what happens in the field: reboots, power cuts, hangs, pulled cards."""

import shutil
from pathlib import Path

import pytest

from tests.support.field_host import FieldHost, until

BURST = 40


@pytest.fixture
def burst(field_frames: list[Path]) -> list[Path]:
    return field_frames[:BURST]


def test_installed_from_the_stick_by_one_command_it_classifies(bare_host: FieldHost, burst: list[Path]) -> None:
    output = bare_host.run("/media/stick/systemd/install.sh")
    assert "is running" in output
    bare_host.drop(burst)
    until(lambda: bare_host.logged_once(BURST), "every frame is logged once")
    again = bare_host.run("/media/stick/systemd/install.sh")
    assert "is running" in again
    assert bare_host.logged_once(BURST)
    assert not (bare_host.root / "opt/edge-classify/previous").is_symlink()  # the same again is no upgrade


@pytest.mark.parametrize("how", ["reboot", "plug pulled"])
def test_a_reboot_in_mid_burst_loses_and_doubles_nothing(host: FieldHost, burst: list[Path], how: str) -> None:
    host.drop(burst[: BURST // 2])
    until(lambda: host.classified() > 0, "the burst is under way")
    if how == "plug pulled":
        host.pull_the_plug()
        host.drop(burst[BURST // 2 :])
        host.boot()
    else:
        host.drop(burst[BURST // 2 :])
        host.reboot()
    until(lambda: host.logged_once(BURST), "every frame is logged once")


def test_killed_with_9_it_comes_back_and_goes_on(host: FieldHost, burst: list[Path]) -> None:
    host.drop_in("[Service]\nRestartSec=100ms\n")
    killed = host.daemon_pid()
    host.drop(burst[: BURST // 2])
    until(lambda: host.classified() > 0, "the burst is under way")
    host.run("kill", "-9", killed)
    host.drop(burst[BURST // 2 :])
    until(lambda: host.logged_once(BURST), "every frame is logged once")
    assert host.daemon_pid() not in (killed, "0")


def test_a_hang_is_noticed_by_the_watchdog(host: FieldHost, burst: list[Path]) -> None:
    host.drop_in("[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    host.systemctl("restart", "edge-classify")
    hung = host.daemon_pid()
    host.run("kill", "-STOP", hung)
    host.drop(burst)
    until(lambda: host.logged_once(BURST), "every frame is logged once")
    assert host.daemon_pid() != hung
    assert host.has_logged("Watchdog timeout")


def test_while_it_works_or_waits_the_watchdog_is_content(host: FieldHost, burst: list[Path]) -> None:
    host.drop_in("[Service]\nWatchdogSec=2\n")
    host.systemctl("restart", "edge-classify")
    first = host.property("WatchdogTimestampMonotonic")
    until(lambda: int(host.property("WatchdogTimestampMonotonic")) > int(first) + 5_000_000, "5 s of idle pings")
    host.drop(burst)
    until(lambda: host.logged_once(BURST), "every frame is logged once")
    assert host.property("NRestarts") == "0"
    assert "0 waiting" in host.property("StatusText") or "waiting" in host.property("StatusText")


def test_out_of_memory_it_is_never_given_up(host: FieldHost, burst: list[Path]) -> None:
    # Where systemd knows a back-off it is set, and would make the test wait for ten minutes.
    assert host.property("RestartSteps") in ("", "8")
    swift = "RestartSec=100ms\nRestartSteps=0\n"
    host.drop_in(f"[Service]\nMemoryMax=30M\nMemorySwapMax=0\n{swift}TimeoutStartSec=20\n")
    host.systemctl("stop", "edge-classify")
    host.drop(burst)
    host.systemctl("start", "--no-block", "edge-classify")
    often = "it is killed and started again, more often than systemd's custom"
    until(lambda: int(host.property("NRestarts")) > 8, often, timeout_s=300)
    assert any(host.has_logged(word) for word in ("KILL", "killed", "oom-kill"))
    host.drop_in(f"[Service]\nMemoryMax=600M\n{swift}")
    until(lambda: host.logged_once(BURST), "with enough memory every frame is logged once")


def test_the_card_is_taken_out_and_put_back(host: FieldHost, burst: list[Path]) -> None:
    card = host.root / "card"
    card.mkdir()
    host.drop(burst[:10], card)
    host.run("mount", "--bind", "/card", "/srv/captures")
    host.systemctl("restart", "edge-classify")
    until(lambda: host.logged_once(10), "the first card is logged")
    host.run("umount", "/srv/captures")
    host.drop(burst[10:], card)
    host.run("mount", "--bind", "/card", "/srv/captures")
    until(lambda: host.logged_once(BURST), "what came with the card is logged once")
    assert host.property("ActiveState") == "active"


def test_a_missed_report_is_written_when_the_device_is_back(host: FieldHost, burst: list[Path]) -> None:
    host.drop(burst)
    until(lambda: host.logged_once(BURST), "every frame is logged once")
    host.drop_in("[Timer]\nRandomizedDelaySec=0\n", "edge-report.timer")
    host.systemctl("stop", "edge-report.timer")
    host.run("mkdir", "-p", "/var/lib/systemd/timers")
    host.run("touch", "--date=3 days ago", "/var/lib/systemd/timers/stamp-edge-report.timer")
    host.systemctl("start", "edge-report.timer")
    reports = host.root / "var/lib/edge-classify/reports"
    until(lambda: (reports / "digest.txt").exists(), "the timer has the report and the digest written")
    assert "<html" in (reports / "report.html").read_text()
    until(lambda: host.property("Result", "edge-report") == "success", "the report's unit ends well")


def test_two_cameras_on_one_device_keep_apart(host: FieldHost, burst: list[Path]) -> None:
    for name, frames in (("ridge", burst[:5]), ("ford", burst[5:12])):
        folder = host.root / "srv" / name
        folder.mkdir()
        host.drop(frames, folder)
        settings = (host.root / "etc/edge-classify/config.toml").read_text().replace("/srv/captures", f"/srv/{name}")
        (host.root / f"etc/edge-classify/{name}.toml").write_text(settings)
        host.systemctl("start", f"edge-classify@{name}")
    counts = {"ridge": 5, "ford": 7}
    for name, count in counts.items():
        database = f"var/lib/edge-classify/{name}/detections.db"
        until(lambda d=database, n=count: host.classified(d) == n, f"{name}'s own frames are in its own database")  # type: ignore[misc]
    assert host.classified() == 0
    shutil.copyfile(burst[0], host.captures / "a.jpg")
    until(lambda: host.classified() == 1, "the third service works beside them")
