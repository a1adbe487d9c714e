"""Mutated packages, JSON files and tables through `edge-db import`: named and left out, or refused in one line."""

import json
import os
import random
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.commands.db import main
from tests.support.daemon_process import Tally
from tests.support.database_by_hand import ByHand
from tests.support.requirements import LONG

SEED = 22
CASES = 5000 if LONG else 240
HANG_S = 5.0
MOST_LINES = 120
FRAMES = 40

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 2, 1e308, 10**30, 2**63, 0.5, float("nan"), float("inf"), -float("inf")),
    *("", " ", "\x00", "\x1b[31mred", "a\nb", "\u202egnp.a", "\ud800", "=cmd|'/C calc'!A0", "é" * 300, "x" * 200_000),
    *([], {}, [[]], [None] * 2000, {"a": {"b": [1]}}, "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"),
]


def _deep(levels: int) -> Any:
    nested: Any = 1
    for _ in range(levels):
        nested = [nested]
    return nested


def megadetector(chance: random.Random) -> dict[str, Any]:
    images = [
        {
            "file": f"A/IMG_{n:04d}.JPG",
            "detections": [
                {"category": chance.choice("123"), "conf": round(chance.random(), 3), "bbox": [0.1, 0.2, 0.3, 0.4]}
                for _ in range(chance.randrange(4))
            ],
        }
        for n in range(1, FRAMES + 1)
    ]
    info = {"detector": "md_v5a.0.0.pt", "detector_metadata": {"megadetector_version": "v5a.0.0"}}
    return {"info": info, "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"}, "images": images}


def speciesnet(chance: random.Random) -> dict[str, Any]:
    label = "u;mammalia;carnivora;felidae;panthera;leo;lion"
    found = [
        {
            "filepath": f"A/IMG_{n:04d}.JPG",
            "classifications": {"classes": [label, label], "scores": [0.8, 0.1]},
            "detections": [{"category": "1", "label": "animal", "conf": 0.9, "bbox": [0, 0, 1, 1]}],
            "prediction": label,
            "prediction_score": round(chance.random(), 3),
            "prediction_source": "classifier+rollup_to_species",
            "model_version": "4.0.1a",
        }
        for n in range(1, FRAMES + 1)
    ]
    return {"predictions": found}


def labels(chance: random.Random) -> list[list[Any]]:
    names = ["lion", "Panthera leo", "blank", "zebra", "human", "lions?"]
    rows = [[f"A/IMG_{n:04d}.JPG", chance.choice(names), n % 4 or "", "male", "seen"] for n in range(1, FRAMES + 1)]
    return [["file", "species", "count", "sex", "note"], *rows]


MEDIA = ["mediaID", "deploymentID", "timestamp", "filePath", "fileName"]
OBSERVATIONS = ["observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"]
OBSERVATIONS += ["observationType", "scientificName", "count", "bboxX", "bboxY", "bboxWidth", "bboxHeight"]
OBSERVATIONS += ["classificationMethod", "classifiedBy", "classificationTimestamp", "classificationProbability"]


def package(chance: random.Random) -> tuple[list[list[Any]], list[list[Any]], Any]:
    media: list[list[Any]] = [MEDIA]
    observations: list[list[Any]] = [OBSERVATIONS]
    for n in range(1, FRAMES + 1):
        at, start = f"2026-05-01T06:{n:02d}:00Z", "2026-05-01T06:00:00Z"
        media.append([f"m{n}", "A", at, f"A/IMG_{n:04d}.JPG", f"IMG_{n:04d}.JPG"])
        of = [f"m{n}", "", "", "", "media"] if n % 5 else ["", f"e{n}", start, "2026-05-01T06:30:00+00:00", "event"]
        box = [0.1, 0.2, 0.3, 0.4] if n % 3 else [""] * 4
        what = chance.choice(["animal", "blank", "human"])
        said = [chance.choice(["human", "human", "machine"]), "Ana", "2026-06-01T00:00:00+02:00", 0.9]
        observations.append([f"o{n}", "A", *of, what, "Panthera leo", n % 3 or "", *box, *said])
    names = [{"scientificName": "Panthera leo", "taxonRank": "species", "vernacularNames": {"eng": "lion"}}]
    return media, observations, {"taxonomic": names}


def _mutate_tree(tree: Any, chance: random.Random) -> Any:
    """Replace, remove or double one node of a JSON document."""
    nodes: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        places = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for place in places:
            nodes.append((node, place))
            waiting.append(node[place])
    node, place = chance.choice(nodes)
    match chance.randrange(8):
        case 0:
            del node[place]
        case 1 if isinstance(node, list):
            node.append(node[place])
        case 2:
            node[place] = _deep(chance.choice([50, 300]))
        case 3:
            other, there = chance.choice(nodes)
            node[place] = json.loads(json.dumps(other[there]))
        case _:
            node[place] = chance.choice(HOSTILE)
    return tree


