"""Reads CUB-200-2011 (Caltech-UCSD Birds) in its original layout, with boxes, parts and the official split."""

from pathlib import Path

from train.data.image_cache import known_size_px
from train.data.sample import Box, DataError, Dataset, Keypoint, Sample


def read_cub(path: Path) -> Dataset:
    """Read the folder that holds `images.txt` (or the one above it).

    Boxes and part locations are given in pixels; the images' sizes, which the layout does not list, are read from the
    image headers. Parts that are not visible are left out.
    """
    root = path / "CUB_200_2011" if (path / "CUB_200_2011").is_dir() else path
    images = _table(root / "images.txt")
    classes = _table(root / "classes.txt")
    labels = _table(root / "image_class_labels.txt")
    official = _table(root / "train_test_split.txt")
    boxes = _table(root / "bounding_boxes.txt") if (root / "bounding_boxes.txt").exists() else {}
    parts = _parts(root / "parts")
    samples: list[Sample] = []
    problems: list[str] = []
    for identity, (name,) in images.items():
        file = root / "images" / name
        if identity not in labels or labels[identity][0] not in classes:
            problems.append(f"{name}: its class is not in the tables")
            continue
        size, seen = known_size_px(file) if boxes or parts else None, parts.get(identity, [])
        samples.append(
            Sample(
                path=file,
                label=classes[labels[identity][0]][0].partition(".")[2] or classes[labels[identity][0]][0],
                box=Box.of_pixels(map(float, boxes[identity]), size) if size and identity in boxes else None,
                keypoints=tuple(Keypoint(name, x / size[0], y / size[1]) for name, x, y in seen) if size else (),
                split={"1": "train", "0": "test"}.get(official.get(identity, [""])[0], ""),
                size_px=size,
            )
        )
    return Dataset("CUB-200-2011", tuple(samples), {}, tuple(problems))


def _table(file: Path) -> dict[str, list[str]]:
    """Lines `key value value ...` by key."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); expected the CUB-200-2011 layout") from error
    return {words[0]: words[1:] for line in lines if (words := line.split())}


def _parts(folder: Path) -> dict[str, list[tuple[str, float, float]]]:
    if not (folder / "part_locs.txt").exists():
        return {}
    names = {part: "_".join(words) for part, words in _table(folder / "parts.txt").items()}
    found: dict[str, list[tuple[str, float, float]]] = {}
    for line in (folder / "part_locs.txt").read_text(encoding="utf-8").splitlines():
        image, part, x, y, visible = line.split()
        if visible == "1":
            found.setdefault(image, []).append((names[part], float(x), float(y)))
    return found
