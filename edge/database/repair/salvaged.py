"""What came out of a damaged database, and what did not."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Salvaged:
    """What came out of a damaged database."""

    frames: int = 0
    human_observations: int = 0
    gaps: int = 0
    """Places that could not be read, and rows that were read and left out."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that were read and left out, by table."""
    emptied: Counter[str] = field(default_factory=Counter)
    """Values that were left out of a row, by table and column."""
    lost_labels: list[str] = field(default_factory=list)
    """What people said of frames that could not be read."""
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [
            f"{self.frames} frames and {self.human_observations} observations by people were saved, "
            f"{self.gaps} places could not be read"
        ]
        for what, counted in (("rows left out", self.dropped), ("values left out", self.emptied)):
            if counted:
                parts.append(f"{what}: {', '.join(f'{number} of {name}' for name, number in sorted(counted.items()))}")
        parts += self.notes
        parts.append("frames that are missing now and still on disk are looked at again")
        return "; ".join(parts)
