"""File names for exports: relative to the folder that all frames share, without the folders above it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.study import Study
from edge.report.read.details import Details


@dataclass(frozen=True, slots=True)
class PublicPaths:
    """Turns stored paths into names below one folder."""

    root: str
    deployments: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, details: Details, failures_too: bool = False) -> "PublicPaths":
        """Relative to the folder that all frames of the databases lie below; with `failures_too`, which a format asks
        for that lists unreadable files, these as well.
        """
        root = details.common_folder(failures_too)
        return cls(f"{root.rstrip('/')}/" if root else "", tuple(d.name for d in study.survey.deployments))

    def public_names(self, seen: list[tuple[str, str]], deployments: NDArray[np.int32]) -> list[str]:
        """The public name of each of some frames, given as `Details.media` gives them."""
        paths = [path for path, _ in seen]
        names = [path[len(self.root) :] for path in paths]
        together = "\0".join(["", *names, ""])
        odd = ("..", "\0.", "\0~", "\0/", "\0\0")
        if self.root and all(path.startswith(self.root) for path in paths) and not any(one in together for one in odd):
            return names  # nearly always, and then many times quicker than one by one
        return list(map(self.public, paths, deployments.tolist()))

    def public(self, path: str, deployment: int) -> str:
        """A relative path that no standard objects to: no leading dot, slash or tilde, no two dots in a row."""
        below = path[len(self.root) :] if self.root and path.startswith(self.root) else path.rpartition("/")[2]
        while ".." in below:
            below = below.replace("..", "_")
        if below[:1] in (".", "~", "/", ""):
            name = self.deployments[deployment].strip("./~").replace("..", "_") or "frames"
            below = f"{name}/{below.lstrip('/')}"
        return below


def media_types(paths: list[str]) -> list[str]:
    """`image/jpeg` and the like, by the suffixes."""
    ends = [path[-5:] for path in paths]
    types = {end: _TYPES.get(end.rpartition(".")[2].lower(), "image/jpeg") for end in set(ends)}
    return [types[end] for end in ends]


_TYPES = {"png": "image/png", "tif": "image/tiff", "tiff": "image/tiff", "bmp": "image/bmp", "webp": "image/webp"}
