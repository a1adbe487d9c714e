"""Our own table, `manifest.csv`: one row for each labelled image, columns by name, those not known left out."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from edge.taxonomy import Taxon
from train.sample import Box, DataError, Dataset, Keypoint, Sample


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
            rows = csv.DictReader(file)
            missing = {"path", "label"} - set(rows.fieldnames or ())
            if missing:
                raise DataError(f"{table} lacks the column {' and '.join(sorted(missing))}; add it")
            for number, row in enumerate(rows, start=2):
                try:
                    samples.append(_sample(row, table.parent))
                except ValueError as error:
                    problems.append(f"{table.name} line {number}: {error}")
    except OSError as error:
        raise DataError(f"{table} cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    return Dataset(table.parent.name, tuple(samples), _taxa(samples), tuple(problems))


def _sample(row: dict[str, str], folder: Path) -> Sample:
    cell = {key: (value or "").strip() for key, value in row.items() if key}
    if not cell["path"] or not cell["label"]:
        raise ValueError("path or label is empty")
    size = (int(cell["width_px"]), int(cell["height_px"])) if cell.get("width_px") and cell.get("height_px") else None
    return Sample(
        path=folder / cell["path"],
        label=cell["label"],
        location=cell.get("location") or cell.get("site") or "",
        sequence=cell.get("sequence") or cell.get("event") or "",
        captured_at=_time(cell.get("captured_at", "")),
        box=_box(cell),
        keypoints=tuple(_keypoint(text) for text in cell.get("keypoints", "").split()),
        split=cell.get("split", ""),
        scientific_name=cell.get("scientificName", ""),
        size_px=size,
    )


def _time(text: str) -> datetime | None:
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _box(cell: dict[str, str]) -> Box | None:
    texts = [cell.get(f"box_{name}", "") for name in ("x", "y", "width", "height")]
    return Box.of_fractions(*texts) if any(texts) else None


def _keypoint(text: str) -> Keypoint:
    name, x, y = text.split(":")
    return Keypoint(name, float(x), float(y))


def _taxa(samples: list[Sample]) -> dict[str, Taxon]:
    """A binomial gives species and genus; one word can be any rank, so it gives nothing."""
    taxa = {}
    for sample in samples:
        words = sample.scientific_name.split()
        if len(words) == 2:
            taxa[sample.label] = Taxon(sample.scientific_name, "species", sample.label, genus=words[0])
    return taxa
