"""`edge-db retime`, and what a start of `edge-classify` does to the times of frames that are logged."""

import re
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge.capture.capture_time import capture_time
from edge.commands.classify import main as classify
from edge.commands.db import main as edge_db
from edge.commands.report import main as edge_report
from edge.database.corrections import capture_times
from edge.database.corrections.capture_times import judge_future, set_capture_time
from edge.database.corrections.retime import parse_shift, seconds_in_words
from edge.database.schema import open_database
from edge.image.exif import Exif
from edge.report.read import believable_times
from tests.support.made_images import noisy_jpeg
from tests.support.signal_handlers import keep_signals

Classify = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Classify:
    """Classify the folder `cap`."""

    def once(*more: str) -> int:
        (tmp_path / "cap").mkdir(exist_ok=True)
        settings = ["--db", str(tmp_path / "d.db"), "--model", str(tiny_model), "--min-free-bytes", "0"]
        with keep_signals():
            return classify([str(tmp_path / "cap"), "-q", *settings, *more])

    return once


def frames(folder: Path, *taken: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(taken, 1):
        (folder / f"IMG_{number:04}.JPG").write_bytes(noisy_jpeg(number, text))


def rows(db: Path, sql: str = "SELECT captured_at, clock_doubt FROM media ORDER BY path") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def ridge(tmp_path: Path, run: Classify) -> Path:
    """A database with 20 frames of a camera whose clock began on the first of January 2010."""
    frames(tmp_path / "cap", *(f"2010:01:01 {n:02}:00:00" for n in range(20)))
    assert run("--deployment", "ridge", "--time-zone", "Africa/Nairobi") == 0
    return tmp_path / "d.db"


def test_a_shift_moves_every_frame_and_can_be_undone_by_the_opposite_one(ridge: Path) -> None:
    before = rows(ridge)
    assert edge_db(["retime", "--db", str(ridge), "--deployment", "ridge", "--shift", "+5200d1h30m"]) == 0
    moved = rows(ridge, "SELECT min(captured_at), max(captured_at) FROM media")
    assert moved == [("2024-03-27T22:30:00.000Z", "2024-03-28T17:30:00.000Z")]
    events = rows(ridge, "SELECT min(start), sum(media_count) FROM event")
    assert events[0][0] > "2024"
    assert rows(ridge, "SELECT min(captured_at_raw) FROM media") == [("2010:01:01 00:00:00",)]
    arguments = ["retime", "--db", str(ridge), "--deployment", "ridge", "--shift=-5200d1h30m", "--note", "undone"]
    assert edge_db([*arguments, "--by", "Ana"]) == 0
    assert rows(ridge) == before
    audit = rows(ridge, "SELECT deployment, shift_s, note FROM retime")
    assert audit == [("ridge", 449285400.0, None), ("ridge", -449285400.0, "undone")]
    assert rows(ridge, 'SELECT "by", count(*) FROM correction WHERE retime = 2 GROUP BY 1') == [("Ana", 20)]


def test_an_anchor_says_when_one_frame_was_really_taken(ridge: Path) -> None:
    arguments = ["retime", "--db", str(ridge), "--deployment", "ridge", "--anchor", "IMG_0004.JPG"]
    assert edge_db([*arguments, "2024-05-01 12:00:00", "--from", "2009-12-31T22:00"]) == 0
    times = [at for at, _ in rows(ridge)]
    assert times[3] == "2024-05-01T09:00:00.000Z"  # noon in Nairobi
    assert times[0] == "2009-12-31T21:00:00.000Z"  # before --from
    for wrong in (["IMG_9999.JPG", "2024-05-01 12:00:00"], ["IMG_0004.JPG", "noon"]):
        assert edge_db([*arguments[:-1], *wrong]) == 2
    for wrong_shift in ("soon", "+999999999999999d", "+9000000d"):
        assert edge_db(["retime", "--db", str(ridge), "--deployment", "ridge", "--shift", wrong_shift]) == 2
    assert len(rows(ridge, "SELECT * FROM retime")) == 1


def test_the_undo_restores_exactly_what_was_moved(ridge: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(ridge)) as connection:
        connection.execute("UPDATE media SET clock_doubt = 'backwards' WHERE id = 3")
        connection.commit()
    before = rows(ridge)
    retime = ["retime", "--db", str(ridge)]
    assert edge_db([*retime, "--deployment", "ridge", "--shift=+1.5s", "--until", "2010-01-01T03:00:00"]) == 0
    moved = rows(ridge, "SELECT media, old, new FROM correction WHERE retime = 1 AND field = 'captured_at' ORDER BY 1")
    assert len(moved) == 7
    assert moved[0] == (1, "2009-12-31T21:00:00.000Z", "2009-12-31T21:00:01.500Z")
    assert rows(ridge, "SELECT old, new FROM correction WHERE field = 'clock_doubt'") == [("backwards", None)]
    assert edge_db([*retime, "--undo=1"]) == 0
    assert rows(ridge) == before
    assert rows(ridge, "SELECT shift_s, undoes FROM retime WHERE id = 2") == [(-1.5, 1)]
    undone = rows(ridge, "SELECT count(*) FROM correction u JOIN correction c ON c.id = u.undoes AND c.old = u.new")
    assert undone == [(8,)]
    for again in ("--undo=1", "--undo=2", "--undo=9"):
        assert edge_db([*retime, again]) == 2
    assert edge_db([*retime, "--deployment", "ridge", "--undo=1"]) == 2
    assert edge_db([*retime]) == 2


def test_only_the_last_of_two_retimes_can_be_undone(ridge: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = rows(ridge)
    retime = ["retime", "--db", str(ridge)]
    for shift in ("+1h", "+2d"):
        assert edge_db([*retime, "--deployment", "ridge", "--shift", shift]) == 0
    assert edge_db([*retime, "--undo", "1"]) == 2
    assert "retime 2 moved some of these frames later" in capfd.readouterr().err
    for number in ("2", "1"):
        assert edge_db([*retime, "--undo", number]) == 0
    assert rows(ridge) == before


def test_a_time_that_the_file_tells_anew_is_no_part_of_earlier_retimes(ridge: Path) -> None:
    retime = ["retime", "--db", str(ridge)]
    assert edge_db([*retime, "--deployment", "ridge", "--shift=+1h"]) == 0
    captured = capture_time(Exif("2026:05:02 10:00:00"), 0.0, None, datetime(2026, 6, 1, tzinfo=UTC))
    with closing(open_database(ridge)) as connection, connection:
        connection.execute("BEGIN")
        assert set_capture_time(connection, 5, captured, note="the file's EXIF was corrected")
        assert not set_capture_time(connection, 5, captured)
    changed = rows(ridge, "SELECT field, new FROM correction WHERE media = 5 AND retime IS NULL ORDER BY id")
    assert ("captured_at_raw", "2026:05:02 10:00:00") in changed
    assert edge_db([*retime, "--undo=1"]) == 0
    assert rows(ridge, "SELECT captured_at_raw, captured_at LIKE '2026%' FROM media WHERE id = 5")[0][1] == 1
    assert rows(ridge, "SELECT captured_at FROM media WHERE id = 4") == [("2010-01-01T00:00:00.000Z",)]


@pytest.mark.parametrize("name", ["IMG%0001.JPG", "IMG_000_.JPG", "%", "MG_0001.JPG", "cap", "img_0001.jpg", ""])
def test_names_are_taken_literally(ridge: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["retime", "--db", str(ridge), "--deployment", "ridge", "--anchor", name, "2026-05-02 23:08:09"]
    assert edge_db(arguments) == 2
    assert f"0 frames of 'ridge' are called {name!r}" in capfd.readouterr().err


@pytest.mark.parametrize("whose", [["--no-deployment"], ["--deployment", "unnamed"], ["--deployment", "d"]])
def test_frames_without_a_deployment_are_reached(tmp_path: Path, run: Classify, whose: list[str]) -> None:
    frames(tmp_path / "cap", "2013:01:01 00:00:05")
    name = b"\xff_0001.JPG".decode("utf-8", "surrogateescape")
    (tmp_path / "cap" / name).write_bytes(noisy_jpeg(7, "2013:01:01 01:00:05"))
    assert run("--time-zone", "UTC") == 0
    retime = ["retime", "--db", str(tmp_path / "d.db"), *whose]
    assert edge_db([*retime, "--anchor", "IMG_0001.JPG", "2026-05-04 17:08:09"]) == 0
    assert edge_db([*retime, "--anchor", name, "2026-05-04 18:08:09"]) == 0
    assert rows(tmp_path / "d.db", "SELECT deployment, shift_s FROM retime") == [(None, 420916084.0), (None, 0.0)]


@pytest.mark.parametrize("text", ["-420916084s", "+1000000s", "+0.001s", "-1.5s", "+0s", "+86400s", "-999999999s"])
def test_any_shift_is_said_as_it_is_read(text: str) -> None:
    assert seconds_in_words(parse_shift(text)) == text


def test_the_printed_undo_undoes(tmp_path: Path, run: Classify, capfd: pytest.CaptureFixture[str]) -> None:
    frames(tmp_path / "cap", "2013:01:01 00:00:05")
    assert run("--time-zone", "UTC", "--deployment", "ridge") == 0
    retime = ["retime", "--db", str(tmp_path / "d.db"), "--deployment", "ridge"]
    assert edge_db([*retime, "--anchor", "IMG_0001.JPG", "2026-05-04 17:08:09"]) == 0
    undo = capfd.readouterr().out.strip().partition("undo with ")[2]
    assert undo == "--shift=-420916084s"
    assert edge_db([*retime, undo]) == 0
    assert rows(tmp_path / "d.db")[0][0] == "2013-01-01T00:00:05.000Z"


def test_a_time_that_is_not_the_cameras_stays_unless_it_is_asked_for(tmp_path: Path, run: Classify) -> None:
    frames(tmp_path / "cap", "2026:05:01 10:00:00", "0000:00:00 00:00:00", "some time in May")
    assert run("--time-zone", "UTC", "--deployment", "ridge") == 0
    before = rows(tmp_path / "d.db")
    assert [doubt for _, doubt in before] == [None, "no_exif", "unreadable_time"]
    retime = ["retime", "--db", str(tmp_path / "d.db"), "--deployment", "ridge", "--shift=+1h"]
    assert edge_db(retime) == 0
    assert rows(tmp_path / "d.db")[1:] == before[1:]
    assert edge_db([*retime, "--files-too"]) == 0
    assert [at for at, _ in rows(tmp_path / "d.db")[1:]] != [at for at, _ in before[1:]]


@pytest.mark.parametrize("taken", ["2037:12:01 10:00:00", "2001:01:01 10:00:00"])
def test_a_person_may_confirm_that_doubtful_times_are_right(tmp_path: Path, run: Classify, taken: str) -> None:
    frames(tmp_path / "cap", taken)
    assert run("--time-zone", "UTC", "--deployment", "ridge") == 0
    assert rows(tmp_path / "d.db")[0][1] in ("future", "before_2005")
    assert edge_db(["retime", "--db", str(tmp_path / "d.db"), "--deployment", "ridge", "--shift=+0s"]) == 0
    assert rows(tmp_path / "d.db")[0][1] is None
    assert edge_db(["retime", "--db", str(tmp_path / "d.db"), "--undo=1"]) == 0
    assert rows(tmp_path / "d.db")[0][1] in ("future", "before_2005")


def configured(tmp_path: Path, zone: str | None) -> list[str]:
    text = f'[deployment.ridge]\nfolder = "{tmp_path}/cap"\n' + (f'time_zone = "{zone}"\n' if zone else "")
    (tmp_path / "c.toml").write_text(text)
    return ["--config", str(tmp_path / "c.toml")]


def test_a_zone_that_is_set_later_reads_the_cameras_times_again(
    tmp_path: Path, run: Classify, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    frames(tmp_path / "cap", "2026:05:02 22:08:09", "2026:05:03 06:30:00", "0000:00:00 00:00:00", "2026:05:04 00:00:00")
    assert run(*configured(tmp_path, None)) == 0
    db = tmp_path / "d.db"
    assert (
        edge_db(["retime", "--db", str(db), "--deployment", "ridge", "--shift=+1h", "--from", "2026-05-03T23:00"]) == 0
    )
    unset = rows(db)[2]
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    found = rows(db)
    assert found[0] == ("2026-05-02T19:08:09.000Z", None)
    assert found[1] == ("2026-05-03T03:30:00.000Z", None)
    assert found[2] == unset
    assert found[3] == ("2026-05-04T01:00:00.000Z", "zone_assumed")  # somebody moved it
    audit = rows(db, "SELECT media, old, new, note FROM correction WHERE field = 'captured_at' AND retime IS NULL")
    assert audit[0] == (
        *(1, "2026-05-02T22:08:09.000Z", "2026-05-02T19:08:09.000Z"),
        "the camera's time, read in Africa/Nairobi",
    )
    assert len(audit) == 2
    events = rows(db, "SELECT min(start) FROM event")
    assert events[0][0] <= "2026-05-02T19:08:09.000Z"
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    assert rows(db) == found
    assert edge_report(["csv", "--db", str(db), "--out", str(tmp_path / "out.csv")]) == 0
    assert "2026-05-02T22:08:09+03:00" in (tmp_path / "out.csv").read_text()
    assert run(*configured(tmp_path, "Europe/London")) == 0  # a zone that is corrected
    assert rows(db)[0] == ("2026-05-02T21:08:09.000Z", None)


def test_the_zone_of_all_cameras_is_for_frames_whose_zone_was_assumed(
    tmp_path: Path, run: Classify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    frames(tmp_path / "cap", "2026:05:02 22:08:09")
    assert run() == 0
    assert run("--time-zone", "Africa/Nairobi") == 0
    assert rows(tmp_path / "d.db") == [("2026-05-02T19:08:09.000Z", None)]
    assert run("--time-zone", "Europe/London") == 0  # another card's zone, not this one's
    assert rows(tmp_path / "d.db") == [("2026-05-02T19:08:09.000Z", None)]


def test_an_offset_that_the_frame_tells_stays_in_any_zone(tmp_path: Path, run: Classify) -> None:
    frames(tmp_path / "cap", "2026:05:02 22:08:09+05:00")
    assert run(*configured(tmp_path, None)) == 0
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    assert rows(tmp_path / "d.db") == [("2026-05-02T17:08:09.000Z", None)]


class Clock:
    """The clock of this machine as the software sees it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def show(self, moment: str, synchronised: bool | None) -> None:
        at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        for module in (capture_times, believable_times):
            self._patch.setattr(module, "now", lambda: at)
            self._patch.setattr(module, "clock_synchronised", lambda: synchronised)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def health(db: Path, tmp_path: Path) -> str:
    edge_report(["health", "--db", str(db), "--out", str(tmp_path / "health.txt")])
    return (tmp_path / "health.txt").read_text()


def nights(db: Path, tmp_path: Path) -> str:
    assert edge_report(["detection-history", "--db", str(db), "--all-taxa", "--out", str(tmp_path / "dh")]) == 0
    return (tmp_path / "dh" / "effort.csv").read_text()


def test_a_device_whose_clock_is_behind_doubts_itself(tmp_path: Path, run: Classify, clock: Clock) -> None:
    frames(tmp_path / "cap", *(f"2037:12:0{day} 17:08:09" for day in (1, 2, 3)))
    clock.show("2026-05-01", None)
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    db = tmp_path / "d.db"
    assert {doubt for _, doubt in rows(db)} == {"future"}
    clock.show("2026-05-01", True)
    assert "dated in the future" in health(db, tmp_path)
    for moment, synchronised in (("2026-05-01", False), ("2037-12-04", True), ("2037-12-04", None)):
        clock.show(moment, synchronised)
        said = health(db, tmp_path)
        assert "future" not in said
        assert "device of d.db: its clock was behind when 3 frames came" in said
        assert "ridge,3" in nights(db, tmp_path)
    assert {doubt for _, doubt in rows(db)} == {"future"}  # a report changes nothing
    clock.show("2037-12-04", True)
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    assert {doubt for _, doubt in rows(db)} == {None}
    assert len(rows(db, "SELECT * FROM correction WHERE field = 'clock_doubt' AND old = 'future'")) == 3


def test_a_camera_that_leaps_is_in_the_future_even_for_a_machine_that_runs_free(
    tmp_path: Path, run: Classify, clock: Clock
) -> None:
    clock.show("2026-11-01", False)
    frames(tmp_path / "cap", "2026:05:02 17:08:09", "2062:05:03 17:08:09")
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    assert "1 frame dated in the future" in health(tmp_path / "d.db", tmp_path)


def test_a_heartbeat_of_a_right_clock_tells_too(tmp_path: Path, run: Classify, clock: Clock) -> None:
    clock.show("2026-11-01", False)
    frames(tmp_path / "cap", "2062:05:03 17:08:09")
    assert run(*configured(tmp_path, "Africa/Nairobi")) == 0
    with closing(sqlite3.connect(tmp_path / "d.db")) as connection:
        connection.execute("INSERT INTO heartbeat (at, clock_synchronised) VALUES ('2026-10-30T00:00:00.000Z', 1)")
        connection.commit()
    assert "1 frame dated in the future" in health(tmp_path / "d.db", tmp_path)


def test_a_machine_that_runs_free_judges_nothing(tmp_path: Path, run: Classify, clock: Clock) -> None:
    frames(tmp_path / "cap", "2037:12:01 17:08:09")
    assert run("--time-zone", "UTC") == 0
    with closing(open_database(tmp_path / "d.db")) as connection:
        clock.show("2038-01-01", False)
        assert judge_future(connection) == 0
        clock.show("2037-12-01", True)
        assert judge_future(connection) == 1


TAKEN = {
    "before 2005": ("2001:01:01 00:00:09", "2001:01:02 00:00:09"),
    "in the future": ("2062:05:03 17:08:09", "2062:05:04 17:08:09"),
    "earlier than frames before them": ("2026:05:02 17:08:09", "2018:01:01 00:00:05"),
    "was the clock reset": ("2019:01:01 00:00:09", "2026:05:02 17:08:09"),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("words", TAKEN)
def test_every_command_that_health_advises_works(
    tmp_path: Path,
    run: Classify,
    clock: Clock,
    words: str,
    named: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock.show("2026-11-01", True)
    frames(tmp_path / "cap", *TAKEN[words])
    assert run("--time-zone", "UTC", *(["--deployment", "north ridge's"] if named else [])) == 0
    said = health(tmp_path / "d.db", tmp_path)
    assert words in said
    commands = [shlex.split(text) for text in re.findall(r"`(edge-db [^`]*)`", said)]
    assert commands
    for command in commands:
        assert edge_db(command[1:]) == 0, command
        assert "2 frames from" in capfd.readouterr().out
        assert edge_db([*command[1:], "--shift=0s"]) == 0
    assert not re.search("`edge-db retime`", health(tmp_path / "d.db", tmp_path))