def _mutate_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat or insert."""
    mutant, at = bytearray(content), chance.randrange(len(content))
    match chance.randrange(7):
        case 0:
            mutant[at] ^= 1 << chance.randrange(8)
        case 1:
            del mutant[at:]
        case 2:
            del mutant[at : at + chance.randrange(1, 200)]
        case 3:
            mutant[at:at] = chance.choice([b"NaN", b"-Infinity", b"\x00", b"\xff\xfe", b'"', b"\n", b",", b"\r", b"{"])
        case 4:
            mutant[at:at] = chance.choice([b"[", b"(", b'{"a":']) * 100_000
        case 5:
            mutant = bytearray(chance.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]) + content)
        case _:
            mutant[at:at] = content[: chance.randrange(len(content))]
    return bytes(mutant)


def _mutate_table(table: list[list[Any]], chance: random.Random) -> list[list[Any]]:
    for _ in range(chance.randrange(1, 4)):
        row = chance.randrange(len(table))
        match chance.randrange(8):
            case 0:
                del table[row]
                table = table or [["a"]]
            case 1:
                table[row] = table[row] * 2
            case 2:
                table[row] = table[row][: chance.randrange(len(table[row]) + 1)]
            case 3:
                column = chance.randrange(len(table[0]) or 1)
                table = [[v for i, v in enumerate(line) if i != column] for line in table]
            case 4:
                table += [list(table[row]) for _ in range(300)]
            case _:
                line = table[row]
                if line:
                    line[chance.randrange(len(line))] = chance.choice(HOSTILE)
    return table


def _table_bytes(table: list[list[Any]], chance: random.Random) -> bytes:
    sign = chance.choice(",,,;\t")

    def cell(value: Any) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if chance.random() < 0.2 or sign in text or "\n" in text else text

    text = "\n".join(sign.join(map(cell, line)) for line in table) + "\n"
    return text.encode("utf-8", "surrogatepass")


def _json_bytes(document: Any) -> bytes:
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _mutated(content: bytes, chance: random.Random) -> bytes:
    return _mutate_bytes(content, chance) if content and chance.random() < 0.4 else content


def _json_case(folder: Path, chance: random.Random, make: Callable[[random.Random], Any]) -> Path:
    document = make(chance)
    for _ in range(chance.randrange(1, 4)):
        document = _mutate_tree(document, chance)
    file = folder / "found.json"
    file.write_bytes(_mutated(_json_bytes(document), chance))
    return file


def _labels_case(folder: Path, chance: random.Random) -> Path:
    file = folder / "labels.csv"
    file.write_bytes(_mutated(_table_bytes(_mutate_table(labels(chance), chance), chance), chance))
    return file


def _package_case(folder: Path, chance: random.Random) -> Path:
    media, observations, metadata = package(chance)
    which = chance.randrange(3)
    media = _mutate_table(media, chance) if which == 0 else media
    observations = _mutate_table(observations, chance) if which == 1 else observations
    metadata = _mutate_tree(metadata, chance) if which == 2 else metadata
    members = {
        "media.csv": _table_bytes(media, chance),
        "observations.csv": _table_bytes(observations, chance),
        "datapackage.json": _json_bytes(metadata),
    }
    name = chance.choice(list(members))
    members[name] = _mutated(members[name], chance)
    if chance.random() < 0.05:
        members[name] = b"0" * 30_000_000  # a bomb: a thousandth of it when it is packed
    if chance.random() < 0.05:
        del members[name]
    if chance.random() < 0.3:
        file = folder / "package"
        file.mkdir(exist_ok=True)
        for old in file.iterdir():
            old.unlink()
        for name, content in members.items():
            (file / name).write_bytes(content)
        odd = file / chance.choice(list(members))
        match chance.randrange(20):
            case 0:
                odd.unlink()
                os.mkfifo(odd)
            case 1:
                odd.unlink()
                odd.symlink_to("/dev/zero")
        return file
    file = folder / "package.zip"
    kinds = [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    with zipfile.ZipFile(file, "w", chance.choice(kinds)) as archive:
        for name, content in members.items():
            archive.writestr(chance.choice(["", "", "inner/"]) + name, content)
    if chance.random() < 0.4:
        content = file.read_bytes()
        if chance.random() < 0.5:  # where the directory is, with sizes, methods and flags
            at = content.rfind(b"PK\x01\x02") + chance.randrange(46)
            content = content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
        file.write_bytes(_mutate_bytes(content, chance))
    return file


SORTS: dict[str, Callable[[Path, random.Random], Path]] = {
    "megadetector": lambda folder, chance: _json_case(folder, chance, megadetector),
    "speciesnet": lambda folder, chance: _json_case(folder, chance, speciesnet),
    "labels": _labels_case,
    "camtrap-dp": _package_case,
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    made = ByHand(tmp_path / "detections.db")
    for n in range(FRAMES):
        made.frame(60 * n, "lion", path=f"/frames/A/IMG_{n + 1:04d}.JPG", camera=None)
    made.connection.close()
    return made.path


@pytest.mark.parametrize("name", SORTS)
def test_mutated_imports(
    name: str,
    tmp_path: Path,
    database: Path,
    capsys: pytest.CaptureFixture[str],
    report: Callable[[Tally], None],
) -> None:
    pristine = database.read_bytes()
    codes = [0, 0, 0]
    slowest = 0.0
    for number in range(CASES // len(SORTS)):
        chance = random.Random(f"{SEED} {name} {number}")
        file = SORTS[name](tmp_path, chance)
        if number % 20 == 0:
            database.write_bytes(pristine)
        began = time.perf_counter()
        code = main(["import", name, str(file), "--db", str(database), "--by", "me"])
        slowest = max(slowest, time.perf_counter() - began)
        out, err = capsys.readouterr()
        lines = (out + err).splitlines()
        assert code in (0, 1, 2), (number, code)
        assert code == 0 or err, number
        assert len(lines) <= MOST_LINES, number
        assert all(line.isprintable() and len(line) < 2000 for line in lines), (number, lines)
        assert slowest < HANG_S, number
        codes[code] += 1
    assert codes[1]
    assert codes[2]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    note = f"seed {SEED}; {codes[0]} whole, {codes[1]} in part, {codes[2]} refused; slowest {slowest:.1f} s"
    report(Tally(f"mutated imports: {name}", sum(codes), sum(codes), 0, 0, f"{note}; at most {peak_mb:.0f} MB"))
