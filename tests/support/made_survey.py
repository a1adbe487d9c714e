"""Makes a survey: a detections database of any size, as a device would have written it, from a seed.

Animals come by day or by night, as their species do, and trigger bursts; some decisions are a higher taxon or wrong;
vegetation makes storms of blank frames, a device goes silent, a clock is reset. The frames need not exist as files.

    python -m tests.support.made_survey OUT.db --frames 1000000 --deployments 20
"""

import argparse
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edge.database.events.table import rebuild_events
from edge.database.schema import open_database
from edge.inference.card import Calibration, Card, Label, Source
from edge.inference.decision import Decider
from edge.inference.taxonomy import Taxon
from edge.timestamps import iso_utc
from edge.vocabulary import Kind


@dataclass(frozen=True, slots=True)
class Animal:
    """A species of the made survey."""

    taxon: Taxon
    events: float
    """Relative frequency."""
    peaks_h: tuple[float, ...]
    """Local hours of most activity."""
    sharpness: float
    """Concentration of activity around the peaks."""
    group: int
    """Most animals together."""


def _species(name: str, common: str, order: str, family: str, class_: str = "Mammalia") -> Taxon:
    return Taxon(name, "species", common, class_, order, family, name.split()[0], name)


ANIMALS = (
    Animal(_species("Aepyceros melampus", "impala", "Artiodactyla", "Bovidae"), 30, (7.5, 17), 2.5, 6),
    Animal(_species("Phacochoerus africanus", "common warthog", "Artiodactyla", "Suidae"), 18, (9, 15.5), 3, 4),
    Animal(_species("Equus quagga", "plains zebra", "Perissodactyla", "Equidae"), 16, (8, 18), 1.2, 7),
    Animal(_species("Kobus ellipsiprymnus", "waterbuck", "Artiodactyla", "Bovidae"), 9, (6.5, 18), 2, 3),
    Animal(_species("Tragelaphus scriptus", "bushbuck", "Artiodactyla", "Bovidae"), 7, (5.5, 19.5), 3, 2),
    Animal(_species("Crocuta crocuta", "spotted hyena", "Carnivora", "Hyaenidae"), 6, (21, 3), 1.5, 3),
    Animal(_species("Hystrix cristata", "crested porcupine", "Rodentia", "Hystricidae"), 5, (22.5, 2.5), 3, 2),
    Animal(_species("Papio anubis", "olive baboon", "Primates", "Cercopithecidae"), 5, (10, 16), 2, 9),
    Animal(_species("Lepus capensis", "Cape hare", "Lagomorpha", "Leporidae"), 3, (20, 4.5), 2, 1),
    Animal(_species("Panthera pardus", "leopard", "Carnivora", "Felidae"), 1.0, (19.5, 4), 1.2, 1),
    Animal(_species("Panthera leo", "lion", "Carnivora", "Felidae"), 0.6, (20, 5.5), 1.0, 3),
    Animal(_species("Caracal caracal", "caracal", "Carnivora", "Felidae"), 0.2, (21,), 1.5, 1),
    Animal(_species("Orycteropus afer", "aardvark", "Tubulidentata", "Orycteropodidae"), 0.15, (1,), 3, 1),
    Animal(_species("Numida meleagris", "helmeted guineafowl", "Galliformes", "Numididae", "Aves"), 8, (7, 17.5), 3, 8),
)
HIGHER = (
    Taxon("Mammalia", "class", "mammal", "Mammalia"),
    Taxon("Aves", "class", "bird", "Aves"),
    Taxon("Felidae", "family", "cat family", "Mammalia", "Carnivora", "Felidae"),
    Taxon("Bovidae", "family", "cattle and antelope family", "Mammalia", "Artiodactyla", "Bovidae"),
)
CARD = Card(
    name="made-savanna",
    version="1.0",
    created="2026-01-01T00:00:00Z",
    labels=(
        *(Label(a.taxon.common_name, Kind.ANIMAL, a.taxon.common_name, a.taxon) for a in ANIMALS),
        Label("blank", Kind.BLANK, "blank"),
        Label("human", Kind.HUMAN, "person"),
        Label("vehicle", Kind.VEHICLE, "vehicle"),
    ),
    input_height_px=224,
    input_width_px=224,
    calibration=Calibration(1.0, {"species": 0.7, "class": 0.8, "blank": 0.6, "human": 0.5, "vehicle": 0.6}),
    higher_taxa=HIGHER,
    sources=(Source("made data", "training data", "none"),),
    notes=("Knows nothing of the real world: it answers for made frames.",),
)
LABELS = len(CARD.labels)
BLANK, HUMAN = len(ANIMALS), len(ANIMALS) + 1
COLUMNS = (
    "id, path, digest, bytes, width_px, height_px, captured_at, captured_at_raw, time_zone, clock_doubt, received_at, "
    "status, reason, attempts, deployment, infrared, scene"
)


