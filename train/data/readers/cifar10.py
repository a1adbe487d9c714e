"""Reads CIFAR-10: class folders in a tar, a folder of class folders, or the original batches (also in their own
tar).
"""

import fcntl
import os
import pickle
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from train.data.image_cache import default_cache
from train.data.readers.folder import read_folder
from train.data.sample import DataError, Dataset

_BATCHES = "cifar-10-batches-py"


def read_cifar10(path: Path) -> Dataset:
    """Images come as files: a tar is unpacked and the original batches are written as PNG once, beside the data where
    that can be written, else in the user's cache.
    """
    return replace(read_folder(_class_folders(path)), name="CIFAR-10")


def _class_folders(path: Path) -> Path:
    """The folder with `train/` and `test/`, which is made where the images come as something else."""
    if path.is_dir():
        if path.name == _BATCHES:
            path = path.parent
        if (path / _BATCHES).is_dir():
            return _from_batches(path)
        if (path / "train").is_dir():
            return path
        tars = sorted([*path.glob("*.tar.gz"), *path.glob("*.tgz")])
        if len(tars) != 1:
            raise DataError(f"{path} holds neither train/ and test/, {_BATCHES}/ nor one tar; expected CIFAR-10")
        path = tars[0]
    target = _writable_folder(path)
    done = target / ".complete"
    if not done.exists():
        try:
            with _one_at_a_time(target), tarfile.open(path) as tar:
                if not done.exists():
                    # An attribute where there is a filter: Python before 3.11.4 knows neither it nor the argument.
                    tar.extraction_filter = getattr(tarfile, "data_filter", None)
                    tar.extractall(target)
                    done.touch()
        except (OSError, EOFError, tarfile.TarError) as error:
            raise DataError(f"{path} cannot be unpacked to {target} ({error}); expected the tar of CIFAR-10") from error
    return _from_batches(target) if (target / _BATCHES).is_dir() else target


def _writable_folder(source: Path) -> Path:
    name = source.name.partition(".")[0] + "-images"
    if os.access(source.parent, os.W_OK):
        return source.parent / name
    return default_cache().with_name(name)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Lock the folder, which is made: of several processes one fills it, and the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _from_batches(path: Path) -> Path:
    target = _writable_folder(path / _BATCHES)
    done = target / ".complete"
    if not done.exists():
        with _one_at_a_time(target):
            if not done.exists():
                _write_images(path, target)
                done.touch()
    return target


def _write_images(path: Path, target: Path) -> None:
    from torchvision.datasets import CIFAR10

    for split, train in (("train", True), ("test", False)):
        try:
            images = CIFAR10(str(path), train=train, download=False)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise DataError(
                f"{path / _BATCHES} does not hold the {split} batches as they were published; fetch them again"
            ) from error
        for number, (image, label) in enumerate(images):
            folder = target / split / images.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{number:05d}.png")
