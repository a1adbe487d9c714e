"""COCO Camera Traps JSON, the format of LILA (lila.science): images with location and sequence, boxes where drawn."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from train.sample import Box, DataError, Dataset, Sample

_EMPTY = frozenset({"empty", "blank"})


def read_coco_camera_traps(path: Path) -> Dataset:
    """Read the JSON file, or the one in a folder; images lie beside it or in `images/`.

    An annotation with a box gives one sample; a frame with annotations but no box gives one sample when they agree on
    the category. `empty` becomes the label `blank`. Frames of two species without boxes are listed as problems.
    """
    file = path if path.is_file() else _only_json(path)
    document = json.loads(file.read_text(encoding="utf-8"))
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise DataError(f"{file} has no list {key!r}; expected COCO Camera Traps JSON")
    categories = {item["id"]: _label(str(item["name"])) for item in document["categories"]}
    annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in document["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    samples: list[Sample] = []
    problems: list[str] = []
    for image in document["images"]:
        found = annotations.get(image["id"], [])
        unknown = [item["category_id"] for item in found if item["category_id"] not in categories]
        if unknown:
            problems.append(f"{image['file_name']}: category {unknown[0]} is not in the table of categories")
            continue
        boxed = [item for item in found if item.get("bbox")]
        labels = Counter(categories[item["category_id"]] for item in found)
        if not found:
            problems.append(f"{image['file_name']}: no annotation")
        elif boxed:
            for item in boxed:
                box = _box(item["bbox"], image)
                if box is None:
                    problems.append(f"{image['file_name']}: its box {item['bbox']} needs width and height of the image")
                else:
                    samples.append(_sample(image, categories[item["category_id"]], file.parent, box))
        elif len(labels) > 1:
            problems.append(f"{image['file_name']}: {' and '.join(sorted(labels))} in one frame without boxes")
        else:
            samples.append(_sample(image, next(iter(labels)), file.parent, None))
    return Dataset(file.stem, tuple(samples), {}, tuple(problems))


def _only_json(folder: Path) -> Path:
    files = sorted(folder.glob("*.json"))
    if len(files) != 1:
        raise DataError(f"{folder} holds {len(files)} JSON files; name the one with the annotations")
    return files[0]


def _label(name: str) -> str:
    return "blank" if name.strip().lower() in _EMPTY else name.strip()


def _box(bbox: list[float], image: dict[str, Any]) -> Box | None:
    width, height = image.get("width"), image.get("height")
    if not width or not height:
        return None
    x, y, wide, high = bbox
    box = Box(x / width, y / height, wide / width, high / height).clipped()
    return box if box.width > 0 and box.height > 0 else None


def _sample(image: dict[str, Any], label: str, folder: Path, box: Box | None) -> Sample:
    name = image["file_name"]
    below = folder / "images" / name
    width, height = image.get("width"), image.get("height")
    return Sample(
        path=below if below.exists() else folder / name,
        label=label,
        location=str(image.get("location", "")),
        sequence=str(image.get("seq_id", "")),
        captured_at=_time(str(image.get("datetime") or "")),
        box=box,
        size_px=(int(width), int(height)) if width and height else None,
    )


def _time(text: str) -> datetime | None:
    """Both spellings that LILA's files use; a time that is neither is not known, which LILA's own notes expect."""
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y:%m:%d %H:%M:%S"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
