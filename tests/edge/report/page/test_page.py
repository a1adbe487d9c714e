"""The page: it escapes hostile names, never shows people, and is sensible with little data."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from edge.commands.report import main
from edge.database.schema import open_database
from tests.support.database_by_hand import ByHand


def page(path: Path, *words: str) -> str:
    out = path.parent / "page.html"
    assert main(["html", "--db", str(path), "--out", str(out), *words]) == 0
    return out.read_text("utf-8")


class Tags(HTMLParser):
    """Names of all elements, addresses, and the number of images without a description."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.undescribed = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names.add(tag)
        self.addresses += [str(given[key]) for key in ("src", "href") if key in given]
        image = tag == "img" and not given.get("alt")
        chart = tag == "svg" and not given.get("aria-label") and given.get("aria-hidden") != "true"
        self.undescribed += image or chart


def test_nothing_hostile_and_nothing_from_elsewhere(awkward: Path) -> None:
    text = page(awkward)
    tags = Tags(text)
    assert "script" not in tags.names
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", text)
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in tags.addresses)
    assert tags.undescribed == 0


def frame_file(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)
    path.write_bytes(simplejpeg.encode_jpeg(np.kron(pixels, np.ones((6, 6, 1), np.uint8)), quality=80))
    return path


def images(text: str) -> int:
    return text.count("data:image/jpeg")


def test_people_are_never_shown(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    paths = [str(frame_file(tmp_path / f"{i}.jpg", i)) for i in range(5)]
    database.frame(0, "human", path=paths[0])
    database.frame(3, "lion", path=paths[1])  # of the same burst
    boxed = database.frame(5000, "lion", path=paths[2])
    database.answer(boxed, "human", subject=1, box=(0.1, 0.1, 0.2, 0.2))
    database.connection.commit() if database.connection.in_transaction else None
    assert images(page(database.path)) == 0
    database.answer(2, "lion", by="Ana")  # a person reviewed the frame, and there is only a lion
    assert images(page(database.path)) == 1
    database.frame(90_000, "impala", path=paths[3])
    assert images(page(database.path)) >= 2
    assert images(page(database.path, "--no-pictures")) == 0


def test_the_page_says_that_a_frame_is_gone(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "lion", path=str(tmp_path / "gone.jpg"))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    database.frame(9000, "impala", path=str(tmp_path / "broken.jpg"))
    text = page(database.path)
    assert "the frame is no longer where it was" in text
    assert "cannot be read now" in text


def test_empty_database(tmp_path: Path) -> None:
    open_database(tmp_path / "d.db").close()
    text = page(tmp_path / "d.db")
    assert "No frame has been classified yet" in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize("seconds", [0, None])
def test_one_frame_without_place_or_zone(tmp_path: Path, seconds: float | None) -> None:
    database = ByHand(tmp_path / "d.db", zone=None)
    database.frame(seconds, "lion", doubt="zone_assumed")
    text = page(database.path)
    assert "No time zone is set; times are shown in UTC, as assumed." in text
    assert "No coordinates are set" in text
    assert ("1 frame has no time" in text) == (seconds is None)
    assert "nan" not in re.sub(r"data:\S+", "", text).lower()


def test_labels_of_people_alone(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for i in range(12):
        frame = database.frame(i * 4000, "blank")
        database.connection.execute("DELETE FROM observation WHERE media = ?", (frame,))
        database.answer(frame, "lion", by="Ana")
    text = page(database.path)
    assert "lion" in text
    assert "nan" not in re.sub(r"data:\S+", "", text).lower()


def test_agreement_with_people(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for i in range(10):
        frame = database.frame(i * 4000, "lion" if i < 8 else "cat family")
        database.answer(frame, "lion" if i != 0 else "leopard", by="Ana")
    text = page(database.path)
    assert "People reviewed 10 of the frames" in text
    assert "the same label in 70 % and a correct higher taxon in 20 %" in text
    assert re.search(r"87?\.?5? ?%|88 %", text)  # precision 7 of 8


def test_clock_doubts_everywhere(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    for i in range(30):
        database.frame(i * 5000, "lion", doubt="before_2005,backwards")
    text = page(database.path)
    assert "period or without a believable time" in text
    assert "30 animal events in the exports are not counted here" in text
    assert "was the clock reset?" in text


def test_a_page_of_yesterday_is_of_yesterday(tmp_path: Path) -> None:
    database = ByHand(tmp_path / "d.db")
    database.frame(0, "lion")
    text = page(database.path, "--since", "yesterday")
    assert "Only since" in text
    assert "lion" not in text
