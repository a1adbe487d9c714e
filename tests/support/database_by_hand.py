"""Databases of a few frames, each written down in the test that needs it."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from edge.database.schema import open_database
from edge.image.decode import digest
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
            "INSERT INTO run (started_at, software_version, model, configuration, settings) "
            "VALUES (?, '0.1.0', ?, 1, '{}')",
            (iso_utc(START), number),
        )
        self.connection.execute(
            'INSERT INTO pin (model, configuration, at, "by") SELECT ?, 1, ?, ? WHERE NOT EXISTS (SELECT 1 FROM pin)',
            (number, iso_utc(START), "made by hand"),
        )

    def deployment(self, name: str, **columns: Any) -> None:
        self.connection.execute(
            'INSERT INTO deployment (id, latitude, longitude, time_zone, start, "end") VALUES (?, ?, ?, ?, ?, ?)',
            (name, *(columns.get(key) for key in ("latitude", "longitude", "time_zone", "start", "end"))),
        )

    def frame(
        self, seconds: float | None, what: str, confidence: float = 0.9, camera: str | None = None, **columns: Any
    ) -> int:
        """A classified frame `seconds` after `START`, answered `what` (a common name or a kind); gives its id.

        Where there is a file at `path`, it is the one that was logged.
        """
        self._frames += 1
        at = None if seconds is None else iso_utc(START + timedelta(seconds=seconds))
        path = columns.get("path", f"/frames/{camera or 'x'}/IMG_{self._frames:04d}.JPG")
        content = columns.get("content", f"{self.path.name} {self._frames}").encode()
        if "content" not in columns and os.path.isfile(path):
            content = Path(path).read_bytes()
        media = int(
            self.connection.execute(
                "INSERT INTO media (path, digest, bytes, captured_at, time_zone, clock_doubt, received_at, status, "
                "deployment, infrared, scene) VALUES (?, ?, ?, ?, ?, ?, ?, 'classified', ?, ?, ?)",
                (
                    path,
                    digest(content),
                    len(content),
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
        frame_only = {"content", "path", "doubt", "received_at", "infrared", "scene"}
        self.answer(media, what, confidence, **{k: v for k, v in columns.items() if k not in frame_only})
        return media

    def answer(self, media: int, what: str, confidence: float | None = 0.9, **columns: Any) -> None:
        """An observation: of the model, or with `by` of a person (all that one person wrote on a frame is one act)."""
        taxon = TAXA.get(what)
        by = columns.pop("by", None)
        (line,) = self.connection.execute(
            "SELECT count(*) FROM observation WHERE media = ? AND act = ?", (media, by)
        ).fetchone()
        box = columns.pop("box", None)
        values = {
            "media": media,
            "kind": "animal" if taxon else what,
            "taxon": taxon and taxon.scientific_name,
            "rank": taxon and taxon.rank,
            "common_name": taxon.common_name if taxon else what,
            "method": "human" if by else "machine",
            "classified_by": by or f"{CARD.name} 1.0",
            "classified_at": iso_utc(START),
            "log_probabilities": columns.pop("logs", None),
        }
        if by:
            values |= {"act": by, "line": line}
        else:
            values |= {"model": self.model, "configuration": 1, "confidence": confidence, "reason": "confident"}
        if box is not None:
            values |= dict(zip(("box_x", "box_y", "box_width", "box_height"), box, strict=True))
            values["box_source"] = "detector"
        values |= columns
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO observation ({names}) VALUES ({marks})", tuple(values.values()))

    def unreadable(self, path: str, reason: str = "truncated") -> None:
        self.connection.execute(
            "INSERT INTO media (path, digest, bytes, received_at, status, reason) "
            "VALUES (?, 'aa', 1, ?, 'unreadable', ?)",
            (path, iso_utc(START), reason),
        )
