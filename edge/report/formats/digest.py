"""`edge-report digest`: one day in the bytes of a text message, or as JSON for MQTT."""

import json
import re
import unicodedata
from datetime import datetime
from typing import Any, BinaryIO

import numpy as np

from edge.report.analysis.camera_health import Finding, find_problems
from edge.report.analysis.study import Study
from edge.report.output import Output, Written, counted
from edge.report.read.survey import BLANK, CLASSIFIED, HUMAN, UNKNOWN, UNREADABLE

LEAST_BYTES = 20
_LINE = re.compile(rb'(\d\d-\d\d|all) \d+ev \d+fr|\{"since": ("|null, "until": )')


def is_own(file: BinaryIO) -> bool:
    """Whether it is a day in a line, or its figures as JSON."""
    return _LINE.match(file.read(64)) is not None


def write(study: Study, output: Output, max_bytes: int = 140, as_json: bool = False) -> Written:
    """Write one line."""
    facts = gather(study)
    with output.text() as file:
        text = json.dumps(facts, ensure_ascii=False) if as_json else describe(facts, max_bytes)
        file.write(text + "\n")
    return Written(counted(1, "line"))


def gather(study: Study) -> dict[str, Any]:
    """The day's figures."""
    survey, selection = study.survey, study.selection
    records, events = survey.records, study.events
    problems: list[Finding] = [f for f in find_problems(study) if f.lasting or _within(f, study)]
    seen = [(row.name, row.abundance.events) for row in study.species if row.abundance.events]
    species = sorted(seen, key=lambda item: (-item[1], item[0]))
    free = [int(b.free_bytes[b.free_bytes >= 0][-1]) for b in survey.heartbeats if (b.free_bytes >= 0).any()]
    return {
        "since": selection.since.isoformat() if selection.since else None,
        "until": selection.until.isoformat() if selection.until else None,
        "cameras": len(np.unique(survey.frames.deployment)),
        "frames": int((survey.frames.status == CLASSIFIED).sum()),
        "events": int(events.rated.sum()),
        "species": dict(species),
        "blank": int((records.kind == BLANK).sum()),
        "unknown": int((records.kind == UNKNOWN).sum()),
        "people_events": int((events.kind == HUMAN).sum()),
        "unreadable": int((survey.frames.status == UNREADABLE).sum()),
        "free_bytes": min(free, default=None),
        "problems": [f"{f.where}: {f.text}" for f in problems],
        "topics": sorted({f"{f.topic} {f.where}" for f in problems}),
    }


def _within(finding: Finding, study: Study) -> bool:
    since = study.selection.since
    return since is None or finding.last_day >= (since - datetime(1970, 1, 1)).days  # noqa: DTZ001


def describe(facts: dict[str, Any], max_bytes: int) -> str:
    """The figures in at most `max_bytes` of plain ASCII, the most needed first; what does not fit is left out."""
    day = facts["since"][5:10] if facts["since"] else "all"
    line = f"{day} {facts['events']}ev {facts['frames']}fr"
    if facts["problems"]:
        line += f" !{len(facts['problems'])}"
    short = max_bytes < 100
    parts = [f"{_short(name) if short else _ascii(name)} {count}" for name, count in facts["species"].items()]
    # Rare ones matter more than the tenth impala, so the rarest stands right behind the commonest.
    ordered = [part for pair in zip(parts, reversed(parts), strict=True) for part in pair]
    wanted = [*dict.fromkeys(ordered)]
    extras = [f"!{_ascii(topic)}" for topic in facts["topics"]]
    if facts["people_events"]:
        extras.insert(0, f"people {facts['people_events']}")
    if facts["unreadable"]:
        extras.append(f"unreadable {facts['unreadable']}")
    if facts["frames"]:
        extras.append(f"blank {100 * facts['blank'] / facts['frames']:.0f}%")
    if facts["free_bytes"] is not None:
        extras.append(f"{facts['free_bytes'] / 1e9:.0f}GB free")
    for part in [*wanted[:3], *extras[:2], *wanted[3:], *extras[2:]]:
        longer = f"{line}, {part}" if part not in wanted[:1] else f"{line}: {part}"
        if len(longer.encode()) <= max_bytes:
            line = longer
    return line[:max_bytes]


def _ascii(text: str) -> str:
    """A text message has no room for other alphabets' encodings."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(filter(str.isprintable, " ".join(plain.split()))) or "?"


def _short(name: str) -> str:
    """The final part of a common name, its noun: `plains zebra` -> `zebra`."""
    return _ascii(name).split()[-1][:9]
