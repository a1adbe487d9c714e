"""What a database file says of its own tables, read from its pages without SQLite, which might change the file."""

from dataclasses import dataclass, field

from edge.database.migrations import MIGRATIONS
from edge.database.repair.pages import TABLE_LEAF, Pages, Record, Text
from edge.database.repair.shapes import shapes

_TELLING = ("media", "observation", "run", "file", "candidate")
"""Tables whose statements nobody else has."""
_OF_VERSION_2 = ("configuration", "pin", "correction")


@dataclass(frozen=True, slots=True)
class Entry:
    """A table or an index."""

    kind: str
    name: str
    root: int
    sql: str


@dataclass(slots=True)
class StoredSchema:
    """The tables and indexes of a file, and which pages belong to which."""

    entries: dict[str, Entry] = field(default_factory=dict)
    owner: dict[int, str] = field(default_factory=dict)
    """Page -> table or index, as far as the trees can be followed."""
    is_whole: bool = False
    """Whether the schema begins where it should and nothing in it is broken."""

    @classmethod
    def of(cls, pages: Pages) -> "StoredSchema":
        schema = cls(is_whole=pages.count > 0)
        for number in pages.tree(pages.first) if pages.count else ():
            schema.owner[number] = "sqlite_schema"
            schema.is_whole &= schema._take(pages, number)
        if not schema.is_whole:  # pages of it may lie anywhere
            for number in sorted(set(pages.find(b"CREATE TABLE "))):
                schema._take(pages, number)
        for entry in schema.entries.values():
            if entry.root > 1:
                for number in pages.tree(entry.root):
                    schema.owner.setdefault(number, entry.name)
        return schema

    def _take(self, pages: Pages, number: int) -> bool:
        whole = True
        for record in pages.records(number):
            entry = _entry(record)
            if entry is None:
                whole = False
            else:
                self.entries.setdefault(entry.name, entry)
        return whole and (bool(pages.children(number)) or pages.kind(number) == TABLE_LEAF)

    @property
    def is_ours(self) -> bool:
        """Whether one of the tables is one that this software made, in any version."""
        return any(_beginning(entry.sql) in _our_beginnings() for entry in self.entries.values())

    @property
    def version(self) -> int | None:
        """The version of the tables; the number in the header may be what is damaged. `None` where nothing tells it."""
        if not any(name in self.entries for name in _TELLING):
            return None
        return 2 if any(name in self.entries for name in _OF_VERSION_2) else 1


def _entry(record: Record | None) -> Entry | None:
    """The entry of a record of the schema, if it is one."""
    if record is None or record.number is None or len(record.values) != 5:
        return None
    kind, name, _, root, sql = record.values
    if not isinstance(kind, Text) or not isinstance(name, Text) or not isinstance(root, int):
        return None
    if kind not in (b"table", b"index", b"view", b"trigger"):
        return None
    text = sql.decode("utf-8", "replace") if isinstance(sql, Text) else ""
    return Entry(kind.decode(), name.decode("utf-8", "replace"), root, text)


def _our_beginnings() -> frozenset[str]:
    return frozenset(
        _beginning(shapes(version)[name].sql) for version in range(1, len(MIGRATIONS) + 1) for name in _TELLING
    )


def _beginning(sql: str) -> str:
    """The first words of a statement: what is added to a table later stands at its end."""
    return " ".join(sql.split())[:150]
