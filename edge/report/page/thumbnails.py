"""Small pictures for a page, made from the frames where they still are; people are never shown."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import Rules
from edge.image.decode import BadFrame, decode
from edge.report.analysis.events import frame_bursts
from edge.report.read.connection import connect
from edge.report.read.survey import ANIMAL, CLASSIFIED, Survey

WIDTH_PX, HEIGHT_PX = 360, 270
_QUALITY = 72
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture, or why there is none."""

    data: str
    """`data:` address of a JPEG; empty when there is no picture."""
    missing: str
    """One short phrase; empty when there is a picture."""
    file_name: str = ""


class Gallery:
    """Finds and shrinks frames of a survey that may be shown."""

    def __init__(self, survey: Survey, rules: Rules, pictures: bool = True) -> None:
        self._survey = survey
        self._pictures = pictures
        self._shown: dict[int, Thumbnail] = {}
        self._private = np.zeros(len(survey.frames), bool)
        if pictures:
            self._private[survey.people] = True
            # A person in one frame of a burst is likely to stand in the others.
            bursts = frame_bursts(survey, rules)
            with_people = np.zeros(int(bursts.max(initial=-1)) + 1, bool)
            with_people[bursts[survey.people]] = True
            looked = np.zeros(len(survey.frames), bool)
            looked[survey.records.frame[survey.records.human]] = True
            self._private |= with_people[bursts] & ~looked

    def best(self, taxon: int) -> Thumbnail:
        """The best frame of a taxon: what a person confirmed, then the surest answers."""
        records = self._survey.records
        mine = np.flatnonzero((records.kind == ANIMAL) & (records.taxon == taxon))
        if not len(mine):  # an answer that frames gave together, and none of them alone
            mine = np.flatnonzero((records.kind == ANIMAL) & (records.event_taxon == taxon))
        sure = np.where(records.human[mine], 2.0, np.nan_to_num(records.confidence[mine]))
        order = mine[np.argsort(-sure, kind="stable")]
        return self.first(records.frame[order])

    def first(self, frames: NDArray[np.int32]) -> Thumbnail:
        """The first of some frames that may and can be shown; else why none is."""
        if not self._pictures:
            return Thumbnail("", "pictures left out")
        allowed = [int(f) for f in frames[: _TRIES * 50] if self.allowed(int(f))][:_TRIES]
        why = Thumbnail("", "not shown: people in the frame" if len(frames) else "no frame")
        for frame in allowed:
            why = self.one(frame)
            if why.data:
                return why
        return why

    def allowed(self, frame: int) -> bool:
        """Whether a frame may be shown at all."""
        return self._survey.frames.status[frame] == CLASSIFIED and not self._private[frame]

    def one(self, frame: int) -> Thumbnail:
        """One frame, whatever it shows: ask `allowed` first."""
        if frame not in self._shown:
            self._shown[frame] = self._make(frame)
        return self._shown[frame]

    def _make(self, frame: int) -> Thumbnail:
        path = frame_paths(self._survey, [frame])[frame]
        try:
            picture = decode(path.read_bytes(), HEIGHT_PX, path.name)
        except OSError:
            return Thumbnail("", "the frame is no longer where it was", path.name)
        except BadFrame as error:
            return Thumbnail("", f"the frame cannot be read now ({error.reason})", path.name)
        return Thumbnail(_jpeg_address(picture.pixels), "", path.name)


def frame_paths(survey: Survey, frames: Iterable[int]) -> dict[int, Path]:
    """Where some frames were last seen."""
    wanted: dict[int, list[int]] = {}
    for frame in frames:
        wanted.setdefault(int(survey.frames.database[frame]), []).append(frame)
    found = {}
    for database, places in wanted.items():
        with connect(survey.paths[database]) as connection:
            for place in places:
                (path,) = connection.execute(
                    "SELECT path FROM media WHERE id = ?", (int(survey.frames.media[place]),)
                ).fetchone()
                found[place] = Path(path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path)
    return found


def _jpeg_address(pixels: NDArray[np.uint8]) -> str:
    """uint8[H, W, 3] RGB as a `data:` address of a small JPEG of fixed proportions (the middle of the frame)."""
    height, width = pixels.shape[:2]
    scale = max(WIDTH_PX / width, HEIGHT_PX / height)
    wide, high = min(width, round(WIDTH_PX / scale)), min(height, round(HEIGHT_PX / scale))
    left, top = (width - wide) // 2, (height - high) // 2
    cut = np.ascontiguousarray(pixels[top : top + high, left : left + wide, ::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(cut, (WIDTH_PX, HEIGHT_PX), interpolation=method)
    done, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode() if done else ""
