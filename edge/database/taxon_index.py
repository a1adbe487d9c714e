"""Names and lineages of taxa, from the cards of the models in a database."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from edge.inference.card import Card, CardError
from edge.inference.taxonomy import RANKS, Taxon, Tree

# As bytes: what is no UTF-8 in one of them must not hide the others.
_MODELS = """
SELECT id, CAST(sha256 AS BLOB), CAST(name AS BLOB), CAST(version AS BLOB), CAST(card AS BLOB) FROM model
"""
TaxonKey = tuple[str, str]
"""(rank, scientific name)."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the database stores it."""

    sha256: str
    name: str
    version: str
    card: Card | None
    """`None` when the stored card cannot be read by this software."""

    @property
    def imported(self) -> bool:
        """Whether it ran elsewhere and its findings were imported."""
        return self.sha256.startswith("import:")

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}".strip()


class TaxonIndex:
    """Every taxon that was met, numbered in that order."""

    def __init__(self) -> None:
        self.taxa: list[Taxon] = []
        self._codes: dict[TaxonKey, int] = {}
        self._known: dict[TaxonKey, Taxon] = {}
        self._by_scientific: dict[str, list[TaxonKey]] = {}
        self._by_common: dict[str, list[TaxonKey]] = {}

    def learn(self, card: Card) -> None:
        """Add the lineages and common names of a model's labels."""
        for node in Tree([label.taxon for label in card.labels], card.higher_taxa).nodes:
            self._know(node.taxon.rank, node.taxon)

    def learn_common_names(self, names: Iterable[tuple[str | None, str | None, str | None]]) -> None:
        """Add (rank, scientific name, common name) of taxa that no card describes: those that people named."""
        for rank, name, common in names:
            if name and common and (rank or "", name) not in self._known:
                self._know(rank or "", bare_taxon(name, rank or "", common))

    def _know(self, rank: str, taxon: Taxon) -> None:
        key = (rank, taxon.scientific_name)
        if key not in self._known:
            self._known[key] = taxon
            self._by_scientific.setdefault(taxon.scientific_name.lower(), []).append(key)
            self._by_common.setdefault(taxon.common_name.lower(), []).append(key)

    def code(self, rank: str | None, name: str | None) -> int:
        """The number of a taxon; -1 for none."""
        if not name:
            return -1
        key = (rank or "", name)
        found = self._codes.get(key)
        if found is None:
            found = self._codes[key] = len(self.taxa)
            self.taxa.append(self._known.get(key) or self._by_name(name) or bare_taxon(name, rank or ""))
        return found

    def matching(self, names: Iterable[str]) -> tuple[set[int], list[str]]:
        """Numbers of the taxa at or below those named (scientific or common), and the names that match none."""
        wanted: set[int] = set()
        unmatched = []
        for name in names:
            low = name.strip().lower()
            own = {key for key, taxon in self._known.items() if low in (key[1].lower(), taxon.common_name.lower())}
            lineage_names = {key[1].lower() for key in own} | {low}
            found = {
                code
                for code, taxon in enumerate(self.taxa)
                if low == taxon.common_name.lower() or lineage_names & {step.lower() for _, step in lineage_of(taxon)}
            }
            if not found and not own:
                unmatched.append(name)
            wanted |= found
        return wanted, unmatched

    def called(self, name: str, rank: str | None = None) -> list[Taxon]:
        """The taxa of the models' cards with this scientific or common name, whatever its case."""
        low = " ".join(name.lower().split())
        for names in (self._by_scientific, self._by_common):
            if taxa := [self._known[key] for key in names.get(low, ()) if rank in (None, key[0])]:
                return taxa
        return []

    def names(self) -> list[str]:
        """Scientific and common names of all taxa that `matching` finds."""
        taxa = (*self._known.values(), *self.taxa)
        return sorted({name for taxon in taxa for name in (taxon.scientific_name, taxon.common_name) if name})

    def _by_name(self, name: str) -> Taxon | None:
        """The taxon of that name at any rank, since people often leave the rank out."""
        return next((self._known[key] for key in self._by_scientific.get(name.lower(), ()) if key[1] == name), None)


def lineage_of(taxon: Taxon) -> list[TaxonKey]:
    """Kingdom to the taxon itself, also for one that no card describes."""
    return list(taxon.lineage())


def bare_taxon(name: str, rank: str, common_name: str = "") -> Taxon:
    """A taxon of which only the name is known; a binomial tells its genus."""
    if rank not in RANKS:
        rank = "species" if len(name.split()) in (2, 3) else ""
    genus = name.split()[0] if rank == "species" and " " in name else name if rank == "genus" else ""
    return Taxon(name, rank, common_name, genus=genus, species=name if rank == "species" else "")


def read_models(connection: sqlite3.Connection) -> dict[int, Model]:
    """Models of a database by their id."""
    models = {}
    for id_, *values in connection.execute(_MODELS):
        sha256, name, version, text = ((value or b"").decode("utf-8", "replace") for value in values)
        try:
            card: Card | None = Card.from_json(text)
        except CardError:
            card = None
        models[id_] = Model(sha256, name, version, card)
    return models
