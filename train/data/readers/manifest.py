"""Reads the project's own table, `manifest.csv`: one row for each labelled image, with the columns that are known."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.inference.taxonomy import Taxon
from train.data.sample import Box, DataError, Dataset, Keypoint, Sample, read_time


def read_manifest(path: Path) -> Dataset:
    """Read `manifest.csv` (or the folder that holds it).

    Needed columns: `path` (relative to the table), `label`. Known ones: `scientificName`, `site` or `location`, `event`
    or `sequence`, `captured_at` (ISO 8601), `split`, `width_px`, `height_px`, `box_x`, `box_y`, `box_width`,
    `box_height` (fractions), `keypoints` (`name:x:y` in fractions, separated by blanks). Raises `DataError`.
    """
    table = path / "manifest.csv" if path.is_dir() else path
    samples: list[Sample] = []
    problems: list[str] = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)  # a quote that nothing closes would swallow the rows after it
            _check_columns(table, rows.fieldnames or ())
            for row in rows:
                try:
                    samples.append(_sample(row, table.parent))
                except ValueError as error:
                    problems.append(f"{table.name} line {rows.line_num}: {error}")
    except OSError as error:
        raise DataError(f"{table} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is no table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{table} line {rows.line_num + 1}: {error}; expected CSV: look for a quote too many"
        ) from error
    if not samples and not problems:
        raise DataError(f"{table} has no row below its columns; add one for each image")
    return Dataset(table.parent.name, tuple(samples), _taxa(samples), tuple(problems))


def _check_columns(table: Path, columns: Sequence[str]) -> None:
    missing = {"path", "label"} - set(columns)
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if missing and missing <= set("".join(columns).split(separator)):
            raise DataError(f"{table} has {name} between its columns; expected commas: save it as CSV with commas")
    if missing:
        raise DataError(f"{table} lacks the column {' and '.join(sorted(missing))}; add it")


def _sample(row: dict[str | None, Any], folder: Path) -> Sample:
    """Raises `ValueError` with the column that cannot be read."""
    if any(row.get(None) or ()):
        raise ValueError("it has more cells than there are columns; put quotes around a cell that holds commas")
    cell = {key: (value or "").strip() for key, value in row.items() if key}
    if not cell["path"] or not cell["label"]:
        raise ValueError("path or label is empty")
    size = None
    if cell.get("width_px") and cell.get("height_px"):
        size = (_whole("width_px", cell["width_px"]), _whole("height_px", cell["height_px"]))
    return Sample(
        path=folder / cell["path"],
        label=cell["label"],
        location=cell.get("location") or cell.get("site") or "",
        sequence=cell.get("sequence") or cell.get("event") or "",
        captured_at=read_time(cell.get("captured_at", ""), "captured_at"),
        box=_box(cell),
        keypoints=tuple(_keypoint(text) for text in cell.get("keypoints", "").split()),
        split=cell.get("split", "").lower(),
        scientific_name=cell.get("scientificName", ""),
        size_px=size,
    )


def _whole(column: str, text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{column} {text!r} is no whole number of pixels")
    return int(text)


def _box(cell: dict[str, str]) -> Box | None:
    texts = [cell.get(f"box_{name}", "") for name in ("x", "y", "width", "height")]
    return Box.of_fractions(*texts) if any(texts) else None


def _keypoint(text: str) -> Keypoint:
    try:
        name, x, y = text.split(":")
        return Keypoint(name, float(x), float(y))
    except ValueError:
        raise ValueError(f"keypoints {text!r} is not name:x:y, in fractions of the sides") from None


def _taxa(samples: list[Sample]) -> dict[str, Taxon]:
    """A binomial gives species and genus; one word can be any rank, so it gives nothing."""
    taxa = {}
    for sample in samples:
        words = sample.scientific_name.split()
        if len(words) == 2:
            taxa[sample.label] = Taxon(sample.scientific_name, "species", sample.label, genus=words[0])
    return taxa
