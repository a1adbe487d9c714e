"""What the order of files says of a camera's clock, asked in one run and after a restart for each frame."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.capture.capture_time import capture_time
from edge.database.corrections.clock_order import ClockOrder
from edge.database.schema import open_database
from edge.image.exif import Exif
from edge.timestamps import iso_utc

NOW = datetime(2027, 6, 1, 12, tzinfo=UTC)


@dataclass
class Camera:
    """A database that frames are logged into, and what became of each."""

    path: Path
    restarts: bool
    deployment: str | None = None
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/London"))

    def __post_init__(self) -> None:
        self.database = open_database(self.path)
        self.database.execute("INSERT INTO deployment (id) VALUES ('ridge')")
        self.order = ClockOrder(self.database)

    def log(self, path: str, taken: str) -> None:
        if self.restarts:
            self.order = ClockOrder(self.database)
        captured = self.order.judged(path, capture_time(Exif(taken), 0.0, self.zone, NOW), self.deployment)
        at, doubts = iso_utc(captured.at), ",".join(captured.doubts) or None
        media = self.database.execute(
            "INSERT INTO media (path, digest, bytes, captured_at, captured_at_raw, clock_doubt, deployment, "
            "received_at, status) VALUES (?, ?, 1, ?, ?, ?, ?, ?, 'classified')",
            (path, path, at, taken, doubts, self.deployment, at),
        ).lastrowid
        self.database.execute(
            "INSERT INTO file (path, bytes, mtime_ns, media, seen_at) VALUES (?, 1, 1, ?, ?)", (path, media, at)
        )

    def doubts(self, column: str = "coalesce(clock_doubt, '')") -> list[str]:
        return [row[0] for row in self.database.execute(f"SELECT {column} FROM media ORDER BY id")]


@pytest.fixture(params=[False, True], ids=["one run", "restarts"])
def camera(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Camera]:
    camera = Camera(tmp_path / "d.db", request.param)
    yield camera
    camera.database.close()


def test_a_clock_that_runs_backwards_is_noticed_until_it_has_caught_up(camera: Camera) -> None:
    camera.log("/c/IMG_0001.JPG", "2026:05:01 10:00:00")
    camera.log("/c/IMG_0002.JPG", "2026:05:01 10:05:00")
    camera.log("/c/IMG_0003.JPG", "2015:01:01 00:00:00")  # the battery was changed
    camera.log("/c/IMG_0004.JPG", "2015:01:01 00:10:00")
    camera.log("/d/IMG_0005.JPG", "2015:01:01 00:20:00")  # another folder, another camera
    camera.log("/c/IMG_0006.JPG", "2026:05:02 10:00:00")
    camera.log("/c/IMG_0000.JPG", "2026:05:01 09:00:00")  # sent late, with its own number
    assert camera.doubts() == ["", "", "backwards", "backwards", "", "", ""]


@pytest.mark.parametrize("in_time_order", [True, False])
def test_a_counter_that_wraps_is_no_backward_clock(camera: Camera, in_time_order: bool) -> None:
    numbers = [9997, 9998, 9999, 1, 2, 3]
    frames = [(f"/c/IMG_{n:04}.JPG", f"2026:05:01 10:{minute:02}:00") for minute, n in enumerate(numbers)]
    for frame in frames if in_time_order else sorted(frames):
        camera.log(*frame)
    assert set(camera.doubts()) == {""}
    camera.log("/c/IMG_0004.JPG", "2026:04:30 10:00:00")  # and a day back after it is one
    assert camera.doubts()[-1] == "backwards"


def test_a_counter_that_goes_on_in_the_next_folder_is_no_backward_clock(camera: Camera) -> None:
    camera.log("/c/100MEDIA/IMG_9999.JPG", "2026:05:01 10:00:00")
    camera.log("/c/101MEDIA/IMG_0001.JPG", "2026:05:01 10:05:00")
    camera.log("/c/100MEDIA/IMG_9998.JPG", "2026:05:01 09:55:00")
    camera.log("/c/101MEDIA/IMG_0002.JPG", "2026:05:01 10:06:00")
    assert set(camera.doubts()) == {""}


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("form", ["{:%m%d}{:04}", "{:%d%m}{:04}", "{:%Y%m%d}{:04}", "{:%H%M%S}"])
def test_a_name_of_month_day_and_number_is_no_backward_clock(camera: Camera, form: str, by_name: bool) -> None:
    moments = [
        datetime.fromisoformat(text)
        for text in ("2025-12-30 09:00", "2025-12-31 08:00", "2026-01-01 07:00", "2026-02-03 06:00")
    ]
    frames = [(f"/c/{form.format(at, number)}.JPG", f"{at:%Y:%m:%d %H:%M:%S}") for number, at in enumerate(moments, 1)]
    for frame in sorted(frames) if by_name else frames:
        camera.log(*frame)
    assert set(camera.doubts()) == {""}


def test_a_backward_clock_is_seen_within_the_day_that_is_named(camera: Camera) -> None:
    camera.log("/c/05020001.JPG", "2026:05:02 10:00:00")
    camera.log("/c/05020002.JPG", "2026:05:02 09:00:00")
    assert camera.doubts() == ["", "backwards"]


def test_a_reset_in_the_very_first_frames_is_noticed_when_the_clock_leaps(camera: Camera) -> None:
    camera.log("/c/IMG_0001.JPG", "2019:01:01 00:00:09")
    camera.log("/c/IMG_0002.JPG", "2019:01:03 10:00:00")
    assert camera.doubts() == ["", ""]
    camera.log("/c/IMG_0003.JPG", "2026:05:02 17:08:09")
    camera.log("/c/IMG_0004.JPG", "2026:05:03 17:08:09")
    assert camera.doubts() == ["reset", "reset", "", ""]
    audit = camera.database.execute('SELECT media, field, old, new, "by" FROM correction ORDER BY media').fetchall()
    assert audit == [(media, "clock_doubt", None, "reset", "edge-classify") for media in (1, 2)]
    camera.log("/c/IMG_0000.JPG", "2019:01:01 00:00:01")  # sent late
    assert camera.doubts()[-1] == "reset"


@pytest.mark.parametrize(
    ("first", "second", "reset"),
    [
        ("2025:03:04 10:00:00", "2026:05:02 10:00:00", False),  # a camera that lay on the shelf
        ("2025:12:31 23:00:00", "2026:05:02 10:00:00", False),
        ("2025:06:01 00:00:12", "2026:08:02 10:00:00", True),
        ("2026:01:01 00:00:12", "2026:08:02 10:00:00", False),  # may be New Year's Eve
    ],
)
def test_a_leap_alone_is_no_reset(camera: Camera, first: str, second: str, reset: bool) -> None:
    camera.log("/c/IMG_0001.JPG", first)
    camera.log("/c/IMG_0002.JPG", second)
    assert camera.doubts() == ["reset" if reset else "", ""]


@pytest.mark.parametrize("deployment", [None, "ridge"])
def test_a_reset_is_noticed_in_names_of_month_and_day(camera: Camera, deployment: str | None) -> None:
    camera.deployment = deployment
    camera.log("/c/01010001.JPG", "2013:01:01 00:01:00")
    camera.log("/c/01010002.JPG", "2013:01:01 00:02:00")
    camera.log("/c/05020003.JPG", "2026:05:02 10:00:00")
    assert camera.doubts() == ["reset", "reset", ""]


def test_a_reset_is_noticed_over_the_folders_of_a_deployment(camera: Camera) -> None:
    camera.deployment = "ridge"
    camera.log("/c/100MEDIA/IMG_0001.JPG", "2013:01:01 00:01:00")
    camera.log("/c/101MEDIA/IMG_0001.JPG", "2026:05:02 10:00:00")
    assert camera.doubts() == ["reset", ""]


def test_the_repeated_hour_is_told_by_the_order_of_files(camera: Camera) -> None:
    for number, minute in enumerate(["00:50", "01:10", "01:50", "01:05", "01:40", "02:05"]):
        camera.log(f"/c/IMG_{number:04}.JPG", f"2025:10:26 {minute}:00")
    assert camera.doubts() == [""] * 6
    times = [at[11:16] for at in camera.doubts("captured_at")]
    assert times == ["23:50", "00:10", "00:50", "01:05", "01:40", "02:05"]
    changed = camera.database.execute("SELECT media, old, new FROM correction ORDER BY media").fetchall()
    assert changed == [(2, "dst_repeat", None), (3, "dst_repeat", None)]


def test_a_repeated_hour_that_nothing_tells_is_marked_in_all_its_frames(camera: Camera) -> None:
    for number, minute in enumerate(["00:50", "01:10", "01:50", "02:05"]):
        camera.log(f"/c/IMG_{number:04}.JPG", f"2025:10:26 {minute}:00")
    camera.log("/c/without a number.JPG", "2025:10:26 01:20:00")
    assert camera.doubts() == ["", "dst_repeat", "dst_repeat", "", "dst_repeat"]


def test_a_clock_that_goes_back_by_more_than_the_repeated_hour_ran_backwards(camera: Camera) -> None:
    camera.log("/c/IMG_0001.JPG", "2025:10:26 04:30:00")
    camera.log("/c/IMG_0002.JPG", "2025:10:26 01:30:00")
    assert camera.doubts() == ["", "dst_repeat,backwards"]


def test_any_order_of_arrival_marks_no_right_frame(camera: Camera) -> None:
    frames = [(f"/c/IMG_{n:04}.JPG", f"2026:05:01 10:{n:02}:00") for n in range(4)]
    for permutation, folder in zip(itertools.permutations(frames), range(99), strict=False):
        for path, taken in permutation:
            camera.log(path.replace("/c/", f"/c/{folder}/"), taken)
    assert set(camera.doubts()) == {""}
