"""Reads COCO Camera Traps JSON, the format of LILA (lila.science): images with location and sequence, boxes where
drawn.
"""

import json
import mmap
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from train.data.sample import Box, DataError, Dataset, Sample

_EMPTY = frozenset({"empty", "blank"})
_LISTS = ("images", "annotations", "categories")


def read_coco_camera_traps(path: Path) -> Dataset:
    """Read the JSON file, or the one in a folder; images lie beside it or in `images/`.

    An annotation with a box gives one sample; a frame with annotations but no box gives one sample when they agree on
    the category. `empty` becomes the label `blank`. Frames of two species without a box for each are listed as
    problems.
    """
    file = path if path.is_file() else _only_json(path)
    document = _document(file)
    try:
        categories = {item["id"]: _label(str(item["name"] or "")) for item in document["categories"]}
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: a category lacks its id or name; expected COCO Camera Traps JSON") from error
    if "" in categories.values():
        raise DataError(f"{file}: a category has an empty name; give it one")
    annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    problems: list[str] = []
    for number, annotation in enumerate(document["annotations"]):
        try:
            annotation["category_id"]
            annotations[annotation["image_id"]].append(annotation)
        except (KeyError, TypeError):
            problems.append(f"annotation {number}: lacks image_id or category_id")
    samples: list[Sample] = []
    for number, image in enumerate(document["images"]):
        if not isinstance(image, dict) or "id" not in image or not image.get("file_name"):
            problems.append(f"image {number}: lacks id or file_name")
            continue
        try:
            samples += _samples(image, annotations.get(image["id"], []), categories, file.parent)
        except ValueError as error:
            problems.append(f"{image['file_name']}: {error}")
    return Dataset(file.stem, tuple(samples), {}, tuple(problems))


def coco_files(folder: Path) -> list[Path]:
    """JSON files of the folder in which the names of COCO's lists stand; large ones are searched, not parsed."""
    return [file for file in sorted(folder.glob("*.json")) if file.is_file() and _names_the_lists(file)]


def _names_the_lists(file: Path) -> bool:
    if file.stat().st_size == 0:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(f'"{key}"'.encode()) >= 0 for key in _LISTS)


def _only_json(folder: Path) -> Path:
    files = coco_files(folder)
    if len(files) != 1:
        raise DataError(f"{folder} holds {len(files)} files of COCO JSON; name the one with the annotations")
    return files[0]


def _document(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is not whole JSON ({error}); expected COCO Camera Traps JSON") from error
    for key in _LISTS:
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise DataError(f"{file} has no list {key!r}; expected COCO Camera Traps JSON")
    return document


def _samples(
    image: dict[str, Any], found: list[dict[str, Any]], categories: dict[Any, str], folder: Path
) -> list[Sample]:
    """The samples of one image. Raises `ValueError` where its annotations leave them open."""
    if not found:
        raise ValueError("no annotation")
    for item in found:
        if item["category_id"] not in categories:
            raise ValueError(f"category {item['category_id']} is not in the table of categories")
    named = [(categories[item["category_id"]], item.get("bbox")) for item in found]
    labels = {label for label, _ in named}
    boxed = [(label, bbox) for label, bbox in named if bbox]
    unboxed = {label for label, bbox in named if not bbox}
    if len(labels) > 1 and not unboxed <= {label for label, _ in boxed}:
        raise ValueError(f"{' and '.join(sorted(labels))} in one frame without a box for each")
    return [_sample(image, label, folder, _box(bbox, image) if bbox else None) for label, bbox in boxed or named[:1]]


def _label(name: str) -> str:
    return "blank" if name.strip().lower() in _EMPTY else name.strip()


def _box(bbox: Any, image: dict[str, Any]) -> Box:
    size = _size_px(image)
    if size is None:
        raise ValueError(f"its box {bbox} needs width and height of the image")
    try:
        box = Box.of_pixels(map(float, bbox), size)
    except (TypeError, ValueError):
        raise ValueError(f"its box {bbox} is no list of x, y, width and height") from None
    if not (box.width > 0 and box.height > 0):
        raise ValueError(f"its box {bbox} is no part of the frame of {size[0]} x {size[1]} pixels")
    return box


def _size_px(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if not width or not height:
        return None
    try:
        size = int(width), int(height)
    except (TypeError, ValueError):
        size = 0, 0
    if min(size) <= 0:
        raise ValueError(f"its width {width!r} and height {height!r} are no sizes in pixels")
    return size


def _sample(image: dict[str, Any], label: str, folder: Path, box: Box | None) -> Sample:
    name = str(image["file_name"])
    below = folder / "images" / name
    return Sample(
        path=below if below.exists() else folder / name,
        label=label,
        location=_text(image.get("location")),
        sequence=_text(image.get("seq_id")),
        captured_at=_time(_text(image.get("datetime"))),
        box=box,
        size_px=_size_px(image),
    )


def _text(value: object) -> str:
    """The value as text; empty for `null`, which means that it is not known."""
    return "" if value is None else str(value)


def _time(text: str) -> datetime | None:
    """The time in one of the spellings of LILA's files; `None` for any other text, which LILA's notes tell to
    expect.
    """
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y:%m:%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
