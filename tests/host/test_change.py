"""Changes of the model and of the version on a running host."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.field_host import FieldHost, until
from tests.support.places import REPOSITORY

INSTALL = "/media/stick/systemd/install.sh"
FRAMES = 12


@pytest.fixture
def frames(field_frames: list[Path]) -> list[Path]:
    return field_frames[: 2 * FRAMES]


@pytest.fixture(scope="session")
def newer_wheel(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as its next version."""
    source = tmp_path_factory.mktemp("newer")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "edge", source / "edge")
    version = source / "edge/version.py"
    text, changed = re.subn(r'__version__ = "[^"]*"', '__version__ = "99.0"', version.read_text())
    assert changed == 1
    version.write_text(text)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(source), str(source)], check=True)
    return next(source.glob("edge_classify-99.0-*.whl"))


def put_on_stick(host: FieldHost, wheel: Path) -> None:
    wheels = host.root / "media/stick/wheels"
    for old in wheels.glob("edge_classify-*.whl"):
        old.unlink()
    shutil.copy(wheel, wheels)
    host.run(
        "sh", "-c", "cd /media/stick && find . -type f ! -name SHA256SUMS -print0 | xargs -0 sha256sum > SHA256SUMS"
    )


def models(host: FieldHost) -> list[object]:
    """The model that classified each frame, in the order of the observations."""
    rows = host.query("SELECT m.sha256 FROM observation o JOIN model m ON m.id = o.model ORDER BY o.id")
    return [sha256 for (sha256,) in rows]


def test_a_model_is_swapped_while_it_runs(host: FieldHost, frames: list[Path], other_tiny_model: Path) -> None:
    pid = host.daemon_pid()
    host.drop(frames[:FRAMES])
    until(lambda: host.logged_once(FRAMES), "the first frames are logged")
    shutil.copyfile(other_tiny_model, host.root / "root/other.onnx")
    host.run(INSTALL, "--model", "/root/other.onnx", "--no-start")
    host.systemctl("reload", "edge-classify")
    until(lambda: host.has_logged("from now on"), "the new model is taken")
    host.drop(frames[FRAMES:])
    until(lambda: host.logged_once(2 * FRAMES), "the later frames are logged")
    used = models(host)
    assert len(set(used[:FRAMES])) == len(set(used[FRAMES:])) == 1
    assert used[0] != used[-1]
    assert host.daemon_pid() == pid


def test_a_bad_model_is_refused_and_the_old_one_goes_on(host: FieldHost, frames: list[Path]) -> None:
    pid = host.daemon_pid()
    (host.root / "root/bad.onnx").write_bytes((host.root / "root/tiny.onnx").read_bytes()[:2000])
    output = host.run(INSTALL, "--model", "/root/bad.onnx", check=False)
    assert "the model is refused; nothing was changed" in output
    # Past the installer, as when a copy went wrong on the device itself.
    host.run("cp", "--remove-destination", "/root/bad.onnx", "/opt/edge-classify/current/model.onnx")
    host.systemctl("reload", "edge-classify")
    until(lambda: host.has_logged("is refused, the old one goes on"), "the daemon refuses it")
    host.drop(frames)
    until(lambda: host.logged_once(len(frames)), "the old model classifies")
    assert (host.daemon_pid(), host.property("ActiveState")) == (pid, "active")


def test_upgrade_and_roll_back_keep_every_row(host: FieldHost, frames: list[Path], newer_wheel: Path) -> None:
    def running() -> object:
        return host.query("SELECT software_version FROM run ORDER BY id DESC LIMIT 1")[0][0]

    host.drop(frames[:FRAMES])
    until(lambda: host.logged_once(FRAMES), "the first frames are logged")
    before = running()
    put_on_stick(host, newer_wheel)
    host.run(INSTALL)
    assert running() == "99.0"
    assert "tiny" in host.run(
        "edge-model", "info", "/opt/edge-classify/current/model.onnx"
    )  # the model stays the user's
    host.drop(frames[FRAMES:])
    until(lambda: host.logged_once(2 * FRAMES), "frames go on after the upgrade")
    host.run("/opt/edge-classify/install.sh", "--rollback")
    assert running() == before
    assert host.property("ActiveState") == "active"
    assert host.logged_once(2 * FRAMES)
    assert (host.root / "var/backups/edge-classify/detections.db").exists()


def test_a_version_that_does_not_start_is_left_again_by_itself(host: FieldHost, newer_wheel: Path) -> None:
    put_on_stick(host, newer_wheel)
    unit = host.root / "media/stick/systemd/edge-classify.service"
    unit.write_text(unit.read_text().replace("ExecStart=", "ExecStart=/bin/false "))
    host.run("rm", "/media/stick/SHA256SUMS")
    output = host.run(INSTALL, check=False)
    assert "returning to the one before" in output
    assert host.property("ActiveState") == "active"
    assert "99.0" not in host.run("edge-classify", "--version")


def test_a_damaged_stick_is_refused(host: FieldHost) -> None:
    wheel = next((host.root / "media/stick/wheels").glob("numpy-*.whl"))
    with wheel.open("r+b") as file:
        file.seek(100_000)
        file.write(b"\0" * 512)
    assert "files on this stick are damaged" in host.run(INSTALL, check=False)
    assert host.property("ActiveState") == "active"


def test_removing_keeps_the_data_and_installing_again_goes_on_with_it(host: FieldHost, frames: list[Path]) -> None:
    host.drop(frames[:FRAMES])
    until(lambda: host.logged_once(FRAMES), "the first frames are logged")
    host.run("/opt/edge-classify/install.sh", "--uninstall")
    assert host.run("systemctl", "list-unit-files", "edge-*", "--no-legend", check=False).strip() == ""
    assert not (host.root / "opt/edge-classify").exists()
    assert not list((host.root / "usr/local/bin").glob("edge-*"))
    assert host.logged_once(FRAMES)
    host.run(INSTALL, "--model", "/root/tiny.onnx")
    host.drop(frames)
    until(lambda: host.logged_once(2 * FRAMES), "only what is new is added")