def make(
    path: Path,
    seed: int = 1,
    frames: int = 3000,
    deployments: int = 3,
    days: int = 60,
    zone: str = "Africa/Nairobi",
    folder: Path | None = None,
    events: bool = True,
    first_camera: int = 0,
) -> None:
    """Write a database. `folder` is where the frames are said to lie; `seed` decides everything."""
    rng = np.random.default_rng(seed)
    connection = open_database(path)
    connection.execute("BEGIN")
    decider = Decider(CARD)
    text = CARD.to_json()
    connection.execute(
        "INSERT INTO model (id, sha256, name, version, card) VALUES (1, ?, ?, ?, ?)",
        (f"{seed:064x}", CARD.name, CARD.version, text),
    )
    start = datetime(2026, 3, 1, tzinfo=ZoneInfo(zone))
    connection.execute(
        "INSERT INTO run (id, started_at, software_version, model, configuration, settings) "
        "VALUES (1, ?, '0.1.0', 1, 1, '{}')",
        (_utc(start),),
    )
    connection.execute("INSERT INTO pin (model, configuration, at, \"by\") VALUES (1, 1, ?, 'made')", (_utc(start),))
    media = 0
    for number in range(deployments):
        name = f"cam{first_camera + number + 1:02d}"
        connection.execute(
            "INSERT INTO deployment VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                round(-2.4 + float(rng.normal(0, 0.05)), 5),
                round(36.9 + float(rng.normal(0, 0.05)), 5),
                zone,
                start.isoformat(),
                (start + timedelta(days=days)).isoformat(),
                None,
            ),
        )
        wanted = frames // deployments + (number < frames % deployments)
        rows = list(_frames(rng, decider, name, start, days, wanted, media, folder or Path("/camera")))
        media += len(rows)
        connection.executemany(
            f"INSERT INTO media ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [row[0] for row in rows],
        )
        connection.executemany(
            "INSERT INTO observation (media, run, model, configuration, kind, taxon, rank, common_name, confidence, "
            "reason, "
            "method, classified_by, classified_at, log_probabilities) "
            "VALUES (?, 1, 1, 1, ?, ?, ?, ?, ?, ?, 'machine', 'made-savanna 1.0', ?, ?)",
            [row[1] for row in rows],
        )
    hours = np.arange(0, days * 24)
    alive = hours[(hours < days * 12) | (hours > days * 12 + 60)]  # silent for sixty hours in the middle
    connection.executemany(
        "INSERT INTO heartbeat (at, backlog, free_bytes, temperature_c, clock_synchronised) VALUES (?, 0, ?, 31.5, 1)",
        [(_utc(start + timedelta(hours=int(h))), 60_000_000_000 - int(h) * 20_000_000) for h in alive],
    )
    connection.execute("COMMIT")
    if events:
        rebuild_events(connection, {(1, 1): decider})
    connection.close()


def add_reviews(connection: sqlite3.Connection, rng: np.random.Generator, share: float) -> None:
    """Labels of two reviewers for a share of the frames: other taxa, coarse taxa, several in one frame, blanks."""
    taxa = [*(animal.taxon for animal in ANIMALS), *HIGHER]
    frames = [media for (media,) in connection.execute("SELECT id FROM media ORDER BY id")]
    connection.execute("BEGIN")
    for media in frames:
        if rng.random() >= share:
            continue
        for reviewer in ("Ana", "Ben")[: 1 + int(rng.random() < 0.15)]:
            kind = str(rng.choice(["animal", "blank", "human", "unknown", "vehicle"], p=[0.8, 0.1, 0.04, 0.03, 0.03]))
            number = 1 + int(rng.integers(3)) if kind == "animal" and rng.random() < 0.3 else 1
            for subject, place in enumerate(rng.choice(len(taxa), number, replace=False).tolist()):
                taxon = taxa[place] if kind == "animal" else None
                connection.execute(
                    "INSERT INTO observation (media, subject, kind, taxon, rank, common_name, count, method, "
                    "classified_by, classified_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'human', ?, ?)",
                    (
                        media,
                        subject,
                        kind,
                        taxon and taxon.scientific_name,
                        taxon and taxon.rank,
                        taxon and taxon.common_name,
                        int(rng.integers(1, 9)) if rng.random() < 0.5 else None,
                        reviewer,
                        "2026-06-01T00:00:00.000Z",
                    ),
                )
    connection.execute("COMMIT")


