"""Tables of labels and single labels become acts of the people who wrote them."""

from pathlib import Path

import pytest

from edge.commands.db import main
from edge.database.corrections.label import Label, label_frame
from edge.database.imports.import_result import ImportProblem
from edge.database.imports.labels import import_labels
from edge.database.imports.table_file import BadValue
from tests.support.database_by_hand import ByHand

COUNTED = "SELECT taxon, sex, life_stage, number, classified_by FROM effective_observation ORDER BY media, line"


@pytest.fixture
def database(tmp_path: Path) -> ByHand:
    database = ByHand(tmp_path / "d.db")
    for number, camera in ((1, "A"), (2, "A"), (1, "B")):
        database.frame(number * 5000, "impala", path=f"/cap/{camera}/IMG_{number}.JPG")
    return database


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, database: ByHand, sign: str, encoding: str) -> None:
    rows = (
        "File,Common name,Count,Sex,Life stage,By\r\nA\\img_1.jpg,Plains Zebra,2.0,female,adult,Ana\r\n"
        "A/IMG_1.JPG,plains zebra,1,,juvenile,Ana\r\nA/IMG_2.JPG,empty,0,,,Ana\r\nB/IMG_1.JPG,,,,,Ana\r\n"
    )
    path = table(tmp_path, rows.replace(",", sign), encoding)
    assert import_labels(database.connection, path, "me").describe() == (
        "3 observations for 2 frames, 1 entries passed over"
    )
    said = import_labels(database.connection, path, "me").describe()
    assert said == "3 observations for 2 frames (3 were here already), 1 entries passed over"
    assert database.connection.execute(COUNTED + " LIMIT 3").fetchall() == [
        ("Equus quagga", "female", "adult", 2, "Ana"),
        ("Equus quagga", None, "juvenile", 1, "Ana"),
        (None, None, None, None, "Ana"),
    ]
    assert database.connection.execute("SELECT count FROM event WHERE method = 'human'").fetchall() == [(3,)]


def test_the_headers_of_timelapse(tmp_path: Path, database: ByHand) -> None:
    rows = (
        "RootFolder,File,RelativePath,DateTime,DeleteFlag,Species,Count,Analyst\n"
        'study,IMG_1.JPG,B,2026-05-01 06:00:00,false,"Panthera leo",3,Ben\n'
        "study,IMG_1.JPG,A,2026-05-01 06:00:00,false,,0,Ben\n"
    )
    assert import_labels(database.connection, table(tmp_path, rows), "me").complete
    assert database.connection.execute(
        "SELECT media, taxon, count FROM observation WHERE method = 'human'"
    ).fetchall() == [(3, "Panthera leo", 3)]


def test_bad_rows_are_left_out_and_named(tmp_path: Path, database: ByHand, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        "file,scientific name,rank,count\nA/IMG_1.JPG,Panthera leo,,two\nA/IMG_2.JPG,Panthera leo,,2,6\n"
        "A/IMG_2.JPG,Nyctereutes,,\nB/IMG_1.JPG,Nyctereutes,genus,1\nC/IMG_1.JPG,Panthera leo,,1\n"
    )
    assert main(["import", "labels", str(table(tmp_path, rows)), "--db", str(database.path), "--by", "Ana"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "1 observations for 1 frames, 1 not found here (first: C/IMG_1.JPG), 3 bad rows left out\n"
    assert "labels.csv line 2: count is 'two'; expected a whole number from 1, such as 3" in printed.err
    assert "labels.csv line 3: 5 values; expected 4 as in the header" in printed.err
    assert "labels.csv line 4: no model here knows 'Nyctereutes'" in printed.err
    row = database.connection.execute("SELECT taxon, rank FROM observation WHERE method = 'human'").fetchall()
    assert row == [("Nyctereutes", "genus")]


@pytest.mark.parametrize(
    "content", [b"file,species\nA/IMG_1.JPG,l\xf6we\n", b"a,b\n1,2\n", b"file,species\n\x00,\x00\n"]
)
def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path, database: ByHand, content: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    if b"\x00" in content:
        assert not import_labels(database.connection, tmp_path / "labels.csv", "me").complete
    else:
        with pytest.raises(ImportProblem, match="nothing was imported"):
            import_labels(database.connection, tmp_path / "labels.csv", "me")
    assert database.connection.execute("SELECT count(*) FROM observation WHERE method = 'human'").fetchone() == (0,)


def test_what_is_corrected_in_the_table_counts_and_what_is_corrected_here_stays(
    tmp_path: Path, database: ByHand
) -> None:
    def read(taxon: str) -> str:
        import_labels(database.connection, table(tmp_path, f"file,species\nA/IMG_1.JPG,{taxon}\n"), "Ana")
        (now,) = database.connection.execute("SELECT taxon FROM detections WHERE media = 1").fetchone()
        return str(now)

    assert [read(taxon) for taxon in ("lion", "leopard", "lion")] == ["Panthera leo", "Panthera pardus", "Panthera leo"]
    label_frame(database.connection, Label("A/IMG_1.JPG", "impala", "Ben"))
    assert read("lion") == "Aepyceros melampus"
    assert database.connection.execute("SELECT count(*) FROM observation WHERE method = 'human'").fetchone() == (4,)


def test_one_frame_is_labelled(database: ByHand, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["label", "a/img_2.jpg", "Lion", "--db", str(database.path), "--by", "Ana"]
    assert main([*words, "--count", "2", "--sex", "female", "--life-stage", "adult"]) == 0
    assert capsys.readouterr().out == (
        "/cap/A/IMG_2.JPG: Panthera leo 2 by Ana (before: Aepyceros melampus by made-savanna 1.0)\n"
    )
    assert database.connection.execute(COUNTED + " LIMIT 1 OFFSET 1").fetchone() == (
        "Panthera leo", "female", "adult", 2, "Ana"
    )  # fmt: skip
    assert main(["label", "3", "blank", "--db", str(database.path)]) == 0
    assert database.connection.execute("SELECT kind FROM detections WHERE media = 3").fetchone() == ("blank",)


@pytest.mark.parametrize(
    ("frame", "taxon", "said"),
    [
        ("IMG_1.JPG", "lion", r"means 2 frames \(1: /cap/A/IMG_1.JPG, 3: /cap/B/IMG_1.JPG\)"),
        ("C/IMG_1.JPG", "lion", "no frame is called"),
        ("99", "lion", "no frame is called"),
        ("1", "Giant pangolin", "no model here knows"),
        ("1", "loin", "did you mean lion"),
    ],
)
def test_what_cannot_be_meant_is_refused(database: ByHand, frame: str, taxon: str, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        label_frame(database.connection, Label(frame, taxon, "Ana"))


def test_a_common_name_of_two_taxa_is_refused_with_the_list(database: ByHand) -> None:
    card = 'replace(card, \'"common_name":"leopard"\', \'"common_name":"lion"\')'
    database.connection.execute(f"UPDATE model SET card = {card}")
    with pytest.raises(BadValue, match=r"'lion' means 2 taxa here: Panthera pardus \(species, lion\), Panthera leo"):
        label_frame(database.connection, Label("2", "lion", "Ana"))
    label_frame(database.connection, Label("2", "panthera leo", "Ana"))
