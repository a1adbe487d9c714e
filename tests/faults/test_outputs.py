"""Attacks on outputs: whatever is named as --out, nothing that somebody would miss is replaced."""

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, copytree

import pytest

from edge.commands.db import main as edge_db
from edge.commands.report import main as edge_report
from edge.commands.report_formats import FORMATS
from edge.host.output_file import Guard, OutputError, unlike_any
from tests.support.database_by_hand import ByHand
from tests.support.made_images import noisy_jpeg

FILES = [format_.name for format_ in FORMATS if format_.target != "folder"]
FOLDERS = [format_.name for format_ in FORMATS if format_.target == "folder"]
EXTRA = {"activity": ["--min-events", "1", "--replicates", "2"]}
PROJECT = """
species_list = "species.txt"
model = "model.onnx"

[project]
title = "Hills"
contributors = [{title = "A. Ranger", role = "contact"}, {title = "The Trust", role = "rightsHolder"}]
sampling_design = "opportunistic"
capture_method = "activityDetection"

[deployment.ford]
latitude = -2.4
longitude = 36.9
time_zone = "Africa/Nairobi"
end = 2026-06-01
"""


class Study:
    """A project's folder: database with its companions, configuration, model, species list and frames."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.db = folder / "d.db"
        (folder / "frames").mkdir()
        (folder / "frames" / "a.jpg").write_bytes(noisy_jpeg(1, height=30, width=40, block_px=8))
        database = ByHand(self.db)
        database.deployment("ford")
        for hour in range(4):
            path = str(folder / "frames" / "a.jpg") if not hour else f"/x/{hour}.jpg"
            database.frame(hour * 3600, "lion" if hour % 2 else "impala", camera="ford", path=path)
        database.connection.execute("UPDATE run SET settings = ?", (f'{{"detector": "{folder / "detector.onnx"}"}}',))
        self.connection = database.connection  # held open, so that -wal and -shm are there
        (folder / "d.db.lock").touch()
        (folder / "project.toml").write_text(PROJECT, "utf-8")
        (folder / "species.txt").write_text("Panthera leo\n", "utf-8")
        copyfile(model, folder / "model.onnx")
        copyfile(model, folder / "detector.onnx")

    def report(self, name: str, out: Path, *words: str) -> int:
        given = ["--db", str(self.db), "--config", str(self.folder / "project.toml"), "--quiet", *EXTRA.get(name, [])]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            return int(edge_report([name, "--out", str(out), *given, *words]))

    def state(self) -> dict[str, str]:
        """What lies where: digests of files, kinds of everything else; the -shm file changes with every reader."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            kind = path.lstat().st_mode
            name = str(path.relative_to(self.folder))
            if stat.S_ISREG(kind):
                is_changing = path.with_name("d.db-shm").exists() and path.samefile(path.with_name("d.db-shm"))
                found[name] = "" if is_changing else sha256(path.read_bytes()).hexdigest()
            else:
                found[name] = os.readlink(path) if stat.S_ISLNK(kind) else str(stat.S_IFMT(kind))
        return found


@pytest.fixture
def study(tmp_path: Path, tiny_model: Path) -> Study:
    return Study(tmp_path, tiny_model)


NEVER = (
    *("d.db", "d.db-wal", "d.db-shm", "d.db-journal", "d.db.lock", "project.toml", "species.txt", "model.onnx"),
    *("detector.onnx", "frames", "frames/a.jpg"),
)


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["", "forced"])
@pytest.mark.parametrize("way", ["itself", "symlink", "symlink to a symlink", "hard link", "other name"])
@pytest.mark.parametrize("what", NEVER)
def test_what_is_read_is_never_replaced(study: Study, what: str, way: str, force: list[str]) -> None:
    target, out = study.folder / what, study.folder / what
    if way in ("symlink", "symlink to a symlink"):
        out = study.folder / "out.csv"
        out.symlink_to(target)
    if way == "symlink to a symlink":
        (study.folder / "second.csv").symlink_to(out.name)
        out = study.folder / "second.csv"
    if way == "hard link":
        out = study.folder / "out.csv"
        if not target.is_file():
            pytest.skip("only files have hard links")
        os.link(target, out)
    if way == "other name":
        out = study.folder / "frames" / ".." / what
    before = study.state()
    for name in ("csv", "html", "health"):
        assert study.report(name, out, *force) == 2
        assert study.state() == before