def _frames(
    rng: np.random.Generator,
    decider: Decider,
    camera: str,
    start: datetime,
    days: int,
    wanted: int,
    media: int,
    folder: Path,
) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Rows of `media` and of `observation` for one camera."""
    share = np.array([a.events for a in ANIMALS]) * rng.gamma(0.8, 1, len(ANIMALS))
    share /= share.sum()
    scene = rng.integers(40, 200, 192)
    made = 0
    while made < wanted:
        day = int(rng.integers(0, days))
        kind = rng.random()
        if kind < 0.07:  # a storm of blanks
            label, hour, bursts, group = BLANK, rng.uniform(10, 16), int(rng.integers(3, 15)), 0
        elif kind < 0.25:
            label, hour, bursts, group = BLANK, rng.uniform(0, 24), 1, 0
        elif kind < 0.26:
            label, hour, bursts, group = HUMAN, rng.uniform(8, 17), 1, 1
        else:
            label = int(rng.choice(len(ANIMALS), p=share))
            animal = ANIMALS[label]
            peak = animal.peaks_h[int(rng.integers(len(animal.peaks_h)))]
            hour = (peak + rng.vonmises(0, animal.sharpness) * 12 / np.pi) % 24
            bursts, group = 1 + int(rng.poisson(0.7)), 1 + int(rng.integers(animal.group))
        at = start + timedelta(days=day, hours=float(hour))
        for _ in range(bursts):
            for _ in range(min(3, wanted - made)):
                media, made = media + 1, made + 1
                yield _frame(rng, decider, camera, at, label, group, media, folder, scene)
                at += timedelta(seconds=float(rng.uniform(1, 3)))
            at += timedelta(seconds=float(rng.uniform(20, 300)))


def _frame(
    rng: np.random.Generator,
    decider: Decider,
    camera: str,
    at: datetime,
    label: int,
    group: int,
    media: int,
    folder: Path,
    scene: NDArray[np.int64],
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    logits = rng.normal(0, 1.0, LABELS)
    logits[label] += rng.gamma(5, 1.6)
    if label < len(ANIMALS):  # a family looks alike
        family = ANIMALS[label].taxon.family
        logits[: len(ANIMALS)] += [2.2 if a.taxon.family == family else 0 for a in ANIMALS]
    logs = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    said = decider.decide(logs)
    night = at.hour < 6 or at.hour >= 19
    stamp = _utc(at)
    name = f"{camera}-{media:07d}.JPG"
    return (
        (
            media,
            str(folder / camera / name),
            blake2b(f"{camera}/{media}".encode(), digest_size=20).hexdigest(),
            1_500_000,
            4000,
            3000,
            stamp,
            at.strftime("%Y:%m:%d %H:%M:%S"),
            str(at.tzinfo),
            None,
            stamp,
            "classified",
            None,
            1,
            camera,
            int(night),
            np.clip(scene * (0.4 if night else 1) + rng.normal(0, 4, 192), 0, 255).astype(np.uint8).tobytes(),
        ),
        (
            media,
            said.kind,
            said.taxon,
            said.rank,
            said.common_name,
            said.confidence,
            said.reason,
            stamp,
            logs.astype(np.float16).tobytes(),
        ),
    )


def _utc(at: datetime) -> str:
    return iso_utc(at)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a made detections database.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--deployments", type=int, default=3)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.perf_counter()
    make(arguments.out, arguments.seed, arguments.frames, arguments.deployments, arguments.days)
    print(json.dumps({"bytes": arguments.out.stat().st_size, "seconds": round(time.perf_counter() - began, 1)}))
    with sqlite3.connect(arguments.out) as connection:
        for table in ("media", "observation", "event"):
            print(table, *connection.execute(f"SELECT count(*) FROM {table}").fetchone())


if __name__ == "__main__":
    main()
