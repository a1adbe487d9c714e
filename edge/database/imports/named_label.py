"""What a label written by a person means: a taxon by scientific or common name, or one of the kinds."""

import sqlite3
from difflib import get_close_matches

from edge.database.imports.human_acts import HumanLine
from edge.database.imports.table_file import BadValue
from edge.database.taxon_index import TaxonIndex, read_models
from edge.inference.taxonomy import RANKS, Taxon
from edge.vocabulary import Kind

_WORDS = {
    Kind.BLANK: ("blank", "empty", "nothing", "none", "no animal", "no animals", "false trigger", "misfire"),
    Kind.HUMAN: ("human", "humans", "person", "people", "homo sapiens"),
    Kind.VEHICLE: ("vehicle", "vehicles", "car", "truck"),
    Kind.UNKNOWN: ("unknown", "unidentified", "unidentifiable"),
}
_LONGEST_NAME = 200
_HINTS = 50
"""To look for names that are alike takes as long as a thousand rows; a table may have a million unknown names."""
_KIND_OF_WORD = {word: kind for kind, words in _WORDS.items() for word in words}


class TaxonNames:
    """The names that the models of one database know."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._alike: dict[str, str] = {}
        self._index = TaxonIndex()
        for model in read_models(connection).values():
            if model.card is not None:
                self._index.learn(model.card)

    def meaning(self, name: str, rank: str = "", scientific: bool = False) -> HumanLine:
        """The label that `name` means; `rank` tells that of a taxon that no model knows. Raises `BadValue`.

        `scientific` says that the name can be nothing but a scientific one: one of two words is a species then.
        """
        if len(name) > _LONGEST_NAME:
            raise BadValue(f"the name has {len(name)} characters; expected at most {_LONGEST_NAME}")
        name, rank = " ".join(name.replace("_", " ").split()), rank.lower()
        if rank and rank not in RANKS:
            raise BadValue(f"the rank is {rank!r}; expected one of {', '.join(RANKS)}")
        if (kind := _KIND_OF_WORD.get(name.lower())) is not None:
            return HumanLine(kind, common_name=kind.value)
        taxa = self._index.called(name, rank or None)
        if len(taxa) > 1:
            listed = ", ".join(_in_words(taxon) for taxon in taxa)
            raise BadValue(f"{name!r} means {len(taxa)} taxa here: {listed}; give the scientific name and the rank")
        if taxa:
            (taxon,) = taxa
            return HumanLine(Kind.ANIMAL, taxon.scientific_name, taxon.rank, taxon.common_name or None)
        if not rank and scientific and len(name.split()) in (2, 3):
            rank = "species"
        if rank:
            return HumanLine(Kind.ANIMAL, name[:1].upper() + name[1:], rank)
        raise BadValue(
            f"no model here knows {name!r}{self._hint(name.lower())}; expected a known name, or a scientific name with"
            " its rank"
        )

    def _hint(self, name: str) -> str:
        """Known names that are like one in lower case, in words."""
        if name not in self._alike and len(self._alike) < _HINTS:
            known = [known.lower() for known in self._index.names()]
            near = [other for other in known if name in other.split()][:3] or get_close_matches(name, known)
            self._alike[name] = f" (did you mean {' or '.join(near)}?)" if near else ""
        return self._alike.get(name, "")


def _in_words(taxon: Taxon) -> str:
    common = f", {taxon.common_name}" if taxon.common_name else ""
    return f"{taxon.scientific_name} ({taxon.rank}{common})"
