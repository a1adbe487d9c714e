"""File names that may leave the device: relative to what all frames share, and nothing of the machine above that."""

import mimetypes
import os
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edge.report.rows import CHUNK, Details
from edge.report.study import Study


@dataclass(frozen=True, slots=True)
class PublicPaths:
    """Turns stored paths into names below one folder."""

    root: str
    deployments: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, details: Details, frames: NDArray[np.int32]) -> "PublicPaths":
        """The folder that all of `frames` lie below."""
        root: str | None = None
        for start in range(0, len(frames), CHUNK):
            part = frames[start : start + CHUNK]
            folders = {path.rpartition("/")[0] for path, _ in details.media(part)}
            shared = os.path.commonpath(folders) if all(f.startswith("/") for f in folders) else ""
            root = shared if root is None else os.path.commonpath([root, shared]) if root and shared else ""
        return cls(root or "", tuple(d.name for d in study.survey.deployments))

    def public(self, path: str, deployment: int) -> str:
        """A relative path that no standard objects to: no leading dot, slash or tilde, no two dots in a row."""
        below = path.removeprefix(self.root).lstrip("/") if self.root else path.rpartition("/")[2]
        while ".." in below:
            below = below.replace("..", "_")
        if below[:1] in (".", "~", "/", ""):
            name = self.deployments[deployment].strip("./~").replace("..", "_") or "frames"
            below = f"{name}/{below}"
        return below


def media_type(path: str) -> str:
    """`image/jpeg` and the like, by the suffix."""
    return _TYPES.get(PurePosixPath(path).suffix.lower(), "image/jpeg")


_TYPES = {
    suffix: kind
    for suffix in (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
    if (kind := mimetypes.types_map.get(suffix, "image/webp")).startswith("image/")
}
