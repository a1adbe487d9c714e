"""Reads Stanford Cars: the original devkit (annotations in MATLAB files) with boxes and the official split."""

from pathlib import Path
from typing import Any

import numpy as np

from train.data.image_cache import known_size_px
from train.data.sample import Box, DataError, Dataset, Sample


def read_stanford_cars(path: Path) -> Dataset:
    """Read the folder that holds `devkit/`, `cars_train/` and `cars_test/` (or `stanford_cars/` with them)."""
    root = path / "stanford_cars" if (path / "stanford_cars").is_dir() else path
    names = [str(name) for name in _matlab(root / "devkit" / "cars_meta.mat")["class_names"]]
    samples: list[Sample] = []
    problems: list[str] = []
    for split, table in (("train", root / "devkit" / "cars_train_annos.mat"), ("test", _test_table(root))):
        if not table.exists():
            problems.append(f"{table.name} is missing: no {split} images")
            continue
        for row in np.atleast_1d(_matlab(table)["annotations"]):
            samples.append(
                _sample(root / f"cars_{split}" / str(row["fname"]), names[int(row["class"]) - 1], row, split)
            )
    return Dataset("Stanford Cars", tuple(samples), {}, tuple(problems))


def _test_table(root: Path) -> Path:
    """The labelled test table lies beside the devkit, as the authors published it later."""
    beside = root / "cars_test_annos_withlabels.mat"
    return beside if beside.exists() else root / "devkit" / "cars_test_annos_withlabels.mat"


def _matlab(file: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        document: dict[str, Any] = loadmat(str(file), squeeze_me=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read; expected the Stanford Cars devkit") from error
    return document


def _sample(file: Path, label: str, row: Any, split: str) -> Sample:
    size, box = known_size_px(file), None
    if size is not None:
        x1, y1, x2, y2 = (float(row[f"bbox_{side}"]) for side in ("x1", "y1", "x2", "y2"))
        box = Box.of_pixels((x1, y1, x2 - x1, y2 - y1), size)
    return Sample(path=file, label=label, box=box, split=split, size_px=size)
