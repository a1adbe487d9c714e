"""One event that stands in the data twice is one event, and labels that contradict each other are found."""

import tracemalloc
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.made_animals import draw_animal
from train.data.image_cache import PixelSource
from train.data.near_duplicates import NearDuplicates, find_near_duplicates, join_near_duplicates
from train.data.prepare import prepare
from train.data.sample import Sample
from train.recipe import load_recipe


def duplicates_of(count: int, *pairs: tuple[int, int]) -> NearDuplicates:
    alike = np.zeros((count, count), bool)
    for pair in pairs:
        alike[pair] = True
    return NearDuplicates(np.packbits(alike, axis=1))


def pairs(duplicates: NearDuplicates) -> list[tuple[int, int]]:
    return [
        (part.start + one, other) for part, alike in duplicates.rows() for one, other in np.argwhere(alike).tolist()
    ]


def test_the_same_scene_is_found_whatever_its_light(tmp_path: Path) -> None:
    scene = draw_animal("disc", np.random.default_rng(1), 96)
    other = draw_animal("bar", np.random.default_rng(2), 96)
    dim = (scene * 0.4 + 20).astype(np.uint8)
    samples = []
    for name, pixels in (("a", scene), ("b", other), ("c", dim)):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), pixels)
        samples.append(Sample(tmp_path / f"{name}.jpg", name))
    assert pairs(find_near_duplicates(samples, PixelSource(48))) == [(0, 2), (2, 0)]


def test_the_label_of_most_near_duplicates_stands() -> None:
    duplicates = duplicates_of(6, (0, 1), (0, 2), (1, 2), (3, 4))
    assert duplicates.contradicted(["bushbuck", "bushbuck", "impala", "zebra", "zebra", "impala"]) == (2,)
    assert duplicates.contradicted(["bushbuck", "bushbuck", "bushbuck", "zebra", "impala", "impala"]) == (3, 4)
    assert duplicates_of(2).contradicted(["a", "b"]) == ()


def test_events_with_near_duplicates_are_one_and_places_likewise() -> None:
    samples = [
        Sample(Path(f"{n}.jpg"), "x", location=place, sequence=event)
        for n, (place, event) in enumerate([("s1", "1"), ("s2", "2"), ("s2", "3"), ("", ""), ("s4", "4")])
    ]
    joint = join_near_duplicates(samples, duplicates_of(5, (0, 1), (3, 4)))
    assert [sample.sequence for sample in joint] == ["1+2", "1+2", "3", "3.jpg+4", "3.jpg+4"]
    assert [sample.location for sample in joint] == ["s1+s2", "s1+s2", "s1+s2", "", "s4"]
    assert join_near_duplicates(samples, duplicates_of(5)) == tuple(samples)


def test_many_pairs_give_what_each_of_them_says() -> None:
    rng = np.random.default_rng(0)
    count = 300  # more than are looked at together, and no multiple of eight
    alike = np.triu(rng.random((count, count)) < 0.004, 1)
    duplicates = NearDuplicates(np.packbits(alike, axis=1))
    labels = [str(n) for n in rng.integers(0, 3, count)]
    groups = ["" if n == 0 else str(n) for n in rng.integers(0, 200, count)]
    either = alike | alike.T
    assert sorted(pairs(duplicates)) == [tuple(pair) for pair in np.argwhere(either).tolist()]
    votes = [Counter([labels[place], *(labels[n] for n in np.flatnonzero(either[place]))]) for place in range(count)]
    assert duplicates.contradicted(labels) == tuple(
        place
        for place in range(count)
        if any(votes[place][label] >= votes[place][labels[place]] for label in votes[place] if label != labels[place])
    )
    assert duplicates.across(groups) == sum(
        any(groups[n] != groups[place] for n in np.flatnonzero(either[place])) for place in range(count)
    )
    together = {group: {group} for group in groups if group}
    for one, other in np.argwhere(alike).tolist():
        if groups[one] and groups[other]:
            joint = together[groups[one]] | together[groups[other]]
            together |= dict.fromkeys(joint, joint)
    samples = [Sample(Path(f"{n}.jpg"), "x", location=group) for n, group in enumerate(groups)]
    expected = ["+".join(sorted(together[group])) if group else "" for group in groups]
    assert [sample.location for sample in join_near_duplicates(samples, duplicates)] == expected


def test_frames_that_are_all_alike_cost_little() -> None:
    count = 2000  # two million pairs
    duplicates = NearDuplicates(np.packbits(np.triu(np.ones((count, count), bool), 1), axis=1))
    groups = [str(n) for n in range(count)]
    samples = [Sample(Path(f"{n}.jpg"), "x", location=group) for n, group in enumerate(groups)]
    tracemalloc.start()
    assert duplicates.contradicted(["a"] * 900 + ["b"] * 1100) == tuple(range(900))
    assert duplicates.across(groups) == count
    assert len({sample.location for sample in join_near_duplicates(samples, duplicates)}) == 1
    most_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most_bytes < 16e6  # a list of the pairs alone has 32 MB


@pytest.mark.parametrize("does", ["warn", "join"])
def test_a_recipe_says_what_is_done(does: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, rows = np.random.default_rng(0), ["path,label,site,event"]
    images = [draw_animal(label, rng) for label in ("disc", "disc", "bar", "bar")]
    images += [images[0], images[0] // 2]  # the first event again, one of it under another name
    for number, (pixels, label) in enumerate(zip(images, ("disc", "disc", "bar", "bar", "disc", "bar"), strict=True)):
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
        assert "warning: 3 samples have near duplicates in another sequence" in said
    else:
        assert [sample.path.name for sample in prepared.samples] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]
        assert {sample.sequence for sample in prepared.samples} == {"0+4+5", "1", "2", "3"}
        assert "5.jpg: its near duplicates are not bar" in said
