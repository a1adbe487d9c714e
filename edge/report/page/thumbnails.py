"""Thumbnails for the page, made from the frames where they still are; people are never shown."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.database.events.grouping import Rules
from edge.database.frame_files import FrameAway, FrameFiles
from edge.image.decode import BadFrame, decode
from edge.report.analysis.events import frame_bursts
from edge.report.read.connection import connect
from edge.report.read.survey import ANIMAL, CLASSIFIED, Survey

WIDTH_PX, HEIGHT_PX = 360, 270
_QUALITY = 72
_TRIES = 4


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image, or the reason why there is none."""

    data: str
    """`data:` address of a JPEG; empty when there is no image."""
    missing: str
    """The reason in a short phrase; empty when there is an image."""
    file_name: str = ""


class Gallery:
    """Thumbnails of the frames of a survey that may be shown."""

    def __init__(self, survey: Survey, rules: Rules, with_images: bool = True) -> None:
        self._survey = survey
        self._with_images = with_images
        self._shown: dict[int, Thumbnail] = {}
        self._private = np.zeros(len(survey.frames), bool)
        if with_images:
            self._private[survey.people] = True
            # A person in one frame of a burst is likely to stand in the others.
            bursts = frame_bursts(survey, rules)
            with_people = np.zeros(int(bursts.max(initial=-1)) + 1, bool)
            with_people[bursts[survey.people]] = True
            reviewed = np.zeros(len(survey.frames), bool)
            reviewed[survey.records.frame[survey.records.human]] = True
            self._private |= with_people[bursts] & ~reviewed

    def best(self, taxon: int) -> Thumbnail:
        """The best frame of a taxon: one that a person confirmed, else the one with the highest confidence."""
        records = self._survey.records
        mine = np.flatnonzero((records.kind == ANIMAL) & (records.taxon == taxon))
        if not len(mine):  # a taxon that an event was decided for, and no single frame
            mine = np.flatnonzero((records.kind == ANIMAL) & (records.event_taxon == taxon))
        confidence = np.where(records.human[mine], 2.0, np.nan_to_num(records.confidence[mine]))
        order = mine[np.argsort(-confidence, kind="stable")]
        return self.first(records.frame[order])

    def first(self, frames: NDArray[np.int32]) -> Thumbnail:
        """The first of some frames that may and can be shown, else the reason why none is."""
        if not self._with_images:
            return Thumbnail("", "images left out")
        allowed = [int(f) for f in frames[: _TRIES * 50] if self.allowed(int(f))][:_TRIES]
        best = Thumbnail("", "not shown: people in the frame" if len(frames) else "no frame")
        for frame in allowed:
            best = self.one(frame)
            if best.data:
                return best
        return best

    def allowed(self, frame: int) -> bool:
        """Whether a frame may be shown at all."""
        return self._survey.frames.status[frame] == CLASSIFIED and not self._private[frame]

    def one(self, frame: int) -> Thumbnail:
        """The thumbnail of one frame, which must be `allowed`."""
        if frame not in self._shown:
            self._shown[frame] = self._make(frame)
        return self._shown[frame]

    def _make(self, frame: int) -> Thumbnail:
        name = frame_paths(self._survey, [frame])[frame].name
        try:
            with connect(self._survey.paths[self._survey.frames.database[frame]]) as connection:
                found = FrameFiles(connection).read(int(self._survey.frames.media[frame]))
            image = decode(found.data, HEIGHT_PX, name)
        except FrameAway as away:
            return Thumbnail("", str(away), name)
        except BadFrame as error:
            return Thumbnail("", f"the frame cannot be read now ({error.reason})", name)
        return Thumbnail(_jpeg_address(image.pixels), "", name)


def frame_paths(survey: Survey, frames: Iterable[int]) -> dict[int, Path]:
    """Paths at which some frames were last seen."""
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
    cropped = np.ascontiguousarray(pixels[top : top + high, left : left + wide, ::-1])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(cropped, (WIDTH_PX, HEIGHT_PX), interpolation=method)
    done, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode() if done else ""
