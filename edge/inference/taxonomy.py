"""The tree of taxa that a model's labels belong to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
ROOT_NAME = "Animalia"

TaxonKey = tuple[str, str]
"""(rank, scientific name); two ranks may share a name, so the name alone would not be unique."""


Name = Annotated[str, Meta(max_length=200)]


class Taxon(Struct, frozen=True, rename={"scientific_name": "scientificName", "class_": "class"}):
    """A named taxon with its lineage; empty strings where a rank is not given.

    In documents it carries the standards' names, of which Python does not allow `class`.
    """

    scientific_name: Name
    rank: str
    """One of `RANKS`."""
    common_name: Name = ""
    class_: Name = ""
    order: Name = ""
    family: Name = ""
    genus: Name = ""
    species: Name = ""

    def lineage(self) -> Iterator[TaxonKey]:
        """Keys from the kingdom down to the taxon itself."""
        yield ("kingdom", ROOT_NAME)
        for rank, name in zip(RANKS[2:], (self.class_, self.order, self.family, self.genus, self.species), strict=True):
            if name and (rank, name) != (self.rank, self.scientific_name):
                yield (rank, name)
        if self.rank != "kingdom":
            yield (self.rank, self.scientific_name)


ROOT = Taxon(ROOT_NAME, "kingdom", "animal")


@dataclass(frozen=True, slots=True)
class Node:
    """A taxon of the tree with the labels whose probabilities add up to its own."""

    taxon: Taxon
    parent: int | None
    """Place of the parent in `Tree.nodes`; `None` for the root, which is always at place 0."""
    labels: tuple[int, ...]
    """Places in the model's output of all labels at or below this taxon."""


class Tree:
    """The taxa of a model's animal labels and all taxa above them, parents before children.

    `taxa` holds one entry for each output of the model, `None` where the label is no animal. `names` gives the common
    names of higher taxa.
    """

    def __init__(self, taxa: Sequence[Taxon | None], names: Iterable[Taxon] = ()) -> None:
        common = {(taxon.rank, taxon.scientific_name): taxon.common_name for taxon in names}
        # Parents come first, because a key gets its place only after all keys above it.
        places: dict[TaxonKey, int] = {("kingdom", ROOT_NAME): 0}
        known = [ROOT]
        parents: list[int | None] = [None]
        members: list[list[int]] = [[]]
        self._own: dict[int, int] = {}
        for label, taxon in enumerate(taxa):
            if taxon is None:
                continue
            above: int | None = None
            for key in taxon.lineage():
                if (place := places.setdefault(key, len(known))) == len(known):
                    known.append(_ancestor(taxon, key, common.get(key, "")))
                    parents.append(above)
                    members.append([])
                members[place].append(label)
                self._own[label] = max(place, self._own.get(label, 0))
                above = place
        self.nodes: tuple[Node, ...] = tuple(map(Node, known, parents, map(tuple, members)))

    def label_node(self, place: int) -> int:
        """The most specific node that the label at `place`, an animal's, counts for."""
        return self._own[place]

    def lineage(self, node: int) -> Iterator[int]:
        """Places of the nodes from `node` up to the root."""
        step: int | None = node
        while step is not None:
            yield step
            step = self.nodes[step].parent


def _ancestor(taxon: Taxon, key: TaxonKey, common_name: str) -> Taxon:
    """The taxon with this key in the lineage of `taxon`."""
    rank, name = key
    depth = RANKS.index(rank)
    kept = {
        field: getattr(taxon, field)
        for field, at in (("class_", 2), ("order", 3), ("family", 4), ("genus", 5), ("species", 6))
        if at <= depth
    }
    own_name = taxon.common_name if key == (taxon.rank, taxon.scientific_name) else name
    return Taxon(name, rank, common_name or own_name, **kept)
