"""Databases of a few frames, each written down in the test that needs it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from edge.database.schema import open_database
from edge.inference.taxonomy import Taxon
from edge.timestamps import iso_utc
from tests.support.made_survey import CARD

START = datetime(2026, 5, 1, 6, 0, tzinfo=UTC)
TAXA: dict[str, Taxon] = {
    **{t.common_name: t for t in CARD.higher_taxa},
    **{label.common_name: label.taxon for label in CARD.labels if label.taxon is not None},
}
NAMES = [label.common_name for label in CARD.labels]


def shares(**probabilities: float) -> bytes:
    """float16 log-probabilities with these shares by label (underscores for spaces), the rest spread over all."""
    p = np.full(len(NAMES), (1 - sum(probabilities.values())) / len(NAMES))
    for name, share in probabilities.items():
        p[NAMES.index(name.replace("_", " "))] += share
    return bytes(np.log(p).astype(np.float16).tobytes())


@dataclass
class ByHand:
    """A database to be filled frame by frame."""

    path: Path
    zone: str | None = "UTC"
    model: int = 1
    _frames: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.connection = open_database(self.path)
        self.new_model(1)

    def new_model(self, number: int) -> None:
        """A model and a run with it."""
        self.model = number
        self.connection.execute(
            "INSERT INTO model (id, sha256, name, version, card) VALUES (?, ?, ?, ?, ?)",
            (number, f"{number:064x}", CARD.name, f"{number}.0", CARD.to_json()),
        )
        self.connection.execute(
            "INSERT INTO run (started_at, software_version, model, settings) VALUES (?, '0.1.0', ?, '{}')",
            (iso_utc(START), number),
        )

    def deployment(self, name: str, **columns: Any) -> None:
        self.connection.execute(
            'INSERT INTO deployment (id, latitude, longitude, time_zone, start, "end") VALUES (?, ?, ?, ?, ?, ?)',
            (name, *(columns.get(key) for key in ("latitude", "longitude", "time_zone", "start", "end"))),
        )

    def frame(
        self, seconds: float | None, what: str, confidence: float = 0.9, camera: str | None = None, **columns: Any
    ) -> int:
        """A classified frame `seconds` after `START`, answered `what` (a common name or a kind); gives its id."""
        self._frames += 1
        at = None if seconds is None else iso_utc(START + timedelta(seconds=seconds))
        content = columns.get("content", f"{self.path.name} {self._frames}")
        path = columns.get("path", f"/frames/{camera or 'x'}/IMG_{self._frames:04d}.JPG")
        media = int(
            self.connection.execute(
                "INSERT INTO media (path, digest, bytes, captured_at, time_zone, clock_doubt, received_at, status, "
                "deployment, infrared, scene) VALUES (?, ?, 1, ?, ?, ?, ?, 'classified', ?, ?, ?)",
                (
                    path,
                    blake2b(content.encode(), digest_size=20).hexdigest(),
                    at,
                    self.zone,
                    columns.get("doubt"),
                    columns.get("received_at", at or iso_utc(START)),
                    camera,
                    columns.get("infrared"),
                    columns.get("scene"),
                ),
            ).lastrowid
            or 0
        )
        self.answer(media, what, confidence, **columns)
        return media

    def answer(self, media: int, what: str, confidence: float | None = 0.9, **columns: Any) -> None:
        """An observation: of the model, or with `by` of a person."""
        taxon = TAXA.get(what)
        by = columns.get("by")
        self.connection.execute(
            "INSERT INTO observation (media, model, subject, kind, taxon, rank, common_name, count, confidence, "
            "reason, box_x, box_y, box_width, box_height, box_source, method, classified_by, classified_at, "
            "log_probabilities) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                media,
                None if by else columns.get("model", self.model),
                columns.get("subject", 0),
                "animal" if taxon else what,
                taxon and taxon.scientific_name,
                taxon and taxon.rank,
                taxon.common_name if taxon else what,
                columns.get("count"),
                None if by else confidence,
                None if by else "confident",
                *columns.get("box", (None,) * 4),
                columns.get("box_source", "detector" if "box" in columns else None),
                "human" if by else "machine",
                by or f"{CARD.name} 1.0",
                iso_utc(START),
                columns.get("logs"),
            ),
        )

    def unreadable(self, path: str, reason: str = "truncated") -> None:
        self.connection.execute(
            "INSERT INTO media (path, digest, bytes, received_at, status, reason) "
            "VALUES (?, 'aa', 1, ?, 'unreadable', ?)",
            (path, iso_utc(START), reason),
        )
