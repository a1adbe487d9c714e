"""Samples' pixels, seen as the device sees them, decoded once and kept small."""

import hashlib
import os
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.image.decode import decode
from edge.image.resize import Pixels, resize_to_input
from train.data.sample import Box, Sample

_UNWRITABLE: set[Path] = set()
"""Caches that this process has failed to write to, once: work goes on without them."""


def default_cache() -> Path:
    """Where decoded images are kept unless told otherwise: `$XDG_CACHE_HOME/edge-classify/pixels`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edge-classify" / "pixels"


def upright_size_px(path: Path) -> tuple[int, int]:
    """(width, height) of the picture as it is decoded, turned as its EXIF says; by its header. Raises `OSError`."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        # Of a TIFF Pillow gives the upright size by itself.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def _orientation(image: Any) -> object:
    try:
        return image.getexif().get(0x0112)
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        return None  # damaged EXIF counts as absent, as it does in decoding


@dataclass(frozen=True, slots=True)
class PixelSource:
    """Decodes samples through `edge.image.decode`, at a smaller scale where that is enough."""

    min_side_px: int
    """The shorter side of what is wanted (the frame, or the box where there is one) keeps at least this many pixels."""
    crop_margin: float | None = None
    """Crop to the box and this fraction of its longer side around it; `None`: the whole frame, boxed or not."""
    cache: Path | None = None

    def read(self, sample: Sample) -> Pixels:
        """uint8[H, W, 3]. Raises `BadFrame` or `OSError` for what the check of the dataset would have listed."""
        if self.cache is None:
            return self._decode(sample)
        file = self.cache / f"{self._key(sample)}.npy"
        try:
            pixels: Pixels = np.load(file)
            return pixels
        except (OSError, EOFError, ValueError):
            pass
        pixels = self._decode(sample)
        if self.cache not in _UNWRITABLE:
            try:
                _keep(pixels, file)
            except OSError as error:
                _UNWRITABLE.add(self.cache)
                why = error.strerror or error
                print(f"warning: the cache {self.cache} cannot be written ({why}); decoding anew", file=sys.stderr)
        return pixels

    def box_in_view(self, sample: Sample) -> Box | None:
        """The sample's box as fractions of what `read` gives."""
        if sample.box is None or self.crop_margin is None:
            return sample.box
        view = self._view(sample)
        box = sample.box
        return Box(
            (box.x - view.x) / view.width,
            (box.y - view.y) / view.height,
            box.width / view.width,
            box.height / view.height,
        ).clipped()

    def keypoints_in_view(self, sample: Sample) -> dict[str, tuple[float, float]]:
        """The sample's keypoints as fractions of what `read` gives; those outside are left out."""
        view = self._view(sample)
        moved = {p.name: ((p.x - view.x) / view.width, (p.y - view.y) / view.height) for p in sample.keypoints}
        return {name: at for name, at in moved.items() if 0 <= at[0] <= 1 and 0 <= at[1] <= 1}

    def _view(self, sample: Sample) -> Box:
        """The part of the frame that is read, as fractions of its sides."""
        if sample.box is None or self.crop_margin is None:
            return Box(0.0, 0.0, 1.0, 1.0)
        width, height = sample.size_px or upright_size_px(sample.path)
        box = sample.box
        margin = self.crop_margin * max(box.width * width, box.height * height)
        return Box(
            box.x - margin / width,
            box.y - margin / height,
            box.width + 2 * margin / width,
            box.height + 2 * margin / height,
        ).clipped()

    def _decode(self, sample: Sample) -> Pixels:
        view = self._view(sample)
        least = round(self.min_side_px / max(1e-3, min(view.width, view.height)))
        pixels = decode(sample.path.read_bytes(), least, sample.path.name).pixels
        if view == Box(0.0, 0.0, 1.0, 1.0):
            return pixels
        height, width = pixels.shape[:2]
        left, top = round(view.x * width), round(view.y * height)
        right, bottom = round((view.x + view.width) * width), round((view.y + view.height) * height)
        return np.ascontiguousarray(pixels[top : max(top + 1, bottom), left : max(left + 1, right)])

    def _key(self, sample: Sample) -> str:
        status = sample.path.stat()
        view = self._view(sample)
        facts = f"{sample.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.min_side_px} {view}"
        return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


def _keep(pixels: Pixels, file: Path) -> None:
    """Whole or not at all: several processes share the folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            np.save(out, pixels)
        Path(temporary).replace(file)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def for_evaluation(source: PixelSource, sample: Sample, size_px: int, mode: str) -> Pixels:
    """uint8[size_px, size_px, 3]: exactly what the device would feed its model for this sample."""
    return resize_to_input(source.read(sample), size_px, size_px, mode)
