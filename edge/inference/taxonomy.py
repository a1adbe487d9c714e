"""The tree of taxa that a model's labels belong to."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
ROOT_NAME = "Animalia"

TaxonKey = tuple[str, str]
"""(rank, scientific name); two ranks may share a name, so the name alone would not be unique."""


@dataclass(frozen=True, slots=True)
class Taxon:
    """A named taxon with its lineage; empty strings where a rank is not given."""

    scientific_name: str
    rank: str
    """One of `RANKS`."""
    common_name: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""
    species: str = ""

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
        members: dict[TaxonKey, list[int]] = {("kingdom", ROOT_NAME): []}
        parents: dict[TaxonKey, TaxonKey | None] = {("kingdom", ROOT_NAME): None}
        known: dict[TaxonKey, Taxon] = {("kingdom", ROOT_NAME): ROOT}
        for place, taxon in enumerate(taxa):
            if taxon is None:
                continue
            above: TaxonKey | None = None
            for key in taxon.lineage():
                members.setdefault(key, []).append(place)
                parents.setdefault(key, above)
                known.setdefault(key, _ancestor(taxon, key, common.get(key, "")))
                above = key
        # Parents come first, because a key enters `members` only after all keys above it.
        keys = list(members)
        places = {key: place for place, key in enumerate(keys)}
        self.nodes: tuple[Node, ...] = tuple(
            Node(known[key], None if (up := parents[key]) is None else places[up], tuple(members[key])) for key in keys
        )

    def label_node(self, place: int) -> int:
        """The most specific node that the label at `place` counts for."""
        return max(n for n, node in enumerate(self.nodes) if place in node.labels)

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
