"""Reads Oxford Flowers-102: `jpg/image_00001.jpg` with `imagelabels.mat` and `setid.mat` (also in torchvision's
folder).
"""

from pathlib import Path

import numpy as np

from train.data.sample import DataError, Dataset, Sample

# The layout carries no names; the numbers are the dataset's own identity of a class.
_SPLITS = {"trnid": "train", "valid": "val", "tstid": "test"}


def read_flowers102(path: Path) -> Dataset:
    """Labels are `001` to `102`, as the dataset numbers them."""
    from scipy.io import loadmat

    root = path / "flowers-102" if (path / "flowers-102").is_dir() else path
    try:
        labels = np.atleast_1d(loadmat(str(root / "imagelabels.mat"), squeeze_me=True)["labels"])
        sets = loadmat(str(root / "setid.mat"), squeeze_me=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{root} lacks imagelabels.mat or setid.mat; expected the Flowers-102 layout") from error
    samples = [
        Sample(root / "jpg" / f"image_{number:05d}.jpg", f"{int(labels[number - 1]):03d}", split=split)
        for key, split in _SPLITS.items()
        for number in (int(value) for value in np.atleast_1d(sets[key]))
    ]
    return Dataset("Flowers-102", tuple(samples))
