"""The `event` table, brought up to date for the frames that changed, within one transaction."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np

from edge.database.configuration import Document
from edge.database.events.grouping import DEFAULT_RULES, Deciders, Event, EventMember, Grouper, Rules, copied_together
from edge.database.taxon_index import TaxonIndex, read_models
from edge.database.transaction import writing
from edge.inference.decision import Decider
from edge.timestamps import iso_utc
from edge.vocabulary import Method

_FRAMES = """
SELECT m.id, m.deployment, m.captured_at, e.start, e."end"
FROM media m LEFT JOIN event_media em ON em.media = m.id LEFT JOIN event e ON e.id = em.event
WHERE m.id IN (SELECT value FROM json_each(?))
"""
_NEIGHBOUR_BEFORE = """
SELECT max(captured_at) FROM effective_observation
WHERE deployment IS ? AND captured_at >= ? AND captured_at < ? AND kind <> 'blank'
"""
_NEIGHBOUR_AFTER = """
SELECT min(captured_at) FROM effective_observation
WHERE deployment IS ? AND captured_at > ? AND captured_at <= ? AND kind <> 'blank'
"""
# The lines of an act that name one taxon (by sex or life stage, or box by box) are one member; their numbers add up.
_MEMBERS = """
SELECT e.media, CAST(strftime('%s', e.captured_at) AS INTEGER), e.kind, e.taxon, e.rank, e.common_name, sum(e.number),
       e.confidence, e.reason, e.method = 'human', e.model, e.configuration, e.log_probabilities,
       coalesce(instr(e.clock_doubt, 'no_exif') + instr(e.clock_doubt, 'unreadable_time') > 0, 0), min(e.id)
FROM effective_observation e
WHERE e.deployment IS ? AND e.captured_at >= ? AND e.captured_at <= ? AND e.kind <> 'blank'
GROUP BY e.media, e.kind, e.taxon, e.rank ORDER BY 2, 1, 15
"""
_FRAMES_IN = "SELECT count(*) FROM media WHERE deployment IS ? AND captured_at >= ? AND captured_at <= ?"
_OF_STRETCH = """
SELECT event, media FROM event_media WHERE event IN (
    SELECT em.event FROM event_media em JOIN media m ON m.id = em.media
    WHERE m.deployment IS ? AND m.captured_at >= ? AND m.captured_at <= ?)
"""
_OF_FRAMES = """
SELECT event, media FROM event_media WHERE event IN (
    SELECT event FROM event_media WHERE media IN (SELECT value FROM json_each(?)))
"""
_FRAMES_OF_TWO = """
SELECT id, CAST(strftime('%s', captured_at) AS INTEGER) FROM media
WHERE (deployment IS ? OR deployment IS ?) AND captured_at NOT NULL ORDER BY captured_at
"""
_COMPANIONS = """
SELECT media FROM event_media WHERE event IN (
    SELECT event FROM event_media WHERE media IN (SELECT value FROM json_each(?)))
