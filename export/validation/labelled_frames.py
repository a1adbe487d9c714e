"""Labelled frames for calibration and proof: where they are, what is on them, and what belongs together."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.image.decode import BadFrame, DecodedFrame, decode
from edge.inference.card import Label
from edge.inference.taxonomy import RANKS, Taxon, TaxonKey
from edge.vocabulary import Kind
from export import ExportError
from train.data.readers import read_dataset
from train.data.sample import one_per_frame

FIELD_TAXA = Path(__file__).parents[2] / "train" / "field_taxa.csv"
UNSEEN = -1
"""Place of a truth that the model has no label for."""
_GREY = 12.0  # mean distance of the colour channels below which a frame counts as infra-red or greyscale


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """One labelled frame."""

    path: Path
    name: str
    """Short, for tables."""
    kind: Kind
    lineage: tuple[TaxonKey, ...]
    """From the kingdom to the most specific taxon that the annotator was sure of; empty when it is no animal."""
    label: int
    """Place of the truth among the model's labels, or `UNSEEN`."""
    group: str
    """Frames of one trigger, event or place: never split between fitting and testing."""
    split: str = ""
    species_sure: bool = True
    """The species is beyond doubt, so an answer at species rank can be judged."""
    source: str = ""
    infrared: bool | None = None
    """`None`: not noted."""

    def picture(self, min_side_px: int | None) -> DecodedFrame:
        """Decode as the device does, or with `None` every pixel. Raises `ExportError` for a frame that is not whole."""
        try:
            return decode(self.path.read_bytes(), min_side_px, self.path.name)
        except (BadFrame, OSError) as error:
            raise ExportError(f"{self.path} cannot be read ({error}); mend or remove it from the data") from error


def read_labelled_frames(path: Path, labels: Sequence[Label]) -> list[LabelledFrame]:
    """A folder of whole frames with `labels.csv`, or anything that `train` reads.

    Raises `ExportError` (empty, unreadable, no label in common with the model) or `DataError`, in one line.
    """
    if not path.exists():
        raise ExportError(f"{path} does not exist; give a folder of labelled images")
    table = path / "labels.csv"
    scenes = _field_scenes(table, labels) if table.is_file() else _dataset_scenes(path, labels)
    if not scenes:
        raise ExportError(f"{path} holds no labelled image; calibration needs some that look like the device's own")
    if all(scene.label == UNSEEN for scene in scenes) and not any(scene.lineage for scene in scenes):
        raise ExportError(f"none of the {len(scenes)} images of {path} has a label of the model; check the label names")
    missing = [scene.path for scene in scenes if not scene.path.is_file()]
    if missing:
        raise ExportError(f"{missing[0]} does not exist ({len(missing)} images of the table are missing); check {path}")
    return scenes


def split_scenes(
    scenes: Sequence[LabelledFrame], share: float, seed: int
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """(for the ranges, held out): the data's own split where it has one, else whole groups at random, stratified by
    nothing but chance, so that held-out frames are new triggers.
    """
    own = [scene for scene in scenes if scene.split == "train"]
    held = [scene for scene in scenes if scene.split in ("test", "val")]
    if own and held:
        return own, held
    groups = sorted({scene.group for scene in scenes})
    chosen = set(np.random.default_rng(seed).permutation(groups)[: max(1, round(share * len(groups)))])
    first = [scene for scene in scenes if scene.group in chosen]
    rest = [scene for scene in scenes if scene.group not in chosen]
    return first, rest or first


def balanced(scenes: Sequence[LabelledFrame], count: int, seed: int) -> list[LabelledFrame]:
    """At most `count` scenes, drawn in turn from each pair of truth and day/infra-red."""
    random = np.random.default_rng(seed)
    bins: dict[tuple[str, bool | None], list[LabelledFrame]] = {}
    for place in random.permutation(len(scenes)):
        scene = scenes[place]
        truth = scene.lineage[-1][1] if scene.lineage else scene.kind
        bins.setdefault((truth, scene.infrared), []).append(scene)
    drawn: list[LabelledFrame] = []
    while len(drawn) < min(count, len(scenes)):
        for key in sorted(bins, key=str):
            if bins[key] and len(drawn) < count:
                drawn.append(bins[key].pop())
    return sorted(drawn, key=lambda scene: scene.name)


def is_infrared(picture: DecodedFrame) -> bool:
    """Whether a frame has no colour to speak of."""
    small = cv2.resize(picture.pixels, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(np.abs(small - small.mean(axis=2, keepdims=True)).mean()) * 3 < _GREY


def _field_scenes(table: Path, labels: Sequence[Label]) -> list[LabelledFrame]:
    taxa = {row["scientificName"]: row for row in _rows(FIELD_TAXA)}
    scenes = []
    for row in _rows(table):
        kind: Kind = Kind.BLANK if row["label"] == Kind.BLANK else Kind.ANIMAL
        lineage: tuple[TaxonKey, ...] = ()
        if kind == "animal":
            known = taxa.get(row["scientificName"], {"scientificName": row["scientificName"], "rank": row["rank"]})
            lineage = tuple(_taxon(known).lineage())
        scenes.append(
            LabelledFrame(
                table.parent / row["path"], row["path"], kind, lineage, _place(labels, kind, lineage),
                row.get("sequence") or row["path"],
                species_sure=row["rank"] == "species" and row["certainty"] == "sure",
                source=row.get("source", ""),
                infrared=row.get("ir") == "1",
            )
        )  # fmt: skip
    return scenes


def _dataset_scenes(path: Path, labels: Sequence[Label]) -> list[LabelledFrame]:
    dataset = read_dataset(path)
    by_name = {label.name: (place, label) for place, label in enumerate(labels)}
    by_taxon = {label.taxon.scientific_name: (place, label) for place, label in enumerate(labels) if label.taxon}
    scenes = []
    for sample in one_per_frame(dataset.samples):  # a herd is one picture here, for frames are seen whole
        place, label = by_name.get(sample.label) or by_taxon.get(sample.scientific_name) or (UNSEEN, None)
        taxon = label.taxon if label else dataset.taxa.get(sample.label)
        kind: Kind = (
            label.kind if label else (Kind.ANIMAL if taxon or sample.label not in (Kind.BLANK, "empty") else Kind.BLANK)
        )
        lineage = tuple(taxon.lineage()) if taxon and kind == "animal" else ()
        group = sample.sequence or sample.location or str(sample.path)
        scenes.append(
            LabelledFrame(
                sample.path, sample.path.name, kind, lineage, place, group, sample.split, source=sample.location
            )
        )
    return scenes


def _place(labels: Sequence[Label], kind: Kind, lineage: tuple[TaxonKey, ...]) -> int:
    for place, label in enumerate(labels):
        if kind != "animal" and label.kind == kind:
            return place
        if label.taxon is not None and lineage and lineage[-1] == (label.taxon.rank, label.taxon.scientific_name):
            return place
    return UNSEEN


def _taxon(row: dict[str, str]) -> Taxon:
    return Taxon(
        row["scientificName"], row["rank"], "", row.get("class", ""), row.get("order", ""), row.get("family", ""),
        row.get("genus", ""), row.get("species", ""),
    )  # fmt: skip


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); expected a table of labels") from error


__all__ = ["RANKS", "UNSEEN", "LabelledFrame", "balanced", "is_infrared", "read_labelled_frames", "split_scenes"]
