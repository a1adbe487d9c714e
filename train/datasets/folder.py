"""Class folders (torchvision's ImageFolder): `LABEL/image.jpg`, or `train/LABEL/image.jpg` with `test/` beside it."""

from pathlib import Path

from edge.frame import IMAGE_SUFFIXES
from train.sample import Dataset, Sample

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(path: Path) -> Dataset:
    """Every image below a class folder; sub-folders of it are read as its locations."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    splits = {folder: _SPLITS.get(folder.name.lower(), "") for folder in folders}
    samples: list[Sample] = []
    if folders and all(splits.values()):
        for folder in folders:
            for label in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
                samples += _label_samples(label, splits[folder])
    else:
        for label in folders:
            samples += _label_samples(label, "")
    return Dataset(path.name, tuple(samples))


def _label_samples(folder: Path, split: str) -> list[Sample]:
    samples = []
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file():
            location = file.parent.relative_to(folder).as_posix()
            samples.append(Sample(file, folder.name, "" if location == "." else location, split=split))
    return samples
