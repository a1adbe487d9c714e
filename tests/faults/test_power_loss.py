"""Power loss at any instant: every state that the disk may hold recovers, and a restart completes it."""

import random
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edge.commands.classify import main
from edge.database.repair.recovery import find_damage
from edge.database.schema import open_database
from tests.support.daemon_process import DaemonProcess, Tally, digest
from tests.support.power_loss import Wreck, read_trace, strace, wrecks
from tests.support.requirements import LONG
from tests.support.signal_handlers import keep_signals

FRAMES = 40 if LONG else 16
POINTS = 100_000 if LONG else 40
SUBSETS = 3 if LONG else 1
COMPLETED = 100 if LONG else 6
_HALF_LOGGED = """
SELECT count(*) FROM media m WHERE m.status = 'classified' AND (
    (SELECT count(*) FROM observation o WHERE o.media = m.id) <> 1
    OR (SELECT count(*) FROM observation o JOIN candidate c ON c.observation = o.id WHERE o.media = m.id) = 0
    OR (SELECT count(*) FROM file f WHERE f.media = m.id) = 0)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace records the writes (apt-get install strace)")
def test_power_loss_at_any_instant(
    tmp_path: Path, tiny_model: Path, frames: list[bytes], report: Callable[[Tally], None]
) -> None:
    chosen = sorted(frames, key=len)[:FRAMES]
    trace = tmp_path / "trace" / "calls"
    trace.parent.mkdir()
    daemon = DaemonProcess(tmp_path, tiny_model, wrapper=strace(trace))
    daemon.captures.mkdir()
    for number, data in enumerate(chosen):
        (daemon.captures / f"{number:03}.jpg").write_bytes(data)
    names = {f"{number:03}.jpg": digest(data) for number, data in enumerate(chosen)}
    whole = set(names.values())
    daemon.start()
    daemon.wait_for(whole, 120)
    daemon.kill(signal.SIGTERM)
    calls = read_trace(trace, daemon.database)
    syncs = sum(call.kind == "sync" for call in calls)
    assert syncs > 3
    assert {names[call.name] for call in calls if call.kind == "said"} == whole

    chance = random.Random(3)
    points = set(chance.sample(range(len(calls)), min(POINTS, len(calls))))
    states = list(wrecks(calls, points, 3, SUBSETS)) if not LONG else wrecks(calls, points, 3, SUBSETS)
    total = len(points) * (3 + SUBSETS)
    completed = set(chance.sample(range(total), min(COMPLETED, total)))
    cases = lost = duplicated = 0
    for number, wreck in enumerate(states):
        folder = tmp_path / "wreck"
        said = {names[name] for name in wreck.said}
        lost_here, twice = _recover(
            folder, wreck, said, daemon.captures, tiny_model, whole if number in completed else None
        )
        lost += lost_here
        duplicated += twice
        cases += 1
        shutil.rmtree(folder)
    note = f"{len(calls)} recorded calls, {syncs} syncs; {len(completed)} states taken through a restart"
    report(Tally("power loss", cases, cases if not lost + duplicated else 0, lost, duplicated, note))


def _recover(
    folder: Path, wreck: Wreck, said: set[str], captures: Path, model: Path, whole: set[str] | None
) -> tuple[int, int]:
    """The number of announced frames that are missing and of frames logged twice; with `whole`, after a restart."""
    folder.mkdir()
    database = folder / "detections.db"
    for name, content in wreck.files.items():
        (folder / name).write_bytes(content)
    assert find_damage(database) is None, wreck.what
    with closing(open_database(database)) as connection:
        found = [row[0] for row in connection.execute("SELECT digest FROM media WHERE status = 'classified'")]
        assert connection.execute(_HALF_LOGGED).fetchone() == (0,), wreck.what
    expected = said
    if whole is not None:
        with keep_signals():
            arguments = ["--db", str(database), "--model", str(model), "-q", "--threads", "1", "--min-free-bytes", "0"]
            assert main([str(captures), *arguments]) == 0
        with closing(open_database(database)) as connection:
            found = [row[0] for row in connection.execute("SELECT digest FROM media")]
            assert connection.execute(_HALF_LOGGED).fetchone() == (0,), wreck.what
        expected = whole
    return len(expected - set(found)), len(found) - len(set(found))
