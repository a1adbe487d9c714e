"""Readers of labelled images: each gives the same typed `Dataset`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from train.data.image_cache import known_size_px
from train.data.readers.camtrap_dp import read_camtrap_dp
from train.data.readers.cifar10 import read_cifar10
from train.data.readers.coco_camera_traps import coco_files, read_coco_camera_traps
from train.data.readers.cub import read_cub
from train.data.readers.flowers102 import read_flowers102
from train.data.readers.folder import read_folder
from train.data.readers.inaturalist import is_inaturalist, read_inaturalist
from train.data.readers.manifest import read_manifest
from train.data.readers.stanford_cars import read_stanford_cars
from train.data.sample import DataError, Dataset

READERS: dict[str, Callable[[Path], Dataset]] = {
    "folder": read_folder,
    "manifest": read_manifest,
    "coco-camera-traps": read_coco_camera_traps,
    "camtrap-dp": read_camtrap_dp,
    "inaturalist": read_inaturalist,
    "cub": read_cub,
    "stanford-cars": read_stanford_cars,
    "flowers102": read_flowers102,
    "cifar10": read_cifar10,
}


def read_dataset(path: Path, format_: str = "auto") -> Dataset:
    """Read the labelled images at `path` with the named reader; `auto` recognises the layout.

    Raises `DataError` when the layout is none of the known ones or holds no labelled image.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; give the folder or file that holds the labelled images")
    chosen = recognise_layout(path) if format_ == "auto" else format_
    if chosen not in READERS:
        raise DataError(f"data format {chosen!r} is none of auto, {', '.join(READERS)}")
    dataset = READERS[chosen](path)
    if not dataset.samples:
        empty = f"{path} read as {chosen} holds no labelled image"
        if dataset.problems:
            raise DataError(
                f"{empty}: {len(dataset.problems)} cannot be used, e.g. {dataset.problems[0]}; correct them"
            )
        raise DataError(f"{empty}; expected a folder for each label with its images in it, or another --format")
    root = path if path.is_dir() else path.parent
    # The square around a bounding box depends on the size of the frame.
    sizes = (known_size_px(s.path) if s.box is not None and s.size_px is None else s.size_px for s in dataset.samples)
    pairs = zip(dataset.samples, sizes, strict=True)
    return replace(dataset, samples=tuple(replace(sample, size_px=size, root=root) for sample, size in pairs))


def recognise_layout(path: Path) -> str:
    """The reader's name by the files that only its layout has."""
    if path.is_file():
        if path.suffix == ".csv":
            return "manifest"
        if path.suffix == ".json":
            return "camtrap-dp" if path.name == "datapackage.json" else "coco-camera-traps"
        if path.name.endswith((".tar.gz", ".tgz", ".tar")):
            return "cifar10"
        raise DataError(f"{path} is a file of no known layout; expected .csv, .json or .tar.gz")
    signs = {
        "manifest.csv": "manifest",
        "datapackage.json": "camtrap-dp",
        "train_test_split.txt": "cub",
        "CUB_200_2011": "cub",
        "devkit": "stanford-cars",
        "stanford_cars": "stanford-cars",
        "imagelabels.mat": "flowers102",
        "flowers-102": "flowers102",
        "cifar-10-batches-py": "cifar10",
        "data_batch_1": "cifar10",
    }
    for sign, format_ in signs.items():
        if (path / sign).exists():
            return format_
    if is_inaturalist(path):
        return "inaturalist"
    if coco_files(path):
        return "coco-camera-traps"
    return "cifar10" if any(path.glob("cifar*.t*gz")) else "folder"
