"""Bursts and events: which frames belong together and which taxon is named, in any order of arrival."""

import random
from pathlib import Path

import numpy as np

from edge.database.events.grouping import Rules, burst_numbers, chain, copied_together
from edge.database.events.table import rebuild_events, update_events
from edge.database.schema import open_database
from edge.inference.probabilities import pool
from tests.support.database_by_hand import ByHand, shares
from tests.support.made_survey import make

Event = tuple[object, ...]


def events(database: ByHand) -> list[Event]:
    """(kind, common name, frames, method) in order of time."""
    rebuild_events(database.connection)
    return database.connection.execute(
        "SELECT kind, common_name, media_count, method FROM event ORDER BY start, common_name"
    ).fetchall()


def test_a_silence_longer_than_the_interval_ends_an_event() -> None:
    at = np.array([0, 1800, 3601, 3602], np.int64)
    same = np.zeros(4, np.int32)
    assert chain(same, at, same, np.full(4, 1800)).tolist() == [0, 0, 1, 1]
    assert burst_numbers(same, at, 10).tolist() == [0, 1, 2, 2]
    cameras = np.array([0, 0, 1, 1], np.int32)
    assert chain(cameras, np.array([0, 5, 5, 6], np.int64), same, np.full(4, 1800)).tolist() == [0, 0, 1, 1]


def test_each_species_is_an_event_of_its_own_and_blanks_are_none(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for minute, what in enumerate(["lion", "impala", "lion", "blank", "impala"]):
        database.frame(minute * 60, what)
    assert events(database) == [("animal", "lion", 2, "machine"), ("animal", "impala", 2, "machine")]


def test_a_higher_taxon_is_counted_with_a_lower_one_of_its_lineage_within_the_interval(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "cat family")
    database.frame(600, "lion")
    database.frame(1200, "bird")
    database.frame(9000, "cat family")
    assert [(e[1], e[2]) for e in events(database)] == [("lion", 2), ("bird", 1), ("cat family", 1)]


def test_frames_of_a_burst_decide_together_by_their_log_probabilities(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    # Alone, one frame is a leopard and two are uncertain cats; together they are a lion.
    database.frame(0, "leopard", 0.71, logs=shares(leopard=0.71, lion=0.25))
    database.frame(2, "cat family", 0.9, logs=shares(leopard=0.05, lion=0.92))
    database.frame(4, "cat family", 0.9, logs=shares(leopard=0.05, lion=0.92))
    assert events(database) == [("animal", "lion", 3, "machine")]
    (confidence,) = database.connection.execute("SELECT confidence FROM event").fetchone()
    three = np.stack(
        [np.frombuffer(shares(leopard=a, lion=b), np.float16) for a, b in [(0.71, 0.25), *[(0.05, 0.92)] * 2]]
    )
    assert np.isclose(confidence, np.exp(pool(three)).max())


def test_a_persons_label_decides_for_its_burst(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    first = database.frame(0, "leopard")
    database.frame(2, "leopard")
    database.answer(first, "lion", by="Ana", count=2)
    database.frame(4000, "impala")
    assert events(database) == [("animal", "lion", 2, "human"), ("animal", "impala", 1, "machine")]
    assert database.connection.execute("SELECT count FROM event WHERE method = 'human'").fetchone() == (2,)


def test_two_species_that_a_person_saw_in_one_frame_are_two_events(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    frame = database.frame(0, "impala")
    database.answer(frame, "impala", by="Ana")
    database.answer(frame, "plains zebra", by="Ana", subject=1)
    assert sorted(str(e[1]) for e in events(database)) == ["impala", "plains zebra"]


def test_a_species_may_have_an_interval_of_its_own(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for minutes in (0, 40):
        database.frame(minutes * 60, "lion")
        database.frame(minutes * 60 + 90, "impala")
    rebuild_events(database.connection, rules=Rules(by_taxon={"Panthera leo": 3600}))
    counted = database.connection.execute("SELECT common_name, count(*) FROM event GROUP BY 1 ORDER BY 1").fetchall()
    assert counted == [("impala", 2), ("lion", 1)]


def test_times_of_files_that_were_copied_together_are_not_used() -> None:
    camera = np.zeros(33, np.int32)
    at = np.r_[np.arange(30) // 4, 5000, 9000, 9001].astype(np.int64)
    undated = np.ones(33, bool)
    assert copied_together(camera, at, undated).sum() == 30
    undated[:22] = False  # the rest is a burst that a camera could have taken
    assert not copied_together(camera, at, undated).any()


def test_updates_frame_by_frame_in_any_order_give_the_events_of_a_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "made.db"
    make(path, seed=5, frames=400, deployments=2, days=3, events=False)
    connection = open_database(path)
    frames = [row[0] for row in connection.execute("SELECT id FROM media")]
    hidden = "UPDATE media SET deployment = deployment || ' later' WHERE id = ?"
    connection.execute("INSERT INTO deployment (id) SELECT id || ' later' FROM deployment")
    connection.executemany(hidden, [(frame,) for frame in frames])  # not there yet
    random.Random(3).shuffle(frames)
    for start in range(0, len(frames), 7):
        part = frames[start : start + 7]
        connection.executemany(
            "UPDATE media SET deployment = replace(deployment, ' later', '') WHERE id = ?", [(frame,) for frame in part]
        )
        update_events(connection, part)
    content = (
        'SELECT e.deployment, e.kind, e.taxon, e.start, e."end", e.media_count, round(e.confidence, 9), '
        "group_concat(m.media) FROM event e JOIN (SELECT * FROM event_media ORDER BY media) m ON m.event = e.id "
        "GROUP BY e.id ORDER BY 1, 4, 2, 3"
    )
    grown = connection.execute(content).fetchall()
    rebuild_events(connection)
    assert grown == connection.execute(content).fetchall()
    assert len(grown) > 20


def test_a_frame_that_turns_blank_takes_its_event_along(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    frame = database.frame(0, "lion")
    update_events(database.connection, [frame])
    database.answer(frame, "blank", by="Ana")
    update_events(database.connection, [frame])
    assert database.connection.execute("SELECT count(*) FROM event").fetchone() == (0,)
