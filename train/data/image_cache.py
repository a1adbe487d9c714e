"""Decodes the pixels of samples as the device does, and caches them on disk."""

import hashlib
import os
import struct
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edge.image.box
from edge.image.box import square_around
from edge.image.decode import decode
from edge.image.resize import Pixels
from edge.inference.attention_crop import cut_crop
from edge.inference.box_classification import DETAIL
from train import notice
from train.data.sample import Box, Sample

_UNWRITABLE: set[Path] = set()
"""Caches that this process could not write to: work goes on without them."""


def default_cache() -> Path:
    """The default folder of decoded images: `$XDG_CACHE_HOME/edge-classify/pixels`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edge-classify" / "pixels"


def upright_size_px(path: Path) -> tuple[int, int]:
    """(width, height) from the file's header, of the image turned upright by its EXIF. Raises `OSError`."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        # Pillow gives the upright size of a TIFF by itself.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def known_size_px(path: Path) -> tuple[int, int] | None:
    """As `upright_size_px`; `None` for a missing or broken file, which the check of the whole dataset lists."""
    try:
        return upright_size_px(path)
    except OSError:
        return None


def _orientation(image: Any) -> object:
    try:
        return image.getexif().get(0x0112)
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        return None  # damaged EXIF counts as absent, as it does in decoding


@dataclass(frozen=True, slots=True)
class PixelSource:
    """Decodes samples as the device does, at a smaller scale where that is enough."""

    min_side_px: int
    """Side of the network's input; the shorter side of a whole frame keeps at least this many pixels."""
    crop_margin: float | None = None
    """Samples with a bounding box are cut to the square around it, with this fraction of its longer side added on each
    side, as the device cuts a detector's boxes. `None`: the whole frame, with or without a box."""
    cache: Path | None = None

    def read(self, sample: Sample) -> Pixels:
        """uint8[H, W, 3]. Raises `BadFrame` or `OSError` for a file that the check of the dataset would have listed."""
        if self.cache is None:
            return self._decode(sample)
        file = self.cache / f"{self._key(sample)}.npy"
        with suppress(OSError, EOFError, ValueError):
            return np.asarray(np.load(file))
        pixels = self._decode(sample)
        if self.cache not in _UNWRITABLE:
            try:
                _keep(pixels, file)
            except OSError as error:
                _UNWRITABLE.add(self.cache)
                why = error.strerror or error
                notice(f"warning: the cache {self.cache} cannot be written ({why}); decoding anew")
        return pixels

    def box_in_image(self, sample: Sample) -> Box | None:
        """The sample's bounding box as fractions of what `read` gives."""
        crop, box = self._crop(sample), sample.box
        if box is None or crop is None:
            return box
        x, y = (box.x - crop.x) / crop.width, (box.y - crop.y) / crop.height
        return Box(x, y, box.width / crop.width, box.height / crop.height).clipped()

    def keypoints_in_image(self, sample: Sample) -> dict[str, tuple[float, float]]:
        """The sample's keypoints as fractions of what `read` gives; those outside are left out."""
        crop = self._crop(sample) or Box(0.0, 0.0, 1.0, 1.0)
        moved = {p.name: ((p.x - crop.x) / crop.width, (p.y - crop.y) / crop.height) for p in sample.keypoints}
        return {name: at for name, at in moved.items() if 0 <= at[0] <= 1 and 0 <= at[1] <= 1}

    def is_crop(self, sample: Sample) -> bool:
        """Whether the sample is cut to its bounding box."""
        return sample.box is not None and self.crop_margin is not None

    def _crop(self, sample: Sample) -> edge.image.box.Box | None:
        """The part of the frame that is read, as fractions of its sides; `None` for the whole of it."""
        if sample.box is None or self.crop_margin is None:
            return None
        width_px, height_px = sample.size_px or upright_size_px(sample.path)
        return square_around(sample.box, height_px, width_px, self.crop_margin)

    def _decode(self, sample: Sample) -> Pixels:
        data = sample.path.read_bytes()
        if sample.box is None or self.crop_margin is None:
            return decode(data, self.min_side_px, sample.path.name).pixels
        frame = decode(data, DETAIL * self.min_side_px, sample.path.name).pixels
        region = square_around(sample.box, frame.shape[0], frame.shape[1], self.crop_margin)
        return np.ascontiguousarray(cut_crop(frame, region, self.min_side_px))

    def _key(self, sample: Sample) -> str:
        status = sample.path.stat()
        # The text of a whole frame is the one of earlier versions, whose caches stay valid.
        part = f"square {self._crop(sample)}" if self.is_crop(sample) else "Box(x=0.0, y=0.0, width=1.0, height=1.0)"
        facts = f"{sample.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.min_side_px} {part}"
        return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


def _keep(pixels: Pixels, file: Path) -> None:
    """Write the file whole or not at all: several processes share the folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            np.save(out, pixels)
        Path(temporary).replace(file)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