"""
_MOVE = """
UPDATE event SET deployment = ?
WHERE id IN (SELECT event FROM event_media WHERE media IN (SELECT value FROM json_each(?)))
"""
_PAIRS = """
SELECT DISTINCT r.model, c.id, CAST(c.document AS BLOB) FROM run r JOIN configuration c ON c.id = r.configuration
"""
_COLUMNS = 'deployment, kind, taxon, rank, common_name, start, "end", media_count, count, confidence, reason, method'
_PLACES = ", ".join("?" * 12)
_NEW = f"INSERT INTO event ({_COLUMNS}) VALUES ({_PLACES})"
_CHANGED = f"UPDATE event SET ({_COLUMNS}) = ({_PLACES}) WHERE id = ? AND ({_COLUMNS}) IS NOT ({_PLACES})"
_TAKE_IN = "INSERT INTO event_media (event, media) VALUES (?, ?)"
_LET_GO = "DELETE FROM event_media WHERE event = ? AND media = ?"


def update_events(
    connection: sqlite3.Connection,
    media: Iterable[int],
    deciders: Deciders | None = None,
    rules: Rules = DEFAULT_RULES,
    grouper: Grouper | None = None,
    most_frames: int | None = None,
) -> int:
    """Recompute the events that the frames `media` (ids) belong to or may join; gives the number of events written.

    Everything within reach of a changed frame, by silences no longer than the longest interval, is grouped anew, so
    the outcome doesn't depend on the order in which frames came. `deciders` by model and configuration; missing ones
    are made from the model cards in the database; a daemon keeps the `grouper` that `make_grouper` gave and spares
    that. Frames without a time belong to no event, nor do for now those of a stretch of more than `most_frames`
    (reports work those out, where there is memory enough). Call it inside the transaction that changed the frames, or
    outside of one (it makes its own).
    """
    with writing(connection):
        grouper = grouper or make_grouper(connection, deciders, rules)
        changed = list(media)
        held = _held(connection, _OF_FRAMES, (json.dumps(changed),))
        written = 0
        for span in list(_windows(connection, changed, rules.longest_s)):
            if most_frames is not None and connection.execute(_FRAMES_IN, span).fetchone()[0] > most_frames:
                continue
            held |= _held(connection, _OF_STRETCH, span)
            events = grouper.events(_members(connection, *span))
            _write(connection, span[0], events, held)
            written += len(events)
        _forget(connection, held)
        return written


def move_events(
    connection: sqlite3.Connection,
    moves: Mapping[tuple[str | None, str | None], Sequence[int]],
    rules: Rules = DEFAULT_RULES,
    most_frames: int | None = None,
) -> None:
    """Bring the events up to date after frames moved: (deployment before, deployment now) -> media ids.

    Where a whole stretch of frames moved together, its events move with it; only those that meet frames which stayed
    are worked out anew. Call it inside the transaction that moved the frames.
    """
    changed: set[int] = set()
    for (before, after), media in moves.items():
        moved, together = set(media), list[int]()
        for stretch in _runs_of(connection, before, after, rules.longest_s):
            if moved.issuperset(stretch):
                together += stretch
            else:
                changed.update(moved.intersection(stretch))
        connection.execute(_MOVE, (after, json.dumps(together)))
    if changed:
        update_events(connection, with_companions(connection, changed), None, rules, None, most_frames)


def with_companions(connection: sqlite3.Connection, media: Collection[int]) -> list[int]:
    """Frames with those that share an event with them, which changes when they leave it."""
    found = connection.execute(_COMPANIONS, (json.dumps(list(media)),))
    return sorted({*media, *(one for (one,) in found)})


def _runs_of(
    connection: sqlite3.Connection, before: str | None, after: str | None, reach_s: int
) -> Iterator[list[int]]:
    """Frames of two deployments as media ids, parted by silences beyond reach."""
    run, last = list[int](), 0
    for media, at in connection.execute(_FRAMES_OF_TWO, (before, after)):
        if run and at - last > reach_s:
            yield run
            run = []
        run.append(media)
        last = at
    if run:
        yield run


def rebuild_events(
    connection: sqlite3.Connection, deciders: Deciders | None = None, rules: Rules = DEFAULT_RULES
) -> int:
    """Make all events anew, as after a change of the rules or of clocks; gives their number."""
    with writing(connection):
        connection.execute("DELETE FROM event_media")
        connection.execute("DELETE FROM event")
        number = 0
        for deployment, event_ in all_events(connection, deciders, rules):
            _write(connection, deployment, [event_], {})
            number += 1
        return number


def all_events(
    connection: sqlite3.Connection, deciders: Deciders | None = None, rules: Rules = DEFAULT_RULES
) -> Iterator[tuple[str | None, Event]]:
    """Every event of the database with its deployment, worked out from the frames; reads only."""
    grouper = make_grouper(connection, deciders, rules)
    for (name,) in connection.execute("SELECT DISTINCT deployment FROM media").fetchall():
        for first, last in _stretches(connection, name, rules.longest_s):
            for event_ in grouper.events(_members(connection, name, first, last)):
                yield name, event_


def make_grouper(
    connection: sqlite3.Connection, deciders: Deciders | None = None, rules: Rules = DEFAULT_RULES
) -> Grouper:
    """A grouper that knows all models of the database now; made anew when a model or a configuration is added."""
    index, ready = TaxonIndex(), dict(deciders or {})
    models = read_models(connection)
    for model in models.values():
        if model.card is not None:
            index.learn(model.card)
    for pair, document in _pairs(connection).items():
        card = models[pair[0]].card if pair[0] in models else None
        if card is not None and card.calibration.thresholds and pair not in ready:
            with suppress(ValueError, TypeError, AttributeError):  # a document that something else wrote
                ready[pair] = Decider(card, document.get("species_list"), document.get("thresholds"))
    return Grouper(index, ready, rules)


def _pairs(connection: sqlite3.Connection) -> dict[tuple[int, int | None], Document]:
    """The models and configurations that runs used, with the configurations' documents."""
    pairs: dict[tuple[int, int | None], Document] = {}
    for model, id_, content in connection.execute(_PAIRS):
        try:
            document = json.loads(content or b"{}")
        except (ValueError, RecursionError):
            continue  # written by something else
        if isinstance(document, dict):
            pairs[model, id_] = document
    return pairs


