"""What an import did."""

from dataclasses import dataclass, field


class ImportProblem(Exception):
    """A file that cannot be imported, in one line that says what was expected."""


@dataclass(slots=True)
class ImportResult:
    """Counted while the import runs."""

    frames: int = 0
    """Frames that got rows."""
    rows: int = 0
    passed_over: int = 0
    """Entries that say nothing to import: failures, answers of machines."""
    not_found: list[str] = field(default_factory=list)
    """Names that are no frame of this database, or fit several."""

    def describe(self) -> str:
        """One line."""
        line = f"{self.rows} observations for {self.frames} frames"
        if self.passed_over:
            line += f", {self.passed_over} entries passed over"
        if self.not_found:
            line += f", {len(self.not_found)} not found here (first: {self.not_found[0]})"
        return line
