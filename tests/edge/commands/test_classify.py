"""The command as people use it: a process, its lines, its exit codes, its rows."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[3]


def jpeg(seed: int, height: int = 96, width: int = 128) -> bytes:
    """A different JPEG for each seed, smooth enough to compress like a photograph."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, (6, 8, 3), np.uint8)
    big = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    done, data = cv2.imencode(".jpg", big)
    assert done
    return data.tobytes()


def run(folder: Path, *arguments: object, model: Path | None = None) -> subprocess.CompletedProcess[str]:
    chosen = [] if model is None else ["--model", model]
    command = [sys.executable, "-m", "edge.commands.classify", *map(str, [*arguments, *chosen])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "detections.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_each_file_is_logged_once_however_often_it_is_named(tmp_path: Path, tiny_model: Path) -> None:
    frames = tmp_path / "card" / "DCIM"
    frames.mkdir(parents=True)
    for seed in range(3):
        (frames / f"IMG_{seed}.JPG").write_bytes(jpeg(seed))
    (frames / "copy of IMG_0.JPG").write_bytes(jpeg(0))
    first = run(tmp_path, "card", model=tiny_model)
    assert first.returncode == 0, first.stderr
    assert [line.split("  ")[1] for line in first.stdout.splitlines()[:-1]] == [f"DCIM/IMG_{i}.JPG" for i in range(3)]
    assert first.stdout.splitlines()[-1] == "DCIM/copy of IMG_0.JPG  same content as DCIM/IMG_0.JPG"
    assert "INFO 3 new, 1 already logged in " in first.stderr
    again = run(tmp_path, "card", frames / "IMG_1.JPG", model=tiny_model)
    assert again.returncode == 0
    assert again.stdout == ""
    assert "INFO 0 new, 5 already logged in " in again.stderr
    assert rows(tmp_path, "SELECT count(*) FROM media") == [(3,)]
    assert rows(tmp_path, "SELECT count(*) FROM observation") == [(3,)]
    assert rows(tmp_path, "SELECT count(*) FROM file") == [(4,)]
    assert rows(tmp_path, "SELECT count(*) FROM detections WHERE status = 'classified'") == [(3,)]


def test_what_cannot_be_scored_gets_one_clear_line_and_spares_the_rest(tmp_path: Path, tiny_model: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    whole = jpeg(1, 480, 640)
    huge = bytearray(jpeg(2))
    start = huge.index(b"\xff\xc0") + 5
    huge[start : start + 4] = (60000).to_bytes(2, "big") * 2
    middle = bytearray(jpeg(3, 480, 640))
    middle[len(middle) // 2 : len(middle) // 2 + 200] = b"\xff\xd9" * 100
    contents = {
        "whole.jpg": whole,
        "truncated.jpg": whole[: len(whole) // 2],
        "corrupt.jpg": bytes(middle),
        "empty.jpg": b"",
        "huge.jpg": bytes(huge),
        "text.jpg": b"this is no image",
        "video.mp4": b"\0\0\0\x18ftypmp42",
    }
    for name, data in contents.items():
        (frames / name).write_bytes(data)
    (frames / "folder.jpg").mkdir()
    done = run(tmp_path, "frames", model=tiny_model)
    assert done.returncode == 1
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["whole.jpg"]
    lines = done.stderr.splitlines()
    for name in ("truncated.jpg", "corrupt.jpg", "empty.jpg", "huge.jpg", "text.jpg", "folder.jpg", "video.mp4"):
        assert sum(name in line for line in lines) == 1, (name, lines)
    reasons = rows(tmp_path, "SELECT path, status || ' ' || reason FROM media WHERE status <> 'classified'")
    assert {Path(str(path)).name: reason for path, reason in reasons} == {
        "truncated.jpg": "unreadable truncated",
        "corrupt.jpg": "unreadable truncated",  # its image data ends at the false end marker
        "empty.jpg": "unreadable empty",
        "huge.jpg": "unreadable too_large",
        "text.jpg": "unreadable not_an_image",
        "video.mp4": "unsupported unsupported_format",
    }
    assert {path.name: path.read_bytes() for path in frames.iterdir() if path.is_file()} == contents
    # The files are no better the next time, and the exit code still says so.
    assert run(tmp_path, "frames", model=tiny_model).returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not read")
def test_a_file_without_permission_is_named_and_spares_the_rest(tmp_path: Path, tiny_model: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "mine.jpg").write_bytes(jpeg(1))
    (frames / "secret.jpg").write_bytes(jpeg(2))
    (frames / "secret.jpg").chmod(0)
    # Root reads everything; without these capabilities it reads what its mode bits say.
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    command += [sys.executable, "-m", "edge.commands.classify", str(frames)]
    command += ["--db", str(tmp_path / "detections.db"), "--model", str(tiny_model)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert sum("secret.jpg" in line for line in done.stderr.splitlines()) == 1
    assert "permission" in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to classify"),
        (["--watch", "/dev/null"], "no folder"),
        (["missing.jpg"], "missing.jpg does not exist"),
        ([".", "--model", "missing.onnx"], "missing.onnx"),
        ([".", "--time-zone", "Mars/Olympus"], "Mars/Olympus"),
        ([".", "--latitude", "12"], "--deployment"),
        ([".", "--deployment", "a", "--latitude", "100"], "100"),
        ([".", "--config", "missing.toml"], "missing.toml"),
        ([".", "--species-list", "missing.txt"], "missing.txt"),
        ([".", "--db", "missing/folder/x.db"], "missing/folder"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path: Path, tiny_model: Path, arguments: list[str], words: str
) -> None:
    model = None if "--model" in arguments else tiny_model
    done = run(tmp_path, *arguments, model=model)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_json_prints_one_object_for_each_frame(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    done = run(tmp_path, "a.jpg", "--json", "-q", "--deployment", "ridge", model=tiny_model)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["deployment"] == "ridge"
    assert row["path"] == str(tmp_path / "a.jpg")
    connection = sqlite3.connect(tmp_path / "detections.db")
    assert list(row) == [column[0] for column in connection.execute("SELECT * FROM detections").description]
    connection.close()
    assert 0 <= row["confidence"] <= 1
    assert done.stderr == ""


def test_reclassify_adds_rows_for_a_new_model_and_passes_what_it_answered(
    tmp_path: Path, tiny_model: Path, other_tiny_model: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "b.jpg").write_bytes(jpeg(2))
    run(tmp_path, "a.jpg", "b.jpg", model=tiny_model)
    for _ in range(2):
        done = run(tmp_path, "a.jpg", "b.jpg", "--reclassify", model=other_tiny_model)
        assert done.returncode == 0, done.stderr
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT model) FROM observation") == [(4, 2)]
    assert rows(tmp_path, "SELECT count(*) FROM detections") == [(2,)]
    first = rows(tmp_path, "SELECT min(id) FROM model")[0][0]  # the pinned one, until a person pins another
    used = rows(tmp_path, "SELECT DISTINCT o.model FROM detections d JOIN observation o ON o.id = d.observation")
    assert used == [(first,)]


def test_the_species_list_rules_what_is_said(tmp_path: Path, tiny_model: Path) -> None:
    for seed in range(12):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
    (tmp_path / "list.txt").write_text("# what lives here\nStrix aluco\n\n")
    done = run(tmp_path, ".", "--species-list", "list.txt", model=tiny_model)
    assert done.returncode == 0, done.stderr
    taxa = {taxon for (taxon,) in rows(tmp_path, "SELECT DISTINCT taxon FROM observation")}
    assert taxa <= {None, "Strix aluco", "Strix", "Strigidae", "Strigiformes", "Aves", "Animalia"}


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"SQLite format 3\0 but no more than that" * 40])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, tiny_model: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "precious.txt").write_bytes(content)
    done = run(tmp_path, "a.jpg", "--db", "precious.txt", model=tiny_model)
    assert done.returncode == 2, done.stderr
    assert "precious.txt is no detections database" in done.stderr
    assert (tmp_path / "precious.txt").read_bytes() == content
    assert sorted(path.name for path in tmp_path.glob("precious*")) == ["precious.txt", "precious.txt.lock"]


def test_a_second_process_on_the_same_database_refuses(tmp_path: Path, tiny_model: Path) -> None:
    captures = tmp_path / "captures"
    captures.mkdir()
    command = [sys.executable, "-m", "edge.commands.classify", "--watch", "captures", "--model", str(tiny_model)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        for line in daemon.stderr:
            if "watching" in line:
                break
        second = run(tmp_path, "captures", model=tiny_model)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    assert second.returncode == 2
    assert "in use" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_what_is_left(tmp_path: Path, tiny_model: Path, number: signal.Signals) -> None:
    frames = 400
    for seed in range(frames):
        (tmp_path / f"{seed:03}.jpg").write_bytes(jpeg(seed))
    command = [sys.executable, "-m", "edge.commands.classify", ".", "--threads", "1", "--model", str(tiny_model)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    stopping, last = said.splitlines()[-2:]
    assert stopping == "stopping after the frames in hand; once more stops at once"
    ((logged,),) = rows(tmp_path, "SELECT count(*) FROM media WHERE status = 'classified'")
    assert isinstance(logged, int)
    assert f"INFO {logged} new, 0 already logged, {frames - logged} of {frames} left in " in last
    done = run(tmp_path, ".", model=tiny_model)
    assert done.returncode == 0
    assert f"INFO {frames - logged} new, {logged} already logged in " in done.stderr


def test_a_watch_that_is_stopped_says_what_it_knew(tmp_path: Path, tiny_model: Path) -> None:
    captures = tmp_path / "captures" / "a"
    captures.mkdir(parents=True)
    for seed in range(3):
        (captures / f"{seed}.jpg").write_bytes(jpeg(seed))
    assert run(tmp_path, "captures", model=tiny_model).returncode == 0
    (captures / "new.jpg").write_bytes(jpeg(9))
    (captures / "half.jpg").write_bytes(jpeg(10)[:-9])
    command = [sys.executable, "-m", "edge.commands.classify", "--watch", "captures", "--model", str(tiny_model)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stderr is not None
        assert "  a/new.jpg  " in daemon.stdout.readline()
        for line in daemon.stderr:
            if "half.jpg: incomplete (truncated), it is tried again" in line:
                break
        daemon.send_signal(signal.SIGINT)
        _, said = daemon.communicate(timeout=60)
    assert daemon.returncode == 0
    assert "INFO 1 new, 3 already logged, 1 waiting in " in said.splitlines()[-1]


def test_worker_processes_log_the_same(tmp_path: Path, tiny_model: Path) -> None:
    for seed in range(20):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed % 15))
    (tmp_path / "half.jpg").write_bytes(jpeg(99)[:500])
    answers = (
        "SELECT digest, taxon, kind, o.reason, round(confidence, 6) FROM media m JOIN observation o ON o.media = m.id"
    )
    found = []
    for workers in ("0", "2"):
        done = run(
            tmp_path, *sorted(tmp_path.glob("*.jpg")), "--workers", workers, "--db", f"{workers}.db", model=tiny_model
        )
        assert done.returncode == 1, done.stderr
        (tmp_path / "detections.db").unlink(missing_ok=True)
        (tmp_path / f"{workers}.db").rename(tmp_path / "detections.db")
        found.append(sorted(rows(tmp_path, answers), key=str))
    assert len(found[0]) == 15
    assert found[0] == found[1]


def test_version_and_help_answer(tmp_path: Path) -> None:
    version = run(tmp_path, "--version")
    assert version.returncode == 0
    assert version.stdout.startswith("edge-classify ")
    help_ = run(tmp_path, "--help").stdout
    assert "exit codes" in help_
    assert "--watch" in help_
