"""Which files the watcher yields, and when (tests/faults attacks the daemon as a process)."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from edge.capture import watcher as watch_module
from edge.capture.files import FileState, file_state, files_below, read_bytes
from edge.capture.inotify import FolderEvents
from edge.capture.watcher import FolderWatcher
from edge.host.mounts import Mount, is_silent, mounts_of


class Reader:
    """Takes files from a watch as the pipeline does."""

    def __init__(self, watch: FolderWatcher) -> None:
        self._stop = threading.Event()
        self._frames: Iterator[FileState | None] = watch.frames(self._stop)

    def next(self, seconds: float = 10.0) -> str:
        end = time.monotonic() + seconds
        for seen in self._frames:
            if seen is not None:
                return os.path.basename(seen.path)
            assert time.monotonic() < end, "no file came"
        raise AssertionError("the watch ended")

    def nothing(self, ticks: int = 3) -> bool:
        return all(next(self._frames) is None for _ in range(ticks))

    def close(self) -> None:
        self._stop.set()
        list(self._frames)


@pytest.fixture
def known() -> set[str]:
    return set()


@pytest.fixture
def reader(tmp_path: Path, known: set[str]) -> Iterator[Reader]:
    def unknown(files: Sequence[FileState]) -> list[FileState]:
        return [seen for seen in files if os.path.basename(seen.path) not in known]

    taken = Reader(FolderWatcher(tmp_path, unknown, settle_s=0.2))
    assert taken.nothing(1)
    yield taken
    taken.close()


def test_a_scan_that_meets_a_file_just_closed_does_not_make_it_wait(tmp_path: Path) -> None:
    (tmp_path / "closed.jpg").write_bytes(b"1")

    def unknown(files: Sequence[FileState]) -> list[FileState]:
        for seen in files:
            watch.schedule(seen.path)  # as the kernel's event does, while the scan asks the database
        return list(files)

    watch = FolderWatcher(tmp_path, unknown, settle_s=60)
    reader = Reader(watch)
    assert reader.next() == "closed.jpg"
    reader.close()


def test_a_file_counts_when_it_is_closed_moved_in_or_still(tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "closed.jpg").write_bytes(b"1")
    assert reader.next() == "closed.jpg"
    part = tmp_path / ".moved.jpg.part"
    part.write_bytes(b"2")
    assert reader.nothing()
    part.rename(tmp_path / "moved.jpg")
    assert reader.next() == "moved.jpg"
    with (tmp_path / "open.jpg").open("wb") as file:
        file.write(b"3")
        file.flush()
        assert reader.next() == "open.jpg"  # still for long enough, though nobody closed it


def test_folders_at_any_depth_and_those_that_come_later(tmp_path: Path, reader: Reader) -> None:
    deep = tmp_path / "DCIM" / "100EK113"
    deep.mkdir(parents=True)
    (deep / "a.jpg").write_bytes(b"1")
    assert reader.next() == "a.jpg"
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "b.jpg").write_bytes(b"2")
    outside.rename(tmp_path / "inside")
    assert reader.next() == "b.jpg"


def test_known_files_and_files_that_are_no_frames_are_left_out(tmp_path: Path, reader: Reader, known: set[str]) -> None:
    known.add("known.jpg")
    (tmp_path / "known.jpg").write_bytes(b"1")
    (tmp_path / "upload.jpg.tmp").write_bytes(b"2")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "known.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "new.jpg").write_bytes(b"3")
    assert reader.next() == "new.jpg"
    assert reader.nothing()


def test_more_events_than_there_is_room_for_are_found_again(
    tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LIMIT", 5)
    names = {f"{number:02}.jpg" for number in range(40)}
    for name in names:
        (tmp_path / name).write_bytes(b"1")
    found: set[str] = set()
    while found != names:
        found.add(reader.next())


def test_files_come_in_name_order_and_never_through_links(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a/1.jpg", "c.jpg", ".hidden/no.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [os.path.basename(seen.path) for seen in files_below(str(tmp_path))] == ["1.jpg", "2.jpg", "c.jpg"]


def test_reading_never_waits_and_never_follows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match="no regular file"):
        read_bytes(str(tmp_path / "pipe"), 10)
    with pytest.raises(OSError, match="symbolic links"):
        read_bytes(str(tmp_path / "link"), 10)
    assert read_bytes(str(tmp_path / "file"), 4) == b"0123"
    assert file_state(str(tmp_path / "link")) is None


def test_the_mount_that_holds_a_folder(tmp_path: Path) -> None:
    table = (Mount("/", "ext4", "8:1"), Mount("/media/card", "exfat", "8:17"), Mount("/media/card/sub", "nfs4", "0:50"))
    assert [mount.point for mount in mounts_of("/media/card", table)] == ["/media/card", "/media/card/sub"]
    assert [mount.point for mount in mounts_of("/media/cardigan", table)] == ["/"]
    assert is_silent("fuse.sshfs")
    assert is_silent("nfs4")
    assert not is_silent("exfat")


def test_gathered_files_come_together_at_the_next_multiple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch = FolderWatcher(tmp_path, list, gather_s=60.0)
    stopped = threading.Event()
    stopped.set()

    def ready(at: float) -> list[str]:
        now[0] = at
        return [os.path.basename(seen.path) for seen in iter(watch._next_ready, None)]

    for name, now[0] in (("a.jpg", 1010.25), ("b.jpg", 1019.5), ("c.jpg", 1020.5)):
        (tmp_path / name).write_bytes(b"1")
        watch._on_complete(str(tmp_path / name))
        if name == "b.jpg":
            assert ready(1019.75) == []
            assert ready(1020.25) == ["a.jpg", "b.jpg"]
    assert ready(1079.75) == []
    assert ready(1080.25) == ["c.jpg"]
    assert list(watch.frames(stopped)) == []  # ends, and closes what it opened


def test_after_any_warning_of_the_library_the_folder_is_scanned_again(tmp_path: Path) -> None:
    events = FolderEvents(str(tmp_path), lambda path: None, lambda path: None, lambda path: None)
    assert events.start() is None
    try:
        assert not events.may_have_lost_some()
        logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")
        assert events.may_have_lost_some()
        events.start()  # and then everything is looked through
        assert not events.may_have_lost_some()
    finally:
        events.stop()


LEFT_OUT = (
    *("@eaDir/IMG_0001.JPG/SYNOPHOTO_THUMB_XL.jpg", "$RECYCLE.BIN/S-1-5/a.jpg", ".Trash-1000/files/a.jpg"),
    *("RECYCLER/a.jpg", "System Volume Information/a.jpg", "lost+found/a.jpg", ".thumbnails/a.jpg", "#recycle/a.jpg"),
    *("a.JPG_original", "a.jpg~", "a.jpg.bak", "a.THM", "._a.jpg", "a.jpg_exiftool_tmp", "deeper/@EADIR/a.jpg"),
)
KEPT = ("kept/a.jpg", "kept/b_original.jpg", "kept/recycler.jpg", "kept/eaDir/c.jpg")


@pytest.mark.parametrize("first", [True, False])
def test_what_holds_no_frames_is_left_out_by_scans_and_events(tmp_path: Path, first: bool) -> None:
    """Recycle bins, thumbnails of network drives, backups: in the folder before the watch begins, or made later."""
    reader = Reader(FolderWatcher(tmp_path, list, settle_s=0.2))

    def make() -> None:
        for name in (*LEFT_OUT, *KEPT):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"1")

    if first:
        make()
        assert [os.path.relpath(seen.path, tmp_path) for seen in files_below(str(tmp_path))] == sorted(KEPT)
    else:
        assert reader.nothing(1)
        make()
    assert {reader.next() for _ in KEPT} == {os.path.basename(name) for name in KEPT}
    assert reader.nothing()
    reader.close()
