"""What `edge-report` tells the user beside the report itself."""

from pathlib import Path

import pytest

from edge.commands.report import main
from tests.support.database_by_hand import ByHand


@pytest.fixture
def database(tmp_path: Path) -> Path:
    made = ByHand(tmp_path / "d.db")
    made.deployment("ford")
    for minute in range(3):
        made.frame(minute * 60, "lion", camera="ford")
    made.frame(9000, "impala", camera="ford")
    made.connection.close()
    return made.path


@pytest.mark.parametrize(
    ("words", "contents"),
    [
        (["csv"], "4 lines"),
        (["events"], "2 events"),
        (["jsonl"], "4 lines"),
        (["html"], "4 frames"),
        (["megadetector"], "4 frames"),
        (["wildlife-insights"], "4 lines of images"),
        (["detection-history"], "2 taxa"),
        (["activity", "--min-events", "1", "--replicates", "5"], "2 species"),
        (["digest", "--since", "2026-05-01", "--until", "2026-05-01"], "1 line"),
    ],
)
def test_tells_what_was_written_unless_quiet(
    words: list[str], contents: str, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*words, "--db", str(database), "--out", str(out)]) == 0
    assert capsys.readouterr() == ("", f"edge-report: wrote {out} ({contents})\n")
    assert main([*words, "--db", str(database), "--out", str(out), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_tells_nothing_beside_a_report_on_standard_output(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["csv", "--db", str(database)]) == 0
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (5, "")


def test_health_still_says_what_was_written_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ByHand(tmp_path / "d.db")
    for i in range(30):
        made.frame(i * 5000, "lion", doubt="before_2005")
    assert main(["health", "--db", str(made.path), "--out", str(tmp_path / "health.txt")]) == 1
    assert "wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lyon", "did you mean lion?"),
        ("panthera le", "did you mean Panthera leo"),
        ("zebra", "did you mean plains zebra?"),
        ("xyzzy", "`edge-report csv` lists the scientific and common names"),
    ],
)
def test_a_name_of_no_taxon_is_refused_with_the_nearest(
    name: str, hint: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["csv", "--db", str(database), "--species", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"edge-report: no taxon is called {name!r} here; {hint}")
    assert err.count("\n") == 1


def test_a_taxon_without_frames_gives_the_header_and_a_line(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["csv", "--db", str(database), "--species", "Leopard"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("deployment,captured_at,")
    assert out.count("\n") == 1
    assert err == "edge-report: no frame matches: species Leopard\n"


def test_the_configuration_is_read_strictly(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "study.toml"
    config.write_text("[deployment.ford]\nlattitude = 3\n")
    assert main(["csv", "--db", str(database), "--config", str(config)]) == 2
    assert "did you mean latitude" in capsys.readouterr().err
    config.write_text('[deployment.ford]\ntime_zone = "Africa/Nairobbi"\n')
    assert main(["csv", "--db", str(database), "--config", str(config)]) == 2
    assert "Africa/Nairobbi" in capsys.readouterr().err


def test_a_stored_zone_that_is_not_known_gives_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ByHand(tmp_path / "d.db", zone="Mars/Olympus")
    made.frame(0, "lion")
    assert main(["events", "--db", str(made.path)]) == 0
    out, err = capsys.readouterr()
    assert "2026-05-01T06:00:00+00:00" in out
    assert err.count("\n") == 1
    assert "the time zone 'Mars/Olympus' of the database is not known here" in err


def test_a_zone_flag_that_is_not_known_is_refused(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["csv", "--db", str(database), "--time-zone", "Mars/Olympus"])
    assert ended.value.code == 2
    assert "Mars/Olympus" in capsys.readouterr().err
