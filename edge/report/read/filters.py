"""The filters of a report: period, deployments, species, confidence, review and model."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Selection:
    """The filters that every report takes. The default takes everything."""

    since: datetime | None = None
    """Naive, in each camera's own local time; frames at or after it."""
    until: datetime | None = None
    """Frames before it."""
    deployments: tuple[str, ...] = ()
    species: tuple[str, ...] = ()
    """Scientific or common names of any rank; what lies below a named taxon is meant too."""
    min_confidence: float = 0.0
    """0..1; decisions of models below it are left out, labels of people never are."""
    reviewed: bool = False
    """Only frames that a person reviewed."""
    model: str = ""
    """Name, `name version` or start of the sha256 of the model whose decisions count; empty: the pinned model's."""

    def describe(self) -> list[str]:
        """One short phrase for each filter in use."""
        words = []
        if self.since:
            words.append(f"since {self.since:%Y-%m-%d %H:%M}".removesuffix(" 00:00"))
        if self.until:
            words.append(f"until {self.until:%Y-%m-%d %H:%M}".removesuffix(" 00:00"))
        if self.deployments:
            words.append(f"deployment {', '.join(self.deployments)}")
        if self.species:
            words.append(f"species {', '.join(self.species)}")
        if self.min_confidence:
            words.append(f"confidence of at least {self.min_confidence:g}")
        if self.reviewed:
            words.append("reviewed frames only")
        if self.model:
            words.append(f"model {self.model}")
        return words


def moment(text: str, end: bool = False, today: date | None = None) -> datetime:
    """Read `today`, `yesterday`, `7 days`, `2026-05-01` or `2026-05-01T18:00`; for an end, a day means its last moment.

    Raises `ValueError` for anything else.
    """
    now = today or date.today()  # noqa: DTZ011 - the reader's own day is meant
    words = text.strip().lower()
    days_ago = {"today": 0, "yesterday": 1}.get(words)
    if match := re.fullmatch(r"(\d{1,5})\s*d(?:ays?)?(?:\s+ago)?", words):
        days_ago = int(match[1])
    if days_ago is not None:
        day = now - timedelta(days=days_ago)
        return datetime.combine(day + timedelta(days=end), datetime.min.time())
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; give today, yesterday, '7 days', 2026-05-01 or 2026-05-01T18:00"
        ) from None
    if end and len(text.strip()) <= 10:
        at += timedelta(days=1)
    return at.replace(tzinfo=None)
