from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.made_animals import LABELS
from train.data.readers import read_dataset
from train.data.sample import Box, DataError, Dataset, Sample
from train.data.validate import Problem, find_problems, problem_report, without_problems


@pytest.fixture
def broken(animals: Path, tmp_path: Path) -> Dataset:
    """36 good images, one cut short, one missing, one of a stranger, one alone of its label, one twice."""
    dataset = read_dataset(animals)
    good = dataset.samples[0]
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.path.read_bytes()[:-200])
    others = []
    for number, sample in enumerate(dataset.samples[1:4]):
        others.append(tmp_path / f"other-{number}.jpg")
        others[-1].write_bytes(sample.path.read_bytes())
    extra = (
        replace(good, path=cut),
        replace(good, path=tmp_path / "missing.jpg"),
        Sample(others[0], "stranger"),
        Sample(others[1], "stranger"),
        Sample(others[2], "lonely"),
        good,
    )
    return replace(dataset, samples=dataset.samples + extra, problems=("line 9: no label",))


def test_every_fault_is_listed_and_counted(broken: Dataset) -> None:
    problems = find_problems(broken, {*LABELS, "lonely"})
    assert sorted(problem.kind for problem in problems) == sorted(
        ["bad_row", "unreadable", "missing_file", *["label_not_in_table"] * 2, "twice", "one_image_class"]
    )
    text = problem_report(problems)
    assert "cut.jpg" in text
    assert problem_report([Problem("bad_row", "a", "b")]).endswith("\n1 problem: 1 bad_row")
    assert text.splitlines()[-1].startswith("7 problems: 1 bad_row, 2 label_not_in_table")


def test_faults_stop_unless_they_are_to_be_skipped(broken: Dataset) -> None:
    problems = find_problems(broken, {*LABELS, "lonely"})
    with pytest.raises(DataError, match="--skip-bad"):
        without_problems(broken, problems, skip=False)
    left = without_problems(broken, problems, skip=True)
    assert len(left.samples) == 36
    assert find_problems(left, LABELS) == ()


def test_boxes_of_two_labels_are_two_images_only_where_they_are_cut_out(animals: Path) -> None:
    dataset = read_dataset(animals)
    left, right = Box(0.0, 0.0, 0.4, 1.0), Box(0.5, 0.0, 0.4, 1.0)
    frame = dataset.samples[0]
    boxed = [replace(frame, box=left), replace(frame, label="bar", box=right)]

    def kinds(samples: list[Sample], cut_out: bool) -> list[str]:
        data = replace(dataset, samples=(*samples, *dataset.samples[1:]))
        problems = find_problems(data, None, cut_out)
        kept = without_problems(data, problems, skip=True).samples if problems else data.samples
        assert (frame.path in {sample.path for sample in kept}) == (not problems)
        return [problem.kind for problem in problems]

    assert kinds(boxed, cut_out=True) == []
    assert kinds(boxed, cut_out=False) == ["two_labels"]
    assert kinds([replace(sample, box=left) for sample in boxed], cut_out=True) == ["two_labels"]
    assert kinds([boxed[0], replace(boxed[1], box=None)], cut_out=True) == ["two_labels"]
    assert kinds([boxed[0], replace(boxed[0], box=right)], cut_out=False) == []  # a herd
    text = problem_report(find_problems(replace(dataset, samples=(*boxed, *dataset.samples[1:]))))
    assert "bar and disc in one frame" in text


@pytest.mark.parametrize("boxes", [(None, None), (Box(0.0, 0.0, 0.4, 1.0), Box(0.5, 0.0, 0.4, 1.0))])
def test_one_image_is_one_however_often_it_is_listed(animals: Path, boxes: tuple[Box | None, Box | None]) -> None:
    dataset = read_dataset(animals)
    rows = [replace(dataset.samples[0], label="lonely", box=box) for box in boxes]
    data = replace(dataset, samples=(*rows, *dataset.samples[1:]))
    problems = find_problems(data, None, True)
    assert "one_image_class" in {problem.kind for problem in problems}
    assert "lonely" not in without_problems(data, problems, skip=True).labels()


def test_good_data_has_no_faults(animals: Path) -> None:
    assert find_problems(read_dataset(animals)) == ()
