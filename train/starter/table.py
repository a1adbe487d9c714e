"""The curated table: which ImageNet classes make up which taxon."""

import csv
from dataclasses import dataclass
from pathlib import Path

from edge.inference.card import Label, from_document
from edge.inference.taxonomy import Taxon
from edge.vocabulary import Kind
from train import TrainError

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Table:
    """Labels in the order of the model's outputs, with their ImageNet classes."""

    labels: tuple[Label, ...]
    """Animals and vehicles as the table has them, then `blank`."""
    members: tuple[tuple[int, ...], ...]
    """ImageNet classes of each label but the last."""
    higher_taxa: tuple[Taxon, ...]

    def groups(self, classes: int) -> tuple[tuple[int, ...], ...]:
        """Classes of each label; `blank` has all that no other label claims."""
        claimed = [place for group in self.members for place in group]
        if len(set(claimed)) != len(claimed) or not set(claimed) < set(range(classes)):
            raise TrainError(f"the starter's table claims a class twice, or one that is not among 0..{classes - 1}")
        return (*self.members, tuple(sorted(set(range(classes)) - set(claimed))))


def read_table(folder: Path = HERE) -> Table:
    """`taxa.csv` and `higher_taxa.csv` of `folder`."""
    labels, members = [], []
    for row in _rows(folder / "taxa.csv"):
        kind: Kind = Kind.VEHICLE if row["kind"] == Kind.VEHICLE else Kind.ANIMAL
        labels.append(
            Label(row["label"], kind, row["common_name"], from_document(Taxon, row) if kind == "animal" else None)
        )
        members.append(tuple(sorted(int(place) for place in row["imagenet"].split())))
    labels.append(Label("blank", Kind.BLANK, "blank"))
    higher = tuple(from_document(Taxon, row) for row in _rows(folder / "higher_taxa.csv"))
    return Table(tuple(labels), tuple(members), higher)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
