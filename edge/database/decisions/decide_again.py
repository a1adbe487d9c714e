"""New decisions from stored log-probabilities, where another species list or other thresholds need no image.

What the networks gave is stored before the species list. Another list, or other thresholds, change only the decision,
unless they change whether the attention crop is classified: then the image is needed again, and so it is for another
model or detector, and for bounding boxes (whose scores are stored only within their confidence).
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.database.configuration import Document
from edge.image.box import Box
from edge.inference.card import Card
from edge.inference.decision import Decider, Decision
from edge.vocabulary import DecisionReason

_STEP = 256
_OTHERS = """
SELECT o.media, o.configuration, o.reason, o.log_probabilities, o.box_x, o.box_y, o.box_width, o.box_height
FROM observation o JOIN media m ON m.id = o.media
WHERE o.media > :after AND o.model = :model AND o.method = 'machine' AND o.subject = 0
    AND o.configuration IN (SELECT value FROM json_each(:others)) AND o.log_probabilities NOT NULL
    AND m.status = 'classified'
    AND NOT EXISTS (SELECT 1 FROM observation a WHERE a.media = o.media AND a.model = :model
        AND a.configuration = :configuration AND a.method = 'machine')
ORDER BY o.media, o.id DESC
"""
_PATHS = "SELECT media, path FROM file WHERE media IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What is stored of a frame, with the decision that the settings in use make of it."""

    media: int
    decision: Decision
    log_probabilities: NDArray[np.float32]
    crop: Box | None
    """The attention crop, where it is stored."""


class DecideAgain:
    """Finds the frames that one model answered under another configuration, and decides them by this one.

    Only frames with a path at or below `sources` are meant, whether the file is still there or not.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        model: int,
        configuration: int,
        card: Card,
        decider: Decider,
        sources: Sequence[Path],
    ) -> None:
        self._connection = connection
        self._sources = frozenset(sources)
        self._decider = decider
        self._values = {"model": model, "configuration": configuration}
        documents: dict[int, Document] = {
            id_: json.loads(text) for id_, text in connection.execute("SELECT id, document FROM configuration")
        }
        mine = documents[configuration]
        self._others = {
            id_: Decider(card, other.get("species_list"), other.get("thresholds"))
            for id_, other in documents.items()
            if id_ != configuration
            and "detector" not in {**mine, **other}
            and _without_decision(other) == _without_decision(mine)
        }
        self._crops = card.calibration.second_look is not None and mine.get("second_look", True)

    def answers(self) -> Iterator[list[StoredAnswer]]:
        """Frames with their new decisions, some at a time; they are to be logged before the next are asked for."""
        after = 0
        while self._others:
            values = {**self._values, "after": after, "others": json.dumps(list(self._others))}
            rows = self._connection.execute(_OTHERS, values).fetchmany(_STEP)
            if not rows:
                return
            if len(rows) == _STEP and rows[0][0] != rows[-1][0]:  # the last frame's rows may not be complete
                rows = [row for row in rows if row[0] != rows[-1][0]]
            after = rows[-1][0]
            meant = self._meant([row[0] for row in rows])
            answers: dict[int, StoredAnswer] = {}
            for media, other, reason, blob, *box in rows:
                if (
                    media in meant
                    and media not in answers
                    and (answer := self._answer(media, other, reason, blob, box)) is not None
                ):
                    answers[media] = answer
            yield list(answers.values())

    def _meant(self, media: list[int]) -> set[int]:
        rows = self._connection.execute(_PATHS, (json.dumps(media),))
        paths = [(id_, Path(os.fsdecode(path))) for id_, path in rows]
        return {id_ for id_, path in paths if not self._sources.isdisjoint((path, *path.parents))}

    def _answer(
        self, media: int, other: int, reason: str | None, blob: bytes, box: Sequence[float | None]
    ) -> StoredAnswer | None:
        logs = np.frombuffer(blob, np.float16).astype(np.float32)
        # The card's rejection score is not stored, but whether it rejected the frame is.
        familiarity = -np.inf if reason == DecisionReason.OUT_OF_DISTRIBUTION else np.inf
        settled = (one.is_settled(logs, familiarity) for one in (self._others[other], self._decider))
        if self._crops and len(set(settled)) > 1:
            return None
        crop = None if box[0] is None else Box(*(side or 0.0 for side in box))
        return StoredAnswer(media, self._decider.decide(logs, familiarity), logs, crop)


def _without_decision(document: Document) -> Document:
    """What of a configuration changes the networks' outputs."""
    return {key: value for key, value in document.items() if key not in ("species_list", "thresholds")}
