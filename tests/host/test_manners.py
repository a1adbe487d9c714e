"""The installed service beside its work: its units, its journal and what the doctor finds."""

from pathlib import Path

from tests.support.field_host import FieldHost, until

UNITS = ("edge-classify.service", "edge-classify@.service", "edge-report.service", "edge-report.timer")


def test_installed_units_are_clean_and_hardly_exposed(host: FieldHost) -> None:
    assert host.run("systemd-analyze", "verify", "--man=no", *UNITS) == ""
    for unit in ("edge-classify.service", "edge-report.service"):
        host.run("systemd-analyze", "security", "--no-pager", "--threshold=6", unit)


def test_the_journal_has_fields_and_no_line_per_frame_under_a_backlog(
    host: FieldHost, field_frames: list[Path]
) -> None:
    host.systemctl("stop", "edge-classify")
    host.drop(field_frames)
    host.systemctl("start", "edge-classify")
    until(lambda: host.logged_once(len(field_frames)), "every frame is logged once")
    lines = [entry for entry in host.journal() if entry.get("FRAME")]
    assert len(lines) < len(field_frames) / 4
    host.drop(field_frames[:1], host.root / "srv")
    frame = next((host.root / "srv").glob("*.[jJ]*"))
    (host.captures / "again.jpg").write_bytes(frame.read_bytes() + b"one byte more")
    (host.captures / "half.jpg").write_bytes(frame.read_bytes()[:5000])
    host.systemctl("stop", "edge-classify")  # says what is left to say
    assert any(entry.get("FRAMES") for entry in host.journal())
    assert {entry["SYSLOG_IDENTIFIER"] for entry in host.journal() if entry.get("LOGGER")} == {"edge-classify"}


def test_the_doctor_finds_the_installed_service_well(host: FieldHost) -> None:
    until(lambda: host.query("SELECT 1 FROM heartbeat"), "the first heartbeat")
    output = host.run("runuser", "-u", "edge-classify", "--", "edge-doctor", check=False)
    problems = [line for line in output.splitlines() if line.startswith("problem")]
    # A container has neither a time service nor a clock of its own, and the doctor says so.
    assert [line.split()[1] for line in problems] in ([], ["clock"]), output