def foreign_csv(path: Path) -> None:
    path.write_text("site,lat,lon\na,1,2\n", "utf-8")


def foreign_sqlite(path: Path) -> None:
    import sqlite3

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def full_device(path: Path) -> None:
    path.symlink_to("/dev/full")


def link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def image(path: Path) -> None:
    path.write_bytes(noisy_jpeg(1, height=30, width=40, block_px=8))


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def one_long_line(path: Path) -> None:
    path.write_bytes(b"[" * 3_000_000)


def other_database(path: Path) -> None:
    ByHand(path).connection.close()


def companion(path: Path) -> None:
    """The lock of a database that is not the command's; it is empty."""
    ByHand(path.with_name("other.db")).connection.close()
    path.symlink_to("other.db.lock")
    path.with_name("other.db.lock").touch()


def other_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><head><title>mine</title></head></html>", "utf-8")


def other_package(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name in ("datapackage.json", "deployments.csv", "media.csv", "observations.csv"):
            archive.writestr(name, '{"sources": [{"title": "Agouti"}]}')


ALWAYS_REFUSED = (foreign_sqlite, folder, pipe, unix_socket, full_device, link_loop, image, other_database, companion)
REFUSED_UNLESS_FORCED = (foreign_csv, binary, one_long_line, other_page, other_package)


@pytest.mark.parametrize("name", [*FILES, "camtrap-dp"])
@pytest.mark.parametrize("attack", [*ALWAYS_REFUSED, *REFUSED_UNLESS_FORCED], ids=lambda attack: attack.__name__)
def test_what_is_no_former_report_stays(study: Study, name: str, attack: Callable[[Path], None]) -> None:
    out = study.folder / ("out.zip" if name == "camtrap-dp" else "out.txt")
    if name == "camtrap-dp" and attack is folder:
        pytest.skip("a folder is what this format may write")
    attack(out)
    before = study.state()
    assert study.report(name, out) == 2
    assert study.state() == before
    forced = study.report(name, out, "--force")
    if attack in ALWAYS_REFUSED:
        assert forced == 2
        assert study.state() == before
    else:
        assert forced in (0, 1)  # health finds a problem
        assert study.state() != before


@pytest.mark.parametrize("name", FILES)
def test_a_former_report_is_replaced_and_that_of_another_format_is_not(study: Study, name: str) -> None:
    for former in [*FILES, "camtrap-dp"]:
        out = study.folder / (f"{former}.zip" if former == "camtrap-dp" else f"{former}.out")
        assert study.report(former, out) in (0, 1)
        out.chmod(0o640)
        before = out.read_bytes()
        same = former == name
        assert (study.report(name, out) in (0, 1)) == same, former
        assert stat.S_IMODE(out.stat().st_mode) == 0o640
        assert same or out.read_bytes() == before


@pytest.mark.parametrize("name", [*FILES, "camtrap-dp"])
def test_an_empty_file_is_replaced(study: Study, name: str) -> None:
    out = study.folder / ("out.zip" if name == "camtrap-dp" else "out.txt")
    out.touch()
    assert study.report(name, out) in (0, 1)
    assert out.stat().st_size


def test_the_digest_is_replaced_in_both_its_forms(study: Study) -> None:
    out = study.folder / "digest.txt"
    since = ["--since", "2026-05-01"]
    for words in ([], ["--json"], [*since, "--json"], since, ["--max-bytes", "20"]):
        assert study.report("digest", out, *words) == 0


def test_a_list_of_problems_is_replaced_by_another(study: Study) -> None:
    out = study.folder / "health.txt"
    assert study.report("health", out) == 0
    study.connection.execute("UPDATE media SET clock_doubt = 'future', captured_at = '2099-01-01T00:00:0' || id || 'Z'")
    assert study.report("health", out) == 1
    assert study.report("health", out) == 1


@pytest.mark.parametrize("attack", [*ALWAYS_REFUSED, *REFUSED_UNLESS_FORCED], ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("name", FOLDERS)
def test_no_file_in_a_folder_is_replaced_either(study: Study, name: str, attack: Callable[[Path], None]) -> None:
    made = study.folder / "made"
    assert study.report(name, made) == 0
    assert study.report(name, made) == 0, "a former one is replaced"
    for member in sorted(made.iterdir()):
        out = study.folder / f"attacked-{member.name}"
        copytree(made, out)
        (out / member.name).unlink()
        attack(out / member.name)
        before = study.state()
        assert study.report(name, out) == 2, member.name
        assert study.state() == before, member.name


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("way", [os.symlink, os.link], ids=["symlink", "hard link"])
def test_a_link_to_the_database_in_the_folder(study: Study, name: str, way: Callable[[Path, Path], None]) -> None:
    made = study.folder / "made"
    assert study.report(name, made) == 0
    for member in sorted(made.iterdir()):
        member.unlink()
        way(study.db, member)
        before = study.state()
        for force in ([], ["--force"]):
            assert study.report(name, made, *force) == 2
            assert study.state() == before
        member.unlink()


def test_a_database_that_comes_while_the_report_is_written(study: Study) -> None:
    out = study.folder / "out.csv"
    guard = Guard((study.db,))
    writing = guard.replacing(out, unlike_any)
    writing.__enter__().write(b"a report")
    ByHand(out).connection.close()
    with pytest.raises(OutputError, match="database"):
        writing.__exit__(None, None, None)
    assert out.read_bytes().startswith(b"SQLite")


def test_a_link_is_followed_and_stays(study: Study) -> None:
    """A page that is published through a link goes on being published."""
    real = study.folder / "www.html"
    (study.folder / "page.html").symlink_to(real)
    for _ in range(2):
        assert study.report("html", study.folder / "page.html") == 0
    assert (study.folder / "page.html").is_symlink()
    assert real.read_bytes().lstrip().startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("command", ["backup", "salvage"])
@pytest.mark.parametrize("what", [*NEVER, "out.db", "dangling"])
def test_copies_of_a_database_replace_nothing(study: Study, command: str, what: str) -> None:
    (study.folder / "out.db").write_bytes(b"mine")
    (study.folder / "dangling").symlink_to("nowhere")
    before = study.state()
    assert edge_db([command, "--db", str(study.db), str(study.folder / what)]) == 2
    assert study.state() == before


def test_a_file_that_could_be_half_a_copy_stays(study: Study) -> None:
    (study.folder / "new.db.part").write_bytes(b"mine")
    before = study.state()
    assert edge_db(["backup", "--db", str(study.db), str(study.folder / "new.db")]) == 2
    assert study.state() == before


def test_a_file_that_comes_while_the_copy_is_made_stays(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    out = study.folder / "new.db"
    link = os.link

    def late(*values: Path) -> None:
        out.write_bytes(b"mine")
        link(*values)

    monkeypatch.setattr(os, "link", late)
    assert edge_db(["backup", "--db", str(study.db), str(out)]) == 2
    assert out.read_bytes() == b"mine"


def test_a_database_and_its_copies_are_for_the_owner_and_the_group(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.umask(int(sys.argv[2], 8)); from pathlib import Path\n"
        "from edge.commands.db import main; from tests.support.database_by_hand import ByHand\n"
        "folder = Path(sys.argv[1]); made = ByHand(folder / 'd.db'); made.frame(0, 'lion')\n"
        "sys.exit(main(['backup', '--db', str(folder / 'd.db'), str(folder / 'copy.db')]))"
    )
    for mask, expected in (("022", 0o640), ("077", 0o600), ("002", 0o660), ("000", 0o660)):
        folder_ = tmp_path / mask
        folder_.mkdir()
        subprocess.run([sys.executable, "-c", script, str(folder_), mask], check=True, capture_output=True)
        for name in ("d.db", "copy.db"):
            assert stat.S_IMODE((folder_ / name).stat().st_mode) == expected, (mask, name)


def test_two_reports_to_one_name_leave_one_whole_report(study: Study) -> None:
    out, codes = study.folder / "out.csv", list[int]()
    guard = Guard((study.db,))

    def write(text: bytes) -> None:
        with guard.replacing(out, lambda file: file.read(1) in (b"a", b"b")) as file:
            file.write(text * 100_000)
        codes.append(0)

    threads = [threading.Thread(target=write, args=(text,)) for text in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert out.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert not list(study.folder.glob(".out*"))
