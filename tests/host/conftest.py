"""Hosts that boot. They are made once and kept under $EDGE_HOST_CACHE; each test gets its own changes over them."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.field_host import FieldHost, debian, layered, missing, usb_stick


@pytest.fixture(scope="session")
def cache() -> Path:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    if not (folder := os.environ.get("EDGE_HOST_CACHE")):
        pytest.skip("EDGE_HOST_CACHE names no folder to keep a Debian in (700 MB, fetched once)")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture(scope="session", params=os.environ.get("EDGE_HOST_SUITES", "bookworm").split())
def base(request: pytest.FixtureRequest, cache: Path) -> Path:
    return debian(cache, request.param, "amd64")


@pytest.fixture(scope="session")
def stick(cache: Path) -> Path:
    return usb_stick("x86_64")


@pytest.fixture(scope="session")
def installed(base: Path, stick: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The changes that installing makes to a Debian, as a layer."""
    scratch = tmp_path_factory.mktemp("installed")
    with layered([base], scratch) as root:
        shutil.copytree(stick, root / "media/stick")
        shutil.copyfile(tiny_model, root / "root/tiny.onnx")
        host = FieldHost(root)
        try:
            host.boot()
            host.run("/media/stick/systemd/install.sh", "--model", "/root/tiny.onnx")
            host.systemctl("stop", "edge-classify")
        finally:
            host.close()
        for left in (root / "var/lib/edge-classify").glob("detections.db*"):
            left.unlink()
    return scratch / "changes"


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[..., FieldHost]]:
    """Boots a host over the layers given; it ends with the test."""
    with ExitStack() as stack:

        def boot(*layers: Path) -> FieldHost:
            host = FieldHost(stack.enter_context(layered(layers, tmp_path / "host")))
            stack.callback(host.close)
            host.boot()
            return host

        yield boot


@pytest.fixture
def bare_host(boot: Callable[..., FieldHost], base: Path, stick: Path, tiny_model: Path) -> FieldHost:
    """A Debian with a USB stick in it, on which nothing is installed yet."""
    host = boot(base)
    shutil.copytree(stick, host.root / "media/stick")
    shutil.copyfile(tiny_model, host.root / "root/tiny.onnx")
    return host


@pytest.fixture
def host(boot: Callable[..., FieldHost], base: Path, installed: Path) -> FieldHost:
    """A Debian on which the service is installed, enabled and running, with an empty database."""
    return boot(installed, base)
