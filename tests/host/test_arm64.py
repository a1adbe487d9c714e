"""The same wheels, frames and tests on an arm64 Debian, its processor emulated as a Raspberry Pi 5's."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from tests.support.field_host import INSIDE, debian, layered, usb_stick
from tests.support.places import REPOSITORY

EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
PROCESSOR = "cortex-a76"  # a Cortex-A53 or A72 (Raspberry Pi 3 and 4) gave the same numbers
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
"""/proc/cpuinfo of a Raspberry Pi 5; the emulator shows the processors of the machine that it runs on."""
FRAMES = 100
LOGITS_DIFFER = 1e-4
"""The logits differ by less than this: the last layers add floats in another order."""
INSTALLED_MB = 370
LIMIT_S = 3600
"""Time limit of one command: emulation is some twenty times slower than the processor that it runs on."""
EDGE_TESTS = REPOSITORY / "tests/edge"
CORE = sorted({path.relative_to(EDGE_TESTS).parts[0] for path in EDGE_TESTS.rglob("test_*.py")})
"""All that tests/edge holds, in pieces, except for `NOT_CORE`."""
NOT_CORE = "capture/test_watcher.py"
"""It waits for the kernel's events no longer than a real machine needs."""
DECISIONS = """
SELECT m.digest, o.kind, o.taxon, o.rank, o.common_name, o.reason FROM observation o JOIN media m ON m.id = o.media
ORDER BY m.digest
"""
Machine = Callable[[str, str], "Chroot"]


class Chroot:
    """A Debian that is not booted, with edge-classify installed from the stick's wheels as the installer does it."""

    def __init__(self, root: Path, stick: Path) -> None:
        self.root = root
        shutil.copytree(stick / "wheels", root / "wheels")
        self.run("python3 -m venv --without-pip /opt/edge")
        self.pip("/wheels", "/wheels/edge_classify-*.whl")

    def pip(self, wheels: str, what: str) -> None:
        options = "--isolated install --quiet --no-index --no-cache-dir --root-user-action ignore"
        self.run(f"/opt/edge/bin/python $(echo {wheels}/pip-*.whl)/pip {options} --find-links {wheels} $(echo {what})")

    def run(self, script: str) -> str:
        environment = {**INSIDE, "QEMU_CPU": PROCESSOR}
        done = subprocess.run(
            ["nice", "-n", "5", "chroot", str(self.root), "/bin/sh", "-euc", script],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def decisions(self, frames: list[Path]) -> list[tuple[object, ...]]:
        (self.root / "frames").mkdir()
        for frame in frames:
            shutil.copyfile(frame, self.root / "frames" / f"{frame.parent.name}-{frame.name}")
        self.run("cd /root && /opt/edge/bin/edge-classify --quiet --time-zone UTC /frames")
        with closing(sqlite3.connect(self.root / "root/detections.db")) as database:
            return database.execute(DECISIONS).fetchall()

    def predictions(self) -> Path:
        """The file with the model's predictions for the frames of `decisions`."""
        shutil.copy(REPOSITORY / "benchmarks/predictions.py", self.root)
        options = f"--count {FRAMES} --out /predictions.npz"
        self.run(f"/opt/edge/bin/python /predictions.py write /frames {options}")
        return self.root / "predictions.npz"


def show_processor(root: Path) -> None:
    text = root / "cpuinfo"
    text.write_text(CPUINFO)
    subprocess.run(["mount", "--bind", str(text), str(root / "proc/cpuinfo")], check=True)
    folder = root / "sys/devices/system/cpu"
    folder.mkdir(parents=True)
    for name in ("possible", "present"):
        (folder / name).write_text("0\n")


@pytest.fixture(scope="module")
def machine(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with ExitStack() as stack:

        def machine(architecture: str, platform: str) -> Chroot:
            scratch = tmp_path_factory.mktemp(architecture)
            root = stack.enter_context(layered([debian(cache, "bookworm", architecture)], scratch))
            # The runtime reads /proc/cpuinfo to choose its kernels, and warns where it finds none of these.
            subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
            stack.callback(subprocess.run, ["umount", "--lazy", str(root / "proc")], check=True)
            if architecture == "arm64":
                show_processor(root)
            return Chroot(root, usb_stick(platform))

        yield machine


@pytest.fixture(scope="module")
def arm64(cache: Path, machine: Machine) -> Chroot:
    if not EMULATOR.exists():
        pytest.skip("arm64 is not emulated here (apt-get install qemu-user-static, and mount binfmt_misc)")
    return machine("arm64", "aarch64")


@pytest.fixture(scope="module")
def checkout(arm64: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Chroot:
    """The tests, and what they need beside the installed wheels; edge itself is the installed one."""
    wheels = tmp_path_factory.mktemp("wheels") / "test-wheels"
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 37)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--only-binary=:all:"]
    target = ["--implementation=cp", "--python-version=3.11", *platforms, "--platform=manylinux2014_aarch64"]
    subprocess.run([*pip, *target, f"--dest={wheels}", "pip", "pytest", "onnx"], check=True)
    shutil.copytree(wheels, arm64.root / "test-wheels")
    arm64.pip("/test-wheels", "pytest onnx")
    shutil.copytree(REPOSITORY / "tests", arm64.root / "checkout/tests")
    shutil.copy(REPOSITORY / "pyproject.toml", arm64.root / "checkout")
    for folder in ("standards", "data/field/frames"):
        shutil.copytree(REPOSITORY.parent / "shared" / folder, arm64.root / "shared" / folder)
    return arm64


def test_the_same_decisions_as_on_x86_64(
    arm64: Chroot, machine: Machine, field_frames: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    used_mb = int(arm64.run("du -sm /opt/edge").split()[0])
    assert used_mb <= INSTALLED_MB
    frames = field_frames[:FRAMES]
    amd64 = machine("amd64", "x86_64")
    here = set(amd64.decisions(frames))
    there = arm64.decisions(frames)
    assert len(there) == FRAMES
    assert len(here & set(there)) == FRAMES
    with np.load(amd64.predictions()) as a, np.load(arm64.predictions()) as b:
        assert np.array_equal(a["pixels"], b["pixels"])
        difference = np.abs(a["logits"] - b["logits"]).max()
    with capsys.disabled():
        print(f" logits differ by {difference:.1e} at most", end=" ")
    assert difference < LOGITS_DIFFER


@pytest.mark.parametrize("piece", CORE)
def test_the_core_passes_its_tests(checkout: Chroot, piece: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest_ = "/opt/edge/bin/python -m pytest"
    output = checkout.run(f"cd /checkout/tests/edge && {pytest_} {piece} --ignore {NOT_CORE}")
    last = output.splitlines()[-1]
    with capsys.disabled():
        print(f" on arm64: {last}", end=" ")
    assert " passed" in last
    assert "failed" not in last
