"""Reads class folders (torchvision's ImageFolder): `LABEL/image.jpg`, or `train/LABEL/image.jpg` with `test/` beside
it.
"""

from pathlib import Path

from edge.image.decode import IMAGE_SUFFIXES
from train import notice
from train.data.sample import DataError, Dataset, Sample

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(path: Path) -> Dataset:
    """Every image below a class folder; the folders in that are its locations, and what lies deeper is of the same one
    (cameras begin a new folder after each thousand frames). Hidden folders are ignored. Folders without an image and
    images outside of class folders are ignored with a warning on standard error.

    Raises `DataError` where `train/` or `test/` stand among class folders, or no class folder holds an image.
    """
    if not path.is_dir():
        raise DataError(f"{path} is a file; expected a folder of class folders")
    of_folder = {folder: images_below(folder) for folder in _folders(path)}
    full = [folder for folder, images in of_folder.items() if images]
    parts = {folder: _SPLITS[folder.name.lower()] for folder in full if folder.name.lower() in _SPLITS}
    others = [folder.name for folder in full if folder not in parts]
    if parts and others:
        raise DataError(
            f"{path} holds {next(iter(parts)).name}/ beside {others[0]}/; expected class folders alone, or train/ and "
            "test/ alone with class folders in them; move everything else away"
        )
    classes = [(label, images_below(label), split) for folder, split in parts.items() for label in _folders(folder)]
    if not parts:
        classes = [(label, images, "") for label, images in of_folder.items()]
    samples = [
        Sample(file, label.name, file.relative_to(label).parts[0] if file.parent != label else "", split=split)
        for label, images, split in classes
        for file in images
    ]
    loose = [file for folder in (path, *parts) for file in sorted(folder.iterdir()) if _is_image(file)]
    if loose and not samples:
        raise DataError(
            f"{loose[0].parent} holds {len(loose)} images and no class folder; expected a folder for each label with "
            "its images in it"
        )
    if loose:
        notice(f"warning: {len(loose)} images lie in no class folder and are ignored, e.g. {loose[0]}")
    empty = {folder.name for folder in of_folder if folder not in full} | {
        label.name for label, of, _ in classes if not of
    }
    if empty:
        notice(f"warning: folders without an image are ignored: {', '.join(sorted(empty))}")
    return Dataset(path.name, tuple(samples))


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def images_below(folder: Path) -> list[Path]:
    """The images in a folder at any depth, without hidden ones."""
    return sorted(
        file
        for file in folder.rglob("*")
        if _is_image(file) and not any(_hidden(part) for part in file.relative_to(folder).parts)
    )


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not _hidden(file.name) and file.is_file()
