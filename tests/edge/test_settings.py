"""What a configuration file may say, and what is said of one that cannot be meant."""

from argparse import Namespace
from pathlib import Path

import pytest

from edge.settings import Settings, SettingsError, read_settings

RIDGE = '[deployment.ridge]\nfolder = "/srv/captures/ridge"\nlatitude = 40.4\nlongitude = -3.7\n'
FORD = '[deployment.ford]\nfolder = "/srv/captures/ridge/ford"\n'


def read(folder: Path, text: str, **flags: object) -> Settings:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return read_settings(Namespace(config=path, **flags))


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, 'watch = "/srv/captures"\nsettle_s = 5\n', settle_s=1.0)
    assert (settings.watch, settings.settle_s) == (Path("/srv/captures"), 1.0)


def test_a_frame_belongs_to_the_camera_whose_folder_holds_it_most_closely(tmp_path: Path) -> None:
    settings = read(tmp_path, RIDGE + FORD)
    found = {name: settings.deployment_of(Path("/srv/captures") / name) for name in ("ridge/1.jpg", "ridge/ford/1.jpg")}
    assert {name: deployment and deployment.id for name, deployment in found.items()} == {
        "ridge/1.jpg": "ridge",
        "ridge/ford/1.jpg": "ford",
    }
    assert settings.deployment_of(Path("/srv/captures/1.jpg")) is None


def test_the_flag_chooses_one_of_the_tables(tmp_path: Path) -> None:
    settings = read(tmp_path, RIDGE + FORD, deployment="ridge")
    chosen = settings.deployment_of(Path("/anywhere/1.jpg"))
    assert chosen is not None
    assert (chosen.id, chosen.latitude) == ("ridge", 40.4)


@pytest.mark.parametrize("table", [RIDGE, "[deployment]\nridge = { latitude = 40.4 }\n"])
def test_one_camera_as_a_key_and_cameras_as_tables_are_told_apart(tmp_path: Path, table: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, f'watch = "/srv/captures"\ndeployment = "ridge"\n\n{table}')
    said = str(refused.value)
    assert "`deployment = ...` and tables [deployment.ID] cannot stand in one TOML file" in said
    assert "leave out the key" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('watch = "/srv', "not valid TOML"),
        ('deployment = "ridge"\nwatch = "/srv', "not valid TOML"),
        ('wotch = "/srv"', "key 'wotch' is not known"),
        ('settle_s = "long"', "settle_s is 'long'"),
        ('[deployment]\nid = "ridge"', "tables such as [deployment.ridge-3]"),
        ("[deployment.ridge]\nlattitude = 1", "unknown key 'lattitude'"),
        ("[deployment.ridge]\nlatitude = 91", "expected -90 to 90 degrees"),
        ("latitude = 1.0", "name it with --deployment ID"),
        ("[thresholds]\nspecies = 'high'", "[thresholds] holds numbers"),
        ('time_zone = "Europe/Nowhere"', "Europe/Nowhere"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"watch = '\xff'\n")
    with pytest.raises(SettingsError, match="save it as UTF-8"):
        read_settings(Namespace(config=tmp_path / "config.toml"))
