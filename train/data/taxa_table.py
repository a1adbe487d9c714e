"""Reads the taxa of labels from the table that a recipe names."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge.inference.card import Label
from edge.inference.taxonomy import RANKS, Taxon
from edge.vocabulary import Kind
from train import TrainError

_OTHER_KINDS: dict[str, Kind] = {
    "blank": Kind.BLANK,
    "empty": Kind.BLANK,
    "human": Kind.HUMAN,
    "person": Kind.HUMAN,
    "vehicle": Kind.VEHICLE,
}


def is_reserved_label(label: str) -> bool:
    """Whether the label is reserved for blanks, humans or vehicles, which need no row in a table of taxa."""
    return label.lower() in _OTHER_KINDS


def read_taxa(path: Path) -> tuple[dict[str, Taxon], tuple[Taxon, ...]]:
    """(taxon of each label, common names of higher taxa).

    Columns: label, scientificName, rank, common_name, class, order, family, genus. Rows without a label name higher
    taxa. A row of a blank, a human or a vehicle needs no more than its label, and gives no taxon.
    """
    labels: dict[str, Taxon] = {}
    higher: list[Taxon] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                if is_reserved_label((row.get("label") or "").strip()):
                    continue
                cell = {key: (value or "").strip() for key, value in row.items() if key}
                taxon = taxon_of_row(cell, f"{path.name} line {number}:")
                if row.get("label"):
                    labels[row["label"]] = taxon
                else:
                    higher.append(taxon)
    except (OSError, UnicodeDecodeError) as error:
        raise TrainError(f"{path} cannot be read ({error}); expected a table of taxa in UTF-8") from error
    return labels, tuple(higher)


def card_labels(labels: Sequence[str], taxa: Mapping[str, Taxon]) -> tuple[Label, ...]:
    """The labels for the model card.

    A label without a taxon is a species of its own name, unless that name says blank, human or vehicle.
    """
    named = []
    for label in labels:
        kind: Kind = _OTHER_KINDS.get(label.lower(), Kind.ANIMAL)
        taxon = taxa.get(label)
        if taxon is None:
            taxon = Taxon(label, "species", label)
        named.append(Label(label, kind, taxon.common_name or label, taxon if kind == "animal" else None))
    return tuple(named)


def taxon_of_row(cell: Mapping[str, str], where: str) -> Taxon:
    """The taxon of a row; without a rank it is a species. Raises `TrainError`, which begins with `where`."""
    rank, name = cell.get("rank") or "species", cell.get("scientificName", "")
    if rank not in RANKS or not name:
        raise TrainError(f"{where} needs scientificName and a rank of {', '.join(RANKS)}")
    common_name, class_, order, family = (cell.get(key, "") for key in ("common_name", "class", "order", "family"))
    species, genus = (name, name.split()[0]) if rank == "species" else ("", "")
    return Taxon(name, rank, common_name, class_, order, family, cell.get("genus") or genus, species)
