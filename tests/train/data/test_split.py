from dataclasses import replace
from pathlib import Path

import pytest

from train.data.sample import DataError, Sample
from train.data.split import Fold, folds, leak_warnings


def samples(count: int = 60) -> list[Sample]:
    return [
        Sample(Path(f"{n}.jpg"), "ab"[n % 2], location=f"s{n % 10}", sequence=f"s{n % 10}-{n // 20}")
        for n in range(count)
    ]


@pytest.mark.parametrize(("by", "field"), [("location", "location"), ("sequence", "sequence")])
def test_no_group_is_on_both_sides_and_every_sample_is_tested_once(by: str, field: str) -> None:
    data = samples()
    tested: list[int] = []
    for fold in folds(data, by, 5, seed=3):  # type: ignore[arg-type]
        assert not any(f"{field}s are in both" in warning for warning in leak_warnings(data, fold, "image"))
        assert {data[place].label for place in fold.test} == {"a", "b"}
        tested += fold.test
    assert sorted(tested) == list(range(len(data)))


def test_the_seed_decides_the_split() -> None:
    assert folds(samples(), "location", 5, 1) == folds(samples(), "location", 5, 1)
    assert folds(samples(), "location", 5, 1) != folds(samples(), "location", 5, 2)


def test_a_split_by_image_is_told_to_leak() -> None:
    data = samples()
    (fold, *_) = folds(data, "image", 2, 0)
    warnings = list(leak_warnings(data, fold, "image"))
    assert any("sequences are in both" in warning for warning in warnings)
    assert any("locations are in both" in warning for warning in warnings)


def test_boxes_of_one_image_stay_together_even_by_image() -> None:
    data = [Sample(Path(f"{n // 2}.jpg"), "ab"[n % 2]) for n in range(20)]
    for fold in folds(data, "image", 2, 0):
        assert not any("images are in both" in warning for warning in leak_warnings(data, fold, "image"))


def test_events_that_each_place_counts_anew_are_not_shared() -> None:
    data = [Sample(Path(f"{n}.jpg"), "ab"[n % 2], location=f"s{n % 6}", sequence=str(n // 6 % 3)) for n in range(36)]
    for fold in folds(data, "location", 3, 0):
        assert not list(leak_warnings(data, fold, "location"))
    (fold, *_) = folds(data, "image", 3, 0)
    assert any("sequences are in both" in warning for warning in leak_warnings(data, fold, "image"))
    unplaced = [replace(sample, location="") for sample in data]
    assert next(leak_warnings(unplaced, fold, "image")).startswith("3 sequences are in both training and test, e.g. 0:")


def test_unknown_sequences_are_counted_as_doubt() -> None:
    data = [Sample(Path(f"{n}.jpg"), "a") for n in range(4)]
    assert [*leak_warnings(data, Fold((0, 1), (2, 3)), "image")] == [
        "2 test images have neither sequence nor location: a leak cannot be ruled out"
    ]


def test_missing_groups_stop_the_split() -> None:
    with pytest.raises(DataError, match=r"a.jpg has no location; add it to the data, or set data.split=image"):
        folds([Sample(Path("a.jpg"), "a")], "location", 2, 0)
    placed = [replace(sample, sequence="") for sample in samples()]
    with pytest.raises(DataError, match=r"0.jpg has no sequence; add it to the data, or set data.split=location"):
        folds(placed, "sequence", 2, 0)
    with pytest.raises(DataError, match=r"its parts are: learn; set data.split"):
        folds([replace(sample, split="learn") for sample in placed], "official", 1, 0)
    with pytest.raises(DataError, match="fewer than the 20 folds"):
        folds(samples(), "location", 20, 0)
    with pytest.raises(DataError, match="at least two are needed"):
        folds(samples(), "location", 1, 0)
    with pytest.raises(DataError, match="no label has more than 2 samples"):
        folds([Sample(Path(f"{n}.jpg"), "ab"[n % 2]) for n in range(4)], "image", 3, 0)
    with pytest.raises(DataError, match="no official split"):
        folds(samples(), "official", 1, 0)
