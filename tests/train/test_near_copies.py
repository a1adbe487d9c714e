"""One visit that stands in the data twice is one visit, and labels that contradict each other are found."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.train.made_animals import draw_animal
from train.near_copies import NearCopies, find_near_copies, joined
from train.pixels import PixelSource
from train.prepare import prepare
from train.recipe import load_recipe
from train.sample import Sample

NO_PAIRS = np.empty((0, 2), np.int64)


def test_the_same_scene_is_found_whatever_its_light(tmp_path: Path) -> None:
    scene = draw_animal("disc", np.random.default_rng(1), 96)
    other = draw_animal("bar", np.random.default_rng(2), 96)
    dim = (scene * 0.4 + 20).astype(np.uint8)
    samples = []
    for name, pixels in (("a", scene), ("b", other), ("c", dim)):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), pixels)
        samples.append(Sample(tmp_path / f"{name}.jpg", name))
    assert find_near_copies(samples, PixelSource(48)).pairs.tolist() == [[0, 2]]


def test_the_label_of_most_near_copies_stands() -> None:
    copies = NearCopies(np.array([[0, 1], [0, 2], [1, 2], [3, 4]]))
    assert copies.contradicted(["bushbuck", "bushbuck", "impala", "zebra", "zebra", "impala"]) == (2,)
    assert copies.contradicted(["bushbuck", "bushbuck", "bushbuck", "zebra", "impala", "impala"]) == (3, 4)
    assert NearCopies(NO_PAIRS).contradicted(["a", "b"]) == ()


def test_visits_with_near_copies_are_one_and_places_likewise() -> None:
    samples = [
        Sample(Path(f"{n}.jpg"), "x", location=place, sequence=visit)
        for n, (place, visit) in enumerate([("s1", "1"), ("s2", "2"), ("s2", "3"), ("", ""), ("s4", "4")])
    ]
    joint = joined(samples, NearCopies(np.array([[0, 1], [3, 4]])))
    assert [sample.sequence for sample in joint] == ["1+2", "1+2", "3", "3.jpg+4", "3.jpg+4"]
    assert [sample.location for sample in joint] == ["s1+s2", "s1+s2", "s1+s2", "", "s4"]
    assert joined(samples, NearCopies(NO_PAIRS)) == tuple(samples)


@pytest.mark.parametrize("does", ["warn", "join"])
def test_a_recipe_says_what_is_done(does: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, rows = np.random.default_rng(0), ["path,label,site,event"]
    pictures = [draw_animal(label, rng) for label in ("disc", "disc", "bar", "bar")]
    pictures += [pictures[0], pictures[0] // 2]  # the first visit again, one of it under another name
    for number, (pixels, label) in enumerate(zip(pictures, ("disc", "disc", "bar", "bar", "disc", "bar"), strict=True)):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), pixels)
        rows.append(f"{number}.jpg,{label},s{number},{number}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    contradicted = {"warn": "keep", "join": "leave_out"}[does]
    recipe = load_recipe(
        "porini-plain",
        ["data.min_side_px=0", "data.taxa=''", f"data.near_copies={does}", f"data.contradicted={contradicted}"],
    )
    prepared = prepare(tmp_path / "manifest.csv", "auto", recipe, False)
    said = capsys.readouterr().err
    if does == "warn":
        assert len(prepared.samples) == 6
        assert "warning: 1 samples have another label" in said
        assert "warning: 3 samples have near copies in another sequence" in said
    else:
        assert [sample.path.name for sample in prepared.samples] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]
        assert {sample.sequence for sample in prepared.samples} == {"0+4+5", "1", "2", "3"}
        assert "5.jpg: its near copies are not bar" in said
