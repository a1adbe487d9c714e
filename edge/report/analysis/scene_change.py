"""Find cameras that were moved or covered, by comparing their backgrounds from day to day.

Frames carry a grey miniature (`edge.image.scene_features`). The median of a day's miniatures is the background; a
camera that was moved shows another one for good, a covered lens shows none.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.study import Study
from edge.report.read.details import Details
from edge.report.read.local_time import DAY_S
from edge.report.read.survey import CLASSIFIED

FRAMES_A_DAY = 8
DAYS_EACH_SIDE = 4
_ALIKE, _UNLIKE = 0.75, 0.45
_FLAT_LEVELS = 7.0
_MINIATURE_BYTES = 192


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the background that begins on `day` (local, since 1970-01-01)."""

    kind: Literal["moved", "covered"]
    day: int
    last_day: int


def scene_changes(study: Study) -> dict[int, list[Change]]:
    """Changes by place of the deployment."""
    frames = study.survey.frames
    usable = np.flatnonzero((frames.status == CLASSIFIED) & frames.clock_good & (frames.infrared != 1))
    # By day alone: at night a flash lights only what is near.
    hour = frames.local[usable] % DAY_S // 3600
    usable = usable[(hour >= 8) & (hour < 17)]
    key = frames.deployment[usable].astype(np.int64) * 100_000 + frames.local[usable] // DAY_S
    within = np.arange(len(key)) - np.searchsorted(key, key)
    sampled = usable[within < FRAMES_A_DAY].astype(np.int32)
    if not len(sampled):
        return {}
    with Details(study.survey) as details:
        blobs = details.fetch("media", "CAST(scene AS BLOB)", sampled)
    whole = [i for i, (blob, _) in enumerate(blobs) if blob is not None and len(blob) == _MINIATURE_BYTES]
    if not whole:
        return {}
    pixels = np.frombuffer(b"".join(blobs[i][0] for i in whole), np.uint8).reshape(-1, _MINIATURE_BYTES)
    sampled = sampled[whole]
    found = {}
    for place in np.unique(frames.deployment[sampled]).tolist():
        mine = frames.deployment[sampled] == place
        changes = changes_of(frames.local[sampled[mine]] // DAY_S, pixels[mine])
        if changes:
            found[place] = changes
    return found


def changes_of(days: NDArray[np.int64], pixels: NDArray[np.uint8]) -> list[Change]:
    """Changes in one camera's miniatures uint8[N, 192], taken on `days` (ascending)."""
    unique = np.unique(days)
    backgrounds = np.stack([np.median(pixels[days == day], axis=0) for day in unique])
    contrast = backgrounds.std(axis=1)
    changes = []
    if len(unique) >= 2 * DAYS_EACH_SIDE:
        clear = np.flatnonzero(contrast >= _FLAT_LEVELS)
        flat_since = int(clear[-1]) + 1 if len(clear) else len(unique)
        if DAYS_EACH_SIDE <= flat_since <= len(unique) - 2:
            changes.append(Change("covered", int(unique[flat_since]), int(unique[-1])))
        seen = clear[clear < flat_since]
        changes += [Change("moved", int(unique[seen[i]]), int(unique[seen[-1]])) for i in _moves(backgrounds[seen])]
    return changes


def _moves(backgrounds: NDArray[np.float64]) -> list[int]:
    """Places where the days before agree with each other, the days after too, and both sides not."""
    moves: list[int] = []
    i = DAYS_EACH_SIDE
    while i <= len(backgrounds) - DAYS_EACH_SIDE:
        before, after = backgrounds[i - DAYS_EACH_SIDE : i], backgrounds[i : i + DAYS_EACH_SIDE]
        first, second = np.median(before, axis=0), np.median(after, axis=0)
        steady = min(*(_alike(day, first) for day in before), *(_alike(day, second) for day in after)) >= _ALIKE
        if steady and _alike(first, second) < _UNLIKE:
            moves.append(i)
            i += DAYS_EACH_SIDE
        else:
            i += 1
    return moves


def _alike(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Correlation of two backgrounds, whatever the light; 1 the same, 0 nothing in common."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0
