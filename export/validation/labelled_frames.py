"""Labelled frames for calibration and for the proof of quantisation: their files, their truth and their groups."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.image.decode import BadFrame, DecodedFrame, decode
from edge.inference.card import Label, from_document
from edge.inference.taxonomy import Taxon, TaxonKey
from edge.vocabulary import Kind
from export import ExportError
from train.data.readers import read_dataset
from train.data.sample import one_per_frame

FIELD_TAXA = Path(__file__).parents[2] / "train" / "field_taxa.csv"
NO_LABEL = -1
"""`LabelledFrame.label` of a frame that shows something for which the model has no label."""


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """One frame and what it shows."""

    path: Path
    name: str
    """Short name for tables."""
    kind: Kind
    lineage: tuple[TaxonKey, ...]
    """From the kingdom to the most specific taxon that the annotator was sure of; empty when it is no animal."""
    label: int
    """Place of the truth among the model's labels, or `NO_LABEL`."""
    group: str
    """Frames of one trigger, event or place share a group, which is never split between fitting and testing."""
    split: str = ""
    species_sure: bool = True
    """Whether the annotator was sure of the species, so that a decision at species rank can be scored."""
    source: str = ""
    infrared: bool | None = None
    """`None` when the data does not say."""

    def decoded(self, min_side_px: int | None) -> DecodedFrame:
        """Decode the frame as the device does, or every pixel of it with `None`. Raises `ExportError`."""
        try:
            return decode(self.path.read_bytes(), min_side_px, self.path.name)
        except (BadFrame, OSError) as error:
            raise ExportError(f"{self.path} cannot be read ({error}); repair it or remove it from the data") from error


def read_labelled_frames(path: Path, labels: Sequence[Label]) -> list[LabelledFrame]:
    """Read a folder of whole frames with `labels.csv`, or any dataset that `train` reads.

    Raises `ExportError` (empty, unreadable, no label in common with the model) or `DataError`, in one line.
    """
    if not path.exists():
        raise ExportError(f"{path} does not exist; give a folder of labelled images")
    table = path / "labels.csv"
    frames = _field_frames(table, labels) if table.is_file() else _dataset_frames(path, labels)
    if not frames:
        raise ExportError(f"{path} holds no labelled image; calibration needs some that look like the device's own")
    if not any(frame.label != NO_LABEL or frame.lineage for frame in frames):
        raise ExportError(f"none of the {len(frames)} images of {path} has a label of the model; check the label names")
    missing = [frame.path for frame in frames if not frame.path.is_file()]
    if missing:
        raise ExportError(f"{missing[0]} does not exist ({len(missing)} images of the table are missing); check {path}")
    return frames


def describe_data(path: Path, frames: Sequence[LabelledFrame]) -> str:
    """Name and size of the data in a few words, for the card."""
    return f"{path.resolve().name}: {len(frames)} frames, {len({frame.group for frame in frames})} groups"


def split_by_group(
    frames: Sequence[LabelledFrame], share: float, seed: int
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Split into (frames for the activation ranges, frames held out for the gate).

    The data's own split is used where there is one; otherwise about `share` of the groups, drawn at random.
    """
    first = [frame for frame in frames if frame.split == "train"]
    held_out = [frame for frame in frames if frame.split in ("test", "val")]
    if first and held_out:
        return first, held_out
    groups = sorted({frame.group for frame in frames})
    drawn = set(np.random.default_rng(seed).permutation(groups)[: max(1, round(share * len(groups)))])
    first = [frame for frame in frames if frame.group in drawn]
    return first, [frame for frame in frames if frame.group not in drawn] or first


def balanced(frames: Sequence[LabelledFrame], count: int, seed: int) -> list[LabelledFrame]:
    """Draw at most `count` frames, taking turns among the pairs of truth and light (day, infra-red)."""
    bins: dict[tuple[str, bool | None], list[LabelledFrame]] = {}
    for place in np.random.default_rng(seed).permutation(len(frames)):
        frame = frames[place]
        truth = frame.lineage[-1][1] if frame.lineage else frame.kind
        bins.setdefault((truth, frame.infrared), []).append(frame)
    drawn: list[LabelledFrame] = []
    while len(drawn) < min(count, len(frames)):
        for key in sorted(bins, key=str):
            if bins[key] and len(drawn) < count:
                drawn.append(bins[key].pop())
    return sorted(drawn, key=lambda frame: frame.name)


def _field_frames(table: Path, labels: Sequence[Label]) -> list[LabelledFrame]:
    """Frames of a `labels.csv` (path, label, scientificName, rank, certainty, sequence, source, ir)."""
    taxa = {row["scientificName"]: row for row in _rows(FIELD_TAXA)}
    frames = []
    for row in _rows(table):
        kind = Kind.BLANK if row["label"] == Kind.BLANK else Kind.ANIMAL
        lineage: tuple[TaxonKey, ...] = ()
        if kind == Kind.ANIMAL:
            known = taxa.get(row["scientificName"], {"scientificName": row["scientificName"], "rank": row["rank"]})
            lineage = tuple(from_document(Taxon, known).lineage())
        frames.append(
            LabelledFrame(
                path=table.parent / row["path"],
                name=row["path"],
                kind=kind,
                lineage=lineage,
                label=_label_place(labels, kind, lineage),
                group=row.get("sequence") or row["path"],
                species_sure=row["rank"] == "species" and row["certainty"] == "sure",
                source=row.get("source", ""),
                infrared=row.get("ir") == "1",
            )
        )
    return frames


def _dataset_frames(path: Path, labels: Sequence[Label]) -> list[LabelledFrame]:
    dataset = read_dataset(path)
    by_name = {label.name: (place, label) for place, label in enumerate(labels)}
    by_taxon = {label.taxon.scientific_name: (place, label) for place, label in enumerate(labels) if label.taxon}
    frames = []
    for sample in one_per_frame(dataset.samples):  # calibration classifies whole frames, so a herd counts once
        place, label = by_name.get(sample.label) or by_taxon.get(sample.scientific_name) or (NO_LABEL, None)
        taxon = label.taxon if label else dataset.taxa.get(sample.label)
        unlabelled = Kind.ANIMAL if taxon or sample.label not in ("blank", "empty") else Kind.BLANK
        kind = label.kind if label else unlabelled
        frames.append(
            LabelledFrame(
                path=sample.path,
                name=sample.path.name,
                kind=kind,
                lineage=tuple(taxon.lineage()) if taxon and kind == Kind.ANIMAL else (),
                label=place,
                group=sample.sequence or sample.location or str(sample.path),
                split=sample.split,
                source=sample.location,
            )
        )
    return frames


def _label_place(labels: Sequence[Label], kind: Kind, lineage: tuple[TaxonKey, ...]) -> int:
    for place, label in enumerate(labels):
        if kind != Kind.ANIMAL and label.kind == kind:
            return place
        if label.taxon is not None and lineage and lineage[-1] == (label.taxon.rank, label.taxon.scientific_name):
            return place
    return NO_LABEL


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); expected a table of labels") from error
