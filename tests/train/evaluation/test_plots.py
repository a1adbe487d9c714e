"""What is written on the images can be read: it fits, and is drawn as it stands."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from train.evaluation.calibration import reliability
from train.evaluation.gallery import Tile, draw_gallery
from train.evaluation.plots import draw_confusion, draw_reliability, shortened, text_width_in

LONG = "American_Three_toed_Woodpecker"
GREY = np.full((16, 16, 3), 90, np.uint8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures instead of files."""
    figures: list[Figure] = []

    def kept(figure: Figure, path: Path, dpi: int = 110) -> None:
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        figures.append(figure)

    monkeypatch.setattr("train.evaluation.plots.save", kept)
    monkeypatch.setattr("train.evaluation.gallery.save", kept)
    return figures


def none_overlap(texts: list[Text]) -> bool:
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])


@pytest.mark.parametrize(("count", "most"), [(2, 9), (13, 123456), (26, 9)])
def test_a_confusion_table_can_be_read(drawn: list[Figure], tmp_path: Path, count: int, most: int) -> None:
    draw_confusion(np.full((count, count), most), [f"{LONG}_{n}" for n in range(count)], tmp_path / "x.png")
    axes = drawn[0].axes[0]
    for names in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert len(names) == count
        assert none_overlap(names)
        assert all(float(name.get_fontsize()) >= 7 for name in names)
        assert all(drawn[0].bbox.containsx(x) for name in names for x in name.get_window_extent().intervalx)
        assert all(drawn[0].bbox.containsy(y) for name in names for y in name.get_window_extent().intervaly)
    assert len(axes.texts) == (count**2 if count <= 25 else 0)
    assert none_overlap(list(axes.texts[: 2 * count]))


def test_a_confusion_table_of_very_many_labels_is_no_larger(drawn: list[Figure], tmp_path: Path) -> None:
    draw_confusion(np.eye(300, dtype=np.int64), [f"{LONG}_{n}" for n in range(300)], tmp_path / "x.png")
    assert max(drawn[0].get_size_inches()) < 30
    assert len(drawn[0].axes[0].get_xticks()) == 0


def test_captions_stay_above_their_image(drawn: list[Figure], tmp_path: Path) -> None:
    captions = [f"{LONG} 1%\nis {LONG}s_of_the_far_and_farther_north", "W" * 40, "kob 3%"] * 2
    draw_gallery([Tile(GREY, caption, None) for caption in captions], tmp_path / "x.png", "Held out")
    titles = [axes.title for axes in drawn[0].axes]
    assert none_overlap(titles)
    assert titles[0].get_text().split("\n")[0].endswith("Woodpecker 1%")
    assert titles[2].get_text() == "kob 3%"


def test_the_middle_of_a_text_is_left_out_as_far_as_needed() -> None:
    assert shortened(LONG, 9, 8) == LONG
    short = shortened(LONG, 1, 8)
    assert 0.8 < text_width_in(short, 8) <= 1
    assert short.startswith("Americ")
    assert short.endswith("pecker")


def test_a_page_without_mistakes_says_so(drawn: list[Figure], tmp_path: Path) -> None:
    draw_gallery([], tmp_path / "x.png", "The most confident mistakes")
    assert drawn[0].get_suptitle() == "The most confident mistakes: none"


def test_labels_are_drawn_as_they_stand_in_any_script(tmp_path: Path) -> None:
    # Warnings are errors here: a letter that the font lacks gives none.
    labels = ("a$\\x$", "$b$", "\N{CJK UNIFIED IDEOGRAPH-6591}")
    draw_confusion(np.eye(3, dtype=np.int64), labels, tmp_path / "confusion.png")
    draw_gallery([Tile(GREY, label, True) for label in labels], tmp_path / "gallery.png", "a$\\x$")
    assert (tmp_path / "confusion.png").stat().st_size > 1000 < (tmp_path / "gallery.png").stat().st_size


def test_dots_on_the_frame_of_a_reliability_diagram_are_whole(drawn: list[Figure], tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    draw_reliability(reliability(probabilities, np.array([0, 1])), tmp_path / "x.png")
    (dots,) = (item for item in drawn[0].axes[0].collections if isinstance(item, PathCollection))
    assert not dots.get_clip_on()
