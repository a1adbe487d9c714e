"""Types the commands of docs/deploy.md, taken from its text, into a fresh Debian."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.field_host import FieldHost, until
from tests.support.places import REPOSITORY

MANUAL = REPOSITORY / "docs/deploy.md"
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def commands(section: str) -> list[str]:
    """The shell blocks of the section whose title begins with `section`."""
    found = re.search(rf"^## {section}.*?(?=^## )", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"section {section} is gone"
    return BLOCK.findall(found[0])


def commands_in_sentences() -> list[str]:
    prose = BLOCK.sub("", MANUAL.read_text())
    return re.findall(r"`((?:sudo|systemctl|journalctl|systemd-analyze) [^`]+)`", prose)


def type_in(host: FieldHost, script: str, folder: str = "/root") -> str:
    # edge-doctor exits with 1 here: a container has no clock of its own.
    script = re.sub(r"^(.*edge-doctor)$", r"\1 || [ $? = 1 ]", script, flags=re.MULTILINE)
    return host.run("bash", "-euo", "pipefail", "-c", f"export USER=ranger SYSTEMD_PAGER=; cd {folder}\n{script}")


def test_every_command_of_the_manual_is_tried() -> None:
    (collect,) = commands("1")
    tried = [block for section in ("1", "3", "4", "5", "6", "7", "Power budget") for block in commands(section)]
    assert BLOCK.findall(MANUAL.read_text()) == tried
    # The stick that the tests install from is this command's, for this machine's processor.
    dry_run = ["make", "--dry-run", *collect.split()[1:]]
    output = subprocess.run(dry_run, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "systemd/wheelhouse.sh aarch64" in output


def test_the_manual_works_word_by_word(bare_host: FieldHost, field_frames: list[Path]) -> None:
    host = bare_host
    # What a Raspberry Pi has and this Debian has not: sudo, a user, and a stick in its first port.
    sudo = host.root / "usr/local/bin/sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    host.run("useradd", "--create-home", "ranger")
    (host.root / "dev-sda1").mkdir()
    (host.root / "media/stick").rename(host.root / "dev-sda1/edge-classify-aarch64")
    shutil.copyfile(field_frames[0], host.root / "root/IMG_0042.JPG")

    install, as_service = commands("3")
    output = type_in(host, install.replace("/dev/sda1", "--bind /dev-sda1"))
    assert "is running with starter.onnx" in output
    assert "problem  service" not in output
    assert "ok       database" in type_in(host, as_service) or "note     database" in type_in(host, as_service)

    (first,) = commands("4")
    type_in(host, first)
    until(lambda: host.classified() == 1, "the first detection")

    restart, home, several, limits = commands("5")
    type_in(host, restart)
    host.run("runuser", "-u", "ranger", "--", "mkdir", "/home/ranger/captures")
    type_in(host, home)
    settings = (host.root / "etc/edge-classify/config.toml").read_text()
    (host.root / "etc/edge-classify/config.toml").write_text(settings.replace("/srv/captures", "/home/ranger/captures"))
    type_in(host, restart)
    host.drop(field_frames[1:3], host.root / "home/ranger/captures")
    until(lambda: host.classified() == 3, "frames in the one home folder that it may see")
    type_in(host, several)
    assert host.property("ActiveState", "edge-classify@ridge") == "active"
    type_in(host, limits)
    assert host.property("MemoryMax") == str(600 * 1024**2)

    host.run("useradd", "ftpcamera")
    for line in commands_in_sentences():
        type_in(host, line)
    assert "<html" in host.run("runuser", "-u", "ranger", "--", "cat", "/var/lib/edge-classify/reports/report.html")
    (journal,) = commands("6")
    type_in(host, journal)
    (cpu_time,) = commands("Power budget")
    assert type_in(host, cpu_time).startswith("CPUUsageNSec=")

    shutil.copyfile(host.root / "root/tiny.onnx", host.root / "root/impala.onnx")
    (change,) = commands("7")
    change = change.replace("./systemd", "/media/stick/edge-classify-aarch64/systemd")
    assert "removed. Kept:" in type_in(host, change)
    assert host.classified() == 3
