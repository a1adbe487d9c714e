"""`manifest.csv`: every column, and what is wrong with a table told in one line."""

from pathlib import Path

import pytest

from tests.support.made_files import close
from train.data.readers import read_dataset
from train.data.sample import DataError


def test_manifest_reads_every_column_and_lists_bad_rows(tmp_path: Path) -> None:
    columns = (
        "path,label,scientificName,site,event,captured_at,split,width_px,height_px,box_x,box_y,box_width,box_height"
    )
    (tmp_path / "manifest.csv").write_text(
        f"{columns},keypoints\n"
        "a.jpg,impala,Aepyceros melampus,s1,7,2020-01-02T03:04:05,train,40,20,0.1,0.2,0.3,0.4,"
        "beak:0.1:0.2 tail:0.5:0.6\n"
        "b.jpg,impala,Aepyceros melampus,s1,7,never,train,40,20,,,,,\n"
        "c.jpg,,,,,,,,,,,,,\n",
        encoding="utf-8",
    )
    dataset = read_dataset(tmp_path)
    (sample,) = dataset.samples
    assert (sample.location, sample.sequence, sample.split, sample.size_px) == ("s1", "7", "train", (40, 20))
    assert sample.captured_at is not None
    assert sample.captured_at.isoformat() == "2020-01-02T03:04:05+00:00"
    assert close(sample.box, (0.1, 0.2, 0.3, 0.4))
    assert [p.name for p in sample.keypoints] == ["beak", "tail"]
    assert dataset.taxa["impala"].genus == "Aepyceros"
    assert [problem.partition(":")[0] for problem in dataset.problems] == ["manifest.csv line 3", "manifest.csv line 4"]


def test_manifest_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path\na.jpg\n")
    with pytest.raises(DataError, match="lacks the column label"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path;label\na.jpg;x\n", "has semicolons between its columns; expected commas"),
        ("label\tsite\tpath\nx\ts1\ta.jpg\n", "has tabs between its columns; expected commas"),
        ("path;site\na.jpg;s1\n", "lacks the column label and path; add it"),
        ("path,label\n", "has no row below its columns; add one"),
        ('path,label,note\na.jpg,x,"cut\nb.jpg,x,\nc.jpg,x,\n', "line 2: .* look for a quote too many"),
        (
            "path,label,captured_at\n" + "a.jpg,x,31.12.2021 17:00\n" * 3,
            "3 cannot be used, e.g. manifest.csv line 2: captured_at '31.12.2021 17:00' is not ISO 8601",
        ),
        ("path,label,width_px,height_px\na.jpg,x,wide,9\n", "line 2: width_px 'wide' is no whole number of pixels"),
        ("path,label,keypoints\na.jpg,x,beak:0.5\n", "line 2: keypoints 'beak:0.5' is not name:x:y"),
        ("path,label\na.jpg,x,y\n", "line 2: it has more cells than there are columns"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_told_in_one_line(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "manifest.csv").write_text(table)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_splits_of_a_manifest_are_read_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,split\na.jpg,x,Train\nb.jpg,x,TEST\n")
    assert [sample.split for sample in read_dataset(tmp_path).samples] == ["train", "test"]


def test_manifest_boxes_in_pixels_are_listed(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,label,box_x,box_y,box_width,box_height\na.jpg,x,0,0,200,150\nb.jpg,x,0.5,0.5,0.505,0.5\nc.jpg,x,0,0,1,\n"
    )
    dataset = read_dataset(tmp_path)
    assert [sample.path.name for sample in dataset.samples] == ["b.jpg"]
    assert close(dataset.samples[0].box, (0.5, 0.5, 0.5, 0.5))
    assert "line 2: box 0 0 200 150 is no part of the frame; fractions 0..1 are expected" in dataset.problems[0]
    assert "line 4: box '0' '0' '1' '' is incomplete" in dataset.problems[1]


def test_manifest_in_another_encoding_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes("path,label\na.jpg,Rüppell\n".encode("latin-1"))
    with pytest.raises(DataError, match="save it as CSV in UTF-8"):
        read_dataset(tmp_path)
