"""The files in systemd/: valid, hardened, and in agreement with each other and with the settings."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.settings.options import HELP, read_settings

FOLDER = Path(__file__).parents[2] / "systemd"
SERVICES = ("edge-classify.service", "edge-classify@.service", "edge-report.service")
EXPOSURE_TENTHS = 6

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@needs_analyze
@pytest.mark.parametrize("name", [*SERVICES, "edge-report.timer"])
def test_a_unit_is_clean(name: str, tmp_path: Path) -> None:
    for unit in FOLDER.glob("edge-*.*"):
        text = re.sub(r"/opt/edge-classify/current/venv/bin/\S+", "/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardly_exposed(name: str) -> None:
    threshold = f"--threshold={EXPOSURE_TENTHS}"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", threshold, str(FOLDER / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def hardening(name: str) -> list[str]:
    text = (FOLDER / name).read_text()
    block = text[text.index("# What it cannot do") :].split("[Install]")[0]
    return [line for line in block.splitlines() if line]


def test_all_services_are_hardened_alike() -> None:
    assert hardening(SERVICES[1]) == hardening(SERVICES[0])
    assert hardening(SERVICES[2]) == hardening(SERVICES[0])


def sample(uncommented: bool) -> str:
    """The sample configuration; with every key that stands as a comment switched on."""
    text = (FOLDER / "config.toml").read_text()
    return re.sub(r"^# (\[.*\]|\w+ = .*)$", r"\1", text, flags=re.MULTILINE) if uncommented else text


@pytest.mark.parametrize("uncommented", [False, True])
def test_the_sample_configuration_is_valid(uncommented: bool, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(sample(uncommented))
    settings = read_settings(path, {})
    assert settings.watch == Path("/srv/captures")
    assert [deployment.id for deployment in settings.deployments] == (["ridge-3"] if uncommented else [])


def test_the_sample_configuration_names_every_key() -> None:
    missing = [name for name in HELP if not re.search(rf"^(# )?({name} = |\[{name}\.)", sample(False), re.MULTILINE)]
    assert missing == [], "systemd/config.toml lacks them"


def test_the_installer_and_the_collector_are_valid_shell() -> None:
    for script in ("install.sh", "wheelhouse.sh"):
        assert subprocess.run(["bash", "-n", FOLDER / script], check=False).returncode == 0
