"""docs/deploy.md, word by word: its commands are taken from its text and typed into a fresh Debian."""

import re
import shutil
from pathlib import Path

from tests.host.conftest import REPOSITORY
from tests.host.field_host import FieldHost, until

MANUAL = REPOSITORY / "docs/deploy.md"


def commands(section: int) -> list[str]:
    """The shell blocks of a numbered section."""
    text = MANUAL.read_text()
    found = re.search(rf"^## {section}\. .*?(?=^## )", text, re.MULTILINE | re.DOTALL)
    assert found, f"section {section} is gone"
    return re.findall(r"```sh\n(.*?)```", found[0], re.DOTALL)


def type_in(host: FieldHost, script: str, folder: str = "/root") -> str:
    # edge-doctor exits with 1 here: a container has no clock of its own.
    script = re.sub(r"^(.*edge-doctor)$", r"\1 || [ $? = 1 ]", script, flags=re.MULTILINE)
    return host.run("bash", "-euo", "pipefail", "-c", f"export USER=ranger SYSTEMD_PAGER=; cd {folder}\n{script}")


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

    install, as_service = commands(3)
    said = type_in(host, install.replace("/dev/sda1", "--bind /dev-sda1"))
    assert "is running with starter.onnx" in said
    assert "problem  service" not in said
    assert "ok       database" in type_in(host, as_service) or "note     database" in type_in(host, as_service)

    (first,) = commands(4)
    type_in(host, first)
    until(lambda: host.classified() == 1, "the first detection")

    restart, home, several, limits = commands(5)
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

    at_once = re.findall(r"`(sudo systemctl start edge-report|sudo usermod [^`]*)`", MANUAL.read_text())
    assert len(at_once) == 2
    for line in at_once:
        type_in(host, line)
    assert "<html" in host.run("runuser", "-u", "ranger", "--", "cat", "/var/lib/edge-classify/reports/report.html")
    (journal,) = commands(6)
    type_in(host, journal)

    shutil.copyfile(host.root / "root/tiny.onnx", host.root / "root/impala.onnx")
    (change,) = commands(7)
    change = change.replace("./systemd", "/media/stick/edge-classify-aarch64/systemd")
    assert "removed. Kept:" in type_in(host, change)
    assert host.classified() == 3
