"""The service's sandbox, tried from inside on a booted host."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.field_host import FieldHost

OWN = "/var/lib/edge-classify"
PRIVATE = ("/tmp", "/var/tmp")  # its own copies, gone with it
CLOSED = ["/", "/etc", "/etc/edge-classify", "/usr", "/opt/edge-classify", "/srv", "/srv/captures", "/srv/everyone"]
CLOSED += ["/var", "/var/log", "/var/lib", "/home", "/root", "/run", "/run/user", "/boot", "/dev", "/sys"]
CLOSED += ["/proc/sys/kernel"]
FILES = ["/home/ranger/world-readable", "/root/secret", "/srv/private", "/etc/shadow", "/proc/1/environ", "/proc/kcore"]
FILES += ["/dev/kmsg", "/run/host/os-release", "/etc/edge-classify/config.toml"]


@pytest.fixture
def found(host: FieldHost) -> dict[str, Any]:
    """What a probe could do that runs as the service's first step, under all that the unit says."""
    shutil.copyfile(Path(__file__).parents[1] / "support" / "sandbox_probe.py", host.root / "srv/probe.py")
    (host.root / "srv/everyone").mkdir()
    (host.root / "srv/everyone").chmod(0o1777)
    (host.root / "home/ranger").mkdir(parents=True)
    (host.root / "home/ranger/world-readable").write_text("a diary")
    for secret in ("root/secret", "srv/private"):
        (host.root / secret).write_text("a key")
        (host.root / secret).chmod(0o600)
    host.drop_in(
        "[Service]\n"
        f"Environment=PROBE_FOLDERS={':'.join((OWN, *PRIVATE, *CLOSED))} PROBE_FILES={':'.join(FILES)}\n"
        f"ExecStartPre=/usr/bin/python3 /srv/probe.py {OWN}/probe.json\n"
    )
    host.systemctl("restart", "edge-classify")
    result: dict[str, Any] = json.loads((host.root / OWN[1:] / "probe.json").read_text())
    assert result["me"] != 0
    return result


def test_the_sandbox_holds(found: dict[str, Any], host: FieldHost) -> None:
    # It writes to its state, and to nothing else, even where everyone may.
    assert found["write"].pop(OWN) == "could"
    assert [found["write"].pop(folder) for folder in PRIVATE] == ["could"] * len(PRIVATE)
    assert {folder: what for folder, what in found["write"].items() if what == "could"} == {}
    assert not (host.root / "tmp/probe").exists()
    # It opens no socket but AF_UNIX, which reaches the service manager and the journal.
    assert found["socket"].pop("AF_UNIX") == "could"
    assert set(found["socket"].values()) == {"EAFNOSUPPORT"}
    # It reads its settings, and no other user's files, not even those that their owner lets everyone read.
    assert found["read"].pop("/etc/edge-classify/config.toml") == "could"
    assert {path: what for path, what in found["read"].items() if what == "could"} == {"/run/host/os-release": "could"}
    # It has no capabilities, sees no other user's processes, and makes no code at run time.
    assert set(found["other"].values()) <= {"EPERM", "EACCES"}
    assert set(found["capabilities"]) == {"0" * 16}
    assert found["processes"] == [found["me"]]
