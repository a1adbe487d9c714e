from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.made_animals import LABELS
from train.datasets import read_dataset
from train.faults import find_faults, report_faults, without_faults
from train.sample import DataError, Dataset, Sample


@pytest.fixture
def broken(animals: Path, tmp_path: Path) -> Dataset:
    """36 good images, one cut short, one missing, one of a stranger, one alone of its label, one twice."""
    dataset = read_dataset(animals)
    good = dataset.samples[0]
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.path.read_bytes()[:-200])
    extra = (
        replace(good, path=cut),
        replace(good, path=tmp_path / "missing.jpg"),
        Sample(dataset.samples[1].path, "stranger"),
        Sample(dataset.samples[2].path, "stranger"),
        Sample(dataset.samples[3].path, "lonely"),
        good,
    )
    return replace(dataset, samples=dataset.samples + extra, problems=("line 9: no label",))


def test_every_fault_is_listed_and_counted(broken: Dataset) -> None:
    faults = find_faults(broken, {*LABELS, "lonely"})
    assert sorted(fault.kind for fault in faults) == sorted(
        ["bad_row", "unreadable", "missing_file", *["label_not_in_table"] * 2, "twice", "one_image_class"]
    )
    text = report_faults(faults)
    assert "cut.jpg" in text
    assert text.splitlines()[-1].startswith("7 faults: 1 bad_row, 2 label_not_in_table")


def test_faults_stop_unless_they_are_to_be_skipped(broken: Dataset) -> None:
    faults = find_faults(broken, {*LABELS, "lonely"})
    with pytest.raises(DataError, match="--skip-bad"):
        without_faults(broken, faults, skip=False)
    left = without_faults(broken, faults, skip=True)
    assert len(left.samples) == 36
    assert find_faults(left, LABELS) == ()


def test_good_data_has_no_faults(animals: Path) -> None:
    assert find_faults(read_dataset(animals)) == ()