def _windows(connection: sqlite3.Connection, media: list[int], reach_s: int) -> Iterator[tuple[str | None, str, str]]:
    """Stretches of time at a deployment that the frames can have changed, merged where they touch."""
    spans: dict[str | None, list[tuple[str, str]]] = {}
    for _, deployment, at, start, end in connection.execute(_FRAMES, (json.dumps(media),)):
        times = [time for time in (at, start, end) if time]
        if times:
            spans.setdefault(deployment, []).append((min(times), max(times)))
    for deployment, held in spans.items():
        done = ""
        for first, last in sorted(held):
            if last <= done:
                continue
            low, high = first, last
            while before := connection.execute(_NEIGHBOUR_BEFORE, (deployment, _shift(low, -reach_s), low)).fetchone()[
                0
            ]:
                low = before
            while after := connection.execute(_NEIGHBOUR_AFTER, (deployment, high, _shift(high, reach_s))).fetchone()[
                0
            ]:
                high = after
            done = high
            yield deployment, low, high


def _stretches(connection: sqlite3.Connection, deployment: str | None, reach_s: int) -> list[tuple[str, str]]:
    """Runs of frames that are not blank, without a silence beyond reach."""
    runs: list[tuple[str, str]] = []
    edge = ""
    for (at,) in connection.execute(
        "SELECT DISTINCT captured_at FROM effective_observation "
        "WHERE deployment IS ? AND captured_at IS NOT NULL AND kind <> 'blank' ORDER BY captured_at",
        (deployment,),
    ):
        if runs and at <= edge:
            runs[-1] = (runs[-1][0], at)
        else:
            runs.append((at, at))
        edge = _shift(at, reach_s)
    return runs


def _held(connection: sqlite3.Connection, sql: str, values: tuple[str | None, ...]) -> dict[int, set[int]]:
    """Events and the frames that they hold."""
    held: dict[int, set[int]] = {}
    for event, media in connection.execute(sql, values):
        held.setdefault(event, set()).add(media)
    return held


def _write(
    connection: sqlite3.Connection, deployment: str | None, events: Iterable[Event], held: dict[int, set[int]]
) -> None:
    """Write `visits` into events of `held` that had their frames before, which are taken out of it, or into new ones.

    Only what differs is written: a event_ of weeks (a herd that stays, a time-lapse) grows by a frame at a time.
    """
    owner = {media: event for event, frames in held.items() for media in frames}
    for event_ in events:
        frames = {s.media for s in event_.members}
        row = _row(deployment, event_, len(frames))
        event = owner.get(min(frames))
        if event in held:
            before = held.pop(event)
            connection.execute(_CHANGED, (*row, event, *row))
        else:
            before = set()
            event = connection.execute(_NEW, row).lastrowid
        connection.executemany(_LET_GO, [(event, media) for media in before - frames])
        connection.executemany(_TAKE_IN, [(event, media) for media in sorted(frames - before)])


def _forget(connection: sqlite3.Connection, events: Iterable[int]) -> None:
    numbers = [(event,) for event in events]
    connection.executemany("DELETE FROM event_media WHERE event = ?", numbers)
    connection.executemany("DELETE FROM event WHERE id = ?", numbers)


def _members(connection: sqlite3.Connection, deployment: str | None, first: str, last: str) -> list[EventMember]:
    """What the frames of a stretch of time show, in order."""
    rows = connection.execute(_MEMBERS, (deployment, first, last)).fetchall()
    copied = copied_together(
        np.zeros(len(rows), np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[13] for row in rows], bool),
    )
    members = []
    for row, undated in zip(rows, copied.tolist(), strict=True):
        if not undated:
            *what, human, model, configuration, blob = row[:13]
            pair = None if human or model is None else (int(model), configuration)
            logs = None if blob is None else np.frombuffer(blob, np.float16)
            media, at, kind, taxon, rank, common, count, *sure = what
            confidence, reason = (None, None) if human else sure
            members.append(
                EventMember(media, at, kind, taxon, rank, common, count, confidence, reason, bool(human), pair, logs)
            )
    return members


def _row(deployment: str | None, event_: Event, frames: int) -> tuple[str | int | float | None, ...]:
    times = [s.at for s in event_.members]
    return (
        *(deployment, event_.kind, event_.taxon, event_.rank, event_.common_name),
        *(_text(min(times)), _text(max(times)), frames, event_.count, event_.confidence, event_.reason),
        Method.HUMAN if event_.human else Method.MACHINE,
    )


def _shift(text: str, seconds: int) -> str:
    """ISO 8601 UTC text some seconds on, comparable as text with what the database holds."""
    moved = datetime.fromisoformat(text).timestamp() + seconds
    bare = _text(int(moved)).removesuffix(".000Z")
    return bare if seconds < 0 else bare + "~"


def _text(at: int) -> str:
    return iso_utc(datetime.fromtimestamp(at, UTC))
