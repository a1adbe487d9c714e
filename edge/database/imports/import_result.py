"""What an import did, and what it left out and why."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from edge.database.imports.file_matching import FileEntry, Matches

_NAMED = 20
_LONGEST_CHARACTERS = 500


class ImportProblem(Exception):
    """A file that cannot be imported, in one line that says what was expected."""


class LeftOut(list[str]):
    """What was left out and why: the first are named, all are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def append(self, text: str) -> None:
        self.total += 1
        if len(self) < _NAMED:
            super().append(text if len(text) <= _LONGEST_CHARACTERS else f"{text[:_LONGEST_CHARACTERS]} ...")

    def add(self, other: "LeftOut") -> None:
        """Take over what another counted."""
        total = self.total + other.total
        for text in other:
            self.append(text)
        self.total = total


@dataclass(slots=True)
class ImportResult:
    """Counted while the import runs."""

    frames: int = 0
    """Frames that the import says something of."""
    rows: int = 0
    """Observations of these frames, whether they are new or were here already."""
    new_rows: int = 0
    passed_over: int = 0
    """Entries that say nothing to import: failures, decisions of machines."""
    not_found: LeftOut = field(default_factory=LeftOut)
    """Names that are no frame of this database."""
    unclear: LeftOut = field(default_factory=LeftOut)
    """Names that fit several frames, or that share a frame with another name; each with what to do."""
    bad_rows: LeftOut = field(default_factory=LeftOut)
    """Rows that cannot be meant, each with its place, what is there and what was expected."""
    not_placed: LeftOut = field(default_factory=LeftOut)
    """Labels of people that belong to no frame, each with the reason."""
    notes: list[str] = field(default_factory=list)
    """What a person should know although nothing is wrong."""

    def take(self, matches: Matches, entries: Sequence[FileEntry], wanted: Collection[int] | None = None) -> None:
        """Note the entries (those at the places `wanted`) that mean no frame."""
        unclear = set()
        for place, media in enumerate(matches.media):
            if media is None and (wanted is None or place in wanted):
                why = matches.unclear.get(place)
                if why is None:
                    self.not_found.append(entries[place].name or entries[place].file_name or entries[place].digest)
                elif why and why not in unclear:
                    unclear.add(why)
                    self.unclear.append(why)
        if matches.replaced_root is not None:
            theirs, ours = matches.replaced_root
            self.notes.append(f"the names start with {theirs or 'nothing'}, which was taken for {ours}; check that")

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return not (self.not_found or self.unclear or self.bad_rows or self.not_placed)

    def describe(self) -> str:
        """One line."""
        line = f"{self.rows} observations for {self.frames} frames"
        if self.rows > self.new_rows:
            line += f" ({self.rows - self.new_rows} were here already)"
        if self.passed_over:
            line += f", {self.passed_over} entries passed over"
        if self.not_found:
            line += f", {self.not_found.total} not found here (first: {self.not_found[0]})"
        for problems, what in (
            (self.unclear, "names that are unclear"),
            (self.bad_rows, "bad rows left out"),
            (self.not_placed, "labels of people not placed"),
        ):
            if problems:
                line += f", {problems.total} {what}"
        return line

    def details(self) -> Iterator[str]:
        """A line for each thing left out, at most some of each kind."""
        yield from self.notes
        if self.not_found:
            named, others = ", ".join(self.not_found), self.not_found.total - len(self.not_found)
            more = f" and {others} more" if others else ""
            yield (
                f"not found here: {named}{more}; expected the path of a frame of this database, or its end; --strip "
                "FOLDER takes a folder of another machine off the names"
            )
        for problems in (self.unclear, self.bad_rows, self.not_placed):
            yield from problems
            if problems.total > len(problems):
                yield f"{problems.total - len(problems)} more like the last line"
