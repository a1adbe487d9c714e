"""Databases that are large in one direction: one endless event, no times, many cameras, species, labels or acts."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from edge.timestamps import iso_utc
from tests.support.database_by_hand import START, ByHand

_MEDIA = """
INSERT INTO media (id, path, digest, bytes, captured_at, time_zone, received_at, status, deployment)
VALUES (?, ?, ?, 1, ?, 'UTC', '2026-05-01T06:00:00Z', 'classified', ?)
"""
_MACHINE = """
INSERT INTO observation (media, model, configuration, kind, taxon, rank, common_name, confidence, reason, method,
    classified_by, classified_at)
VALUES (?, 1, 1, 'animal', ?, 'species', ?, 0.9, 'confident', 'machine', 'm 1', '2026-05-01T06:00:00Z')
"""
_HUMAN = """
INSERT INTO observation (media, kind, taxon, rank, common_name, count, method, classified_by, classified_at, act, line)
VALUES (?, 'animal', ?, 'species', ?, 1, 'human', 'Ana', '2026-05-01T06:00:00Z', ?, ?)
"""


def _at(seconds: float) -> str:
    return iso_utc(START + timedelta(seconds=seconds))


def _frames(
    database: ByHand,
    number: int,
    at: Callable[[int], str | None],
    camera: Callable[[int], str | None] = lambda n: "ford",
    taxon: Callable[[int], str] = lambda n: "Panthera leo",
) -> None:
    run = database.connection.executemany
    names = dict.fromkeys(camera(n) for n in range(number))
    run(
        "INSERT OR IGNORE INTO deployment (id, latitude, longitude) VALUES (?, 1, 36)",
        [(name,) for name in names if name],
    )
    run(_MEDIA, ((n + 1, f"/f/{n % 100}/{n}.jpg", f"{n:040x}", at(n), camera(n)) for n in range(number)))
    run(_MACHINE, ((n + 1, taxon(n), taxon(n).lower()) for n in range(number)))


def one_event(database: ByHand, size: int) -> None:
    _frames(database, size, lambda n: _at(10 * n))


def no_times(database: ByHand, size: int) -> None:
    _frames(database, size, lambda n: None)


def many_events(database: ByHand, size: int) -> None:
    _frames(database, size, lambda n: _at(3600 * n))


def many_deployments(database: ByHand, size: int) -> None:
    _frames(database, size, lambda n: _at(60 * n), lambda n: f"camera {n}")


def many_species(database: ByHand, size: int) -> None:
    _frames(database, 5 * size, lambda n: _at(600 * n), taxon=lambda n: f"Genus{n % size} species{n % size}")


def many_labels(database: ByHand, size: int) -> None:
    """Fifty labels on each frame."""
    _frames(database, size // 50, lambda n: _at(600 * n))
    names = [f"Genus{n} species{n}" for n in range(50)]
    lines = ((n + 1, name, name.lower(), "act", line) for n in range(size // 50) for line, name in enumerate(names))
    database.connection.executemany(_HUMAN, lines)


def many_acts(database: ByHand, size: int) -> None:
    """All acts on ten frames."""
    _frames(database, 10, lambda n: _at(600 * n))
    acts = ((n % 10 + 1, "Panthera leo", "lion", f"act {n}", 0) for n in range(size))
    database.connection.executemany(_HUMAN, acts)


LARGE: dict[str, tuple[Callable[[ByHand, int], Any], int]] = {
    "frames of one event": (one_event, 200_000),
    "frames without a time": (no_times, 200_000),
    "events": (many_events, 200_000),
    "deployments": (many_deployments, 100_000),
    "species": (many_species, 10_000),
    "labels, fifty on a frame": (many_labels, 100_000),
    "acts of people on ten frames": (many_acts, 100_000),
}


def make_large(path: Path, name: str, share: float = 1.0) -> Path:
    """A database of one sort, of its full size or of a share of it."""
    fill, size = LARGE[name]
    database = ByHand(path)
    database.connection.execute("BEGIN")
    fill(database, int(size * share))
    database.connection.execute("COMMIT")
    database.connection.close()
    return path
