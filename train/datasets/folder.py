"""Class folders (torchvision's ImageFolder): `LABEL/image.jpg`, or `train/LABEL/image.jpg` with `test/` beside it."""

from pathlib import Path

from edge.frame import IMAGE_SUFFIXES
from train.sample import DataError, Dataset, Sample

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(path: Path) -> Dataset:
    """Every image below a class folder; the folders in that are its locations, and what lies deeper is of the same one
    (cameras begin a new folder after each thousand frames). Hidden folders and those without an image are passed over.

    Raises `DataError` where `train/` or `test/` stand among class folders.
    """
    of_folder = {folder: images for folder in _folders(path) if (images := _images(folder))}
    parts = {folder: _SPLITS[folder.name.lower()] for folder in of_folder if folder.name.lower() in _SPLITS}
    samples: list[Sample] = []
    if not parts:
        for label, images in of_folder.items():
            samples += _label_samples(label, images, "")
        return Dataset(path.name, tuple(samples))
    others = [folder.name for folder in of_folder if folder not in parts]
    if others:
        raise DataError(
            f"{path} holds {next(iter(parts)).name}/ beside {others[0]}/; expected class folders alone, or train/ and "
            "test/ alone with class folders in them; move what is neither away"
        )
    for folder, split in parts.items():
        for label in _folders(folder):
            samples += _label_samples(label, _images(label), split)
    return Dataset(path.name, tuple(samples))


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _images(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES
        and not any(_hidden(part) for part in file.relative_to(folder).parts)
        and file.is_file()
    )


def _label_samples(folder: Path, images: list[Path], split: str) -> list[Sample]:
    places = [file.relative_to(folder).parts[:-1] for file in images]
    return [
        Sample(file, folder.name, place[0] if place else "", split=split)
        for file, place in zip(images, places, strict=True)
    ]
