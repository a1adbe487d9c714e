"""A configuration file is read strictly: an error is one line that names the place."""

from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from edge.settings.options import HELP, Options, Settings, read_configuration, read_settings, read_species_list
from edge.settings.strict_toml import SettingsError

RIDGE = '[deployment.ridge]\nfolder = "/srv/captures/ridge"\nlatitude = 40.4\nlongitude = -3.7\n'
FORD = '[deployment.ford]\nfolder = "/srv/captures/ridge/ford"\n'


def read(folder: Path, text: str, **flags: object) -> Settings:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return read_settings(path, flags)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, 'watch = "/srv/captures"\nsettle_s = 5\n', settle_s=1.0)
    assert (settings.watch, settings.settle_s) == (Path("/srv/captures"), 1.0)


def test_a_frame_belongs_to_the_camera_whose_folder_holds_it_most_closely(tmp_path: Path) -> None:
    settings = read(tmp_path, RIDGE + FORD)
    for name, wanted in {"ridge/1.jpg": ["ridge"], "ridge/ford/1.jpg": ["ford"], "1.jpg": []}.items():
        assert [deployment.id for deployment in settings.deployments_for(Path("/srv/captures") / name)] == wanted


def test_cameras_that_share_a_folder_are_told_apart_by_their_periods(tmp_path: Path) -> None:
    text = 'time_zone = "Africa/Nairobi"\n[deployment.dry]\nfolder = "cell"\nend = 2026-04-30\n'
    settings = read(tmp_path, text + '[deployment.wet]\nfolder = "cell"\nstart = 2026-05-01\nend = 2026-05-31\n')

    sharing = settings.deployments_for(tmp_path / "cell" / "1.jpg")

    def at(text: str) -> str | None:
        found = settings.in_period(sharing, datetime.fromisoformat(text))
        return None if found is None else found.id

    times = ("2026-04-30T20:59:59.9Z", "2026-04-30T21:00Z", "2026-05-31T20:59:59.9Z", "2026-05-31T21:00Z")
    assert [at(time) for time in times] == ["dry", "wet", "wet", None]
    assert settings.in_period(sharing, None) is None


def test_a_relative_folder_is_relative_to_the_configuration_file(tmp_path: Path) -> None:
    settings = read(tmp_path, '[deployment.a]\nfolder = "../captures/./a/"\n')
    assert [deployment.folder for deployment in settings.deployments] == [tmp_path.parent / "captures" / "a"]


def test_first_folders_are_cameras_with_one_line(tmp_path: Path) -> None:
    tables = f'[deployment.ford]\nlatitude = 1\n[deployment.hill]\nfolder = "{tmp_path}/captures/ridge/hill"\n'
    settings = read(tmp_path, 'deployment_from = "folder"\n' + tables)
    settings = msgspec.structs.replace(settings, sources=(tmp_path / "captures",))

    def of(path: str) -> tuple[object, ...]:
        found = settings.deployments_for(tmp_path / "captures" / path)
        return tuple(part for one in found for part in (one.id, one.latitude, one.folder))

    captures = tmp_path / "captures"
    assert of("ford/100RECNX/1.jpg") == ("ford", 1, captures / "ford")
    assert of("ridge/1.jpg") == ("ridge", None, captures / "ridge")
    assert of("ridge/hill/1.jpg") == ("hill", None, captures / "ridge" / "hill")
    assert of("1.jpg") == ()
    assert of("/elsewhere/1.jpg") == ()
    assert of("cafe\u0301/1.jpg")[0] == "caf\u00e9"


def test_the_flag_chooses_one_of_the_tables(tmp_path: Path) -> None:
    settings = read(tmp_path, RIDGE + FORD, deployment="ridge")
    (chosen,) = settings.deployments_for(Path("/anywhere/1.jpg"))
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
        ('wotch = "/srv"', "the key 'wotch' is not known; did you mean watch?"),
        ("deployments = 3", "the key 'deployments' is not known; did you mean deployment or deployment_from?"),
        ('deployment_from = "name"', "deployment_from is 'name': expected one of folder"),
        ("xyzzy = 3", "the key 'xyzzy' is not known; expected one of watch, db, model"),
        ('settle_s = "long"', "settle_s is 'long': expected a number"),
        ("settle_s = nan", "settle_s is nan: expected a number of at least 0"),
        ("heartbeat_s = 0", "heartbeat_s is 0: expected a number above 0"),
        ("threads = 1.5", "threads is 1.5: expected a whole number"),
        ("power = 1", "power is 1: expected true or false"),
        ("db = 3", "db is 3: expected a path"),
        ("time_zone = 2", "time_zone is 2: expected text"),
        ("longitude = true", "longitude is True: expected a number"),
        ('deployment = ["a"]', "deployment is ['a']: expected text"),
        ('[deployment]\nid = "ridge"', "tables such as [deployment.ridge-3]"),
        ("[deployment.ridge]\nlattitude = 1", "[deployment.ridge]: the key 'lattitude' is not known; did you mean lat"),
        ('[deployment.ridge]\nid = "x"', "[deployment.ridge]: the key 'id' is not known"),
        ("[deployment.ridge]\nlatitude = 91", "[deployment.ridge] latitude is 91: expected a number of at most 90"),
        ("[deployment.ridge]\nfolder = 3", "[deployment.ridge] folder is 3: expected a path"),
        ("[deployment.ridge]\nstart = 2026", "[deployment.ridge] start is 2026: expected text"),
        ('[deployment.ridge]\nend = "May"', "[deployment.ridge] end is 'May': expected a date or a time such as"),
        (
            '[deployment.ridge]\nstart = "1.5.2026"',
            "start is '1.5.2026': expected a date or a time such as 2026-05-01 or",
        ),
        ('[deployment.ridge]\nstart = "1.5.2026"', "did you mean 2026-05-01?"),
        ('[deployment.ridge]\nend = "2026-13-01"', "[deployment.ridge] end is '2026-13-01': no such time; expected a"),
        ('[deployment.ridge]\nend = "2026-05-01T24:00"', "expected a date or a time such as 2026-05-01 or"),
        ('[deployment.ridge]\nend = "20260501"', "[deployment.ridge] end is '20260501': expected a date or a time"),
        ('[deployment.ridge]\nend = "0206-05-01"', "end is '0206-05-01': expected a year from 1970 to 2199"),
        ('[deployment.ridge]\nend = ""', "[deployment.ridge] end is '': expected a date or a time"),
        ("[deployment.ridge]\nstart = 10:00:00", "[deployment.ridge] start is datetime.time(10, 0): expected text"),
        ("[deployment.ridge]\nstart = 1.5.2026", "'start = 1.5.2026': expected a date or a time such as 2026-05-01"),
        ("[deployment.ridge]\nend = 2026-13-01", "'end = 2026-13-01': expected a date or a time such as 2026-05-01"),
        (
            "[deployment.ridge]\nstart = 2026-05-02\nend = 2026-05-01",
            "[deployment.ridge] start is '2026-05-02', later than its end '2026-05-01'",
        ),
        (
            '[deployment.a]\nstart = "2026-05-01T10:00+02:00"\nend = "2026-05-01T08:00"\ntime_zone = "Europe/Rome"',
            "later than its end",
        ),
        ('[deployment.ridge]\nlatitude = "46,5"', "latitude is '46,5': expected a number; write it without quotes and"),
        ('[deployment.ridge]\nlatitude = "-46.5"', "and with a decimal point: -46.5"),
        ('[deployment.ridge]\nlatitude = "46° 30"', "[deployment.ridge] latitude is '46° 30': expected a number"),
        ("[deployment.ridge]\nlatitude = 46,5 # N", "'latitude = 46,5 # N': write a decimal point, 46.5"),
        ("[deployment.ridge]\nlatitude = 120.5\nlongitude = 3", "at most 90; are latitude and longitude swapped?"),
        ('[thresholds]\nspecies = "0,8"', "with a decimal point: 0.8"),
        ("[deployment.ridge]\n[deployment.ridge]", "the table [deployment.ridge] stands twice; leave one of them out"),
        ("[deployment.Alt Wald]", 'stands in quotes: [deployment."Alt Wald"]'),
        ('[deployment.""]\nlatitude = 1', "[deployment.''] has no name that can be read"),
        (f'[deployment.ridge]\nfolder = "{__file__}"', "a file, expected a folder"),
        (RIDGE + RIDGE.replace("ridge]", "ford]"), "share the folder '/srv/captures/ridge', and their periods overlap"),
        (
            RIDGE + "end = 2026-05-01\n" + RIDGE.replace("ridge]", "ford]") + "start = 2026-05-01\n",
            "give each a start and an end so that no moment belongs to both",
        ),
        ('[deployment.ridge]\ntime_zone = "Europe/Nowhere"', "[deployment.ridge] time zone 'Europe/Nowhere' is not"),
        ("latitude = 1.0", "name it with --deployment ID"),
        ("[thresholds]\nspecies = 'high'", "[thresholds] species is 'high': expected a number"),
        ("[thresholds]\nspecies = 80", "[thresholds] species is 80: expected a number of at most 1"),
        ("[thresholds]\nspecies = nan", "[thresholds] species is nan: expected a number"),
        ("thresholds = 0.5", "[thresholds] is 0.5: expected a table"),
        ('time_zone = "Europe/Nowhere"', "time zone 'Europe/Nowhere' is not known"),
        ("project = 3", "[project] is 3: expected a table"),
        ('[project]\ntitel = "x"', "[project]: the key 'titel' is not known; did you mean title?"),
        ("[project]\nversion = 1.0", "[project] version is 1.0: expected text"),
        ('[project]\nsampling_design = "x"', "[project] sampling_design is 'x': expected one of simpleRandom, "),
        ('[project]\ncapture_method = "x"', "[project] capture_method[0] is 'x': expected one of activityDetection, "),
        ('[project]\ncontributors = ["A"]', "[project] contributors[0] is 'A': expected a table"),
        ("[project]\ncontributors = [{}]", "[project] contributors[0]: the key 'title' is missing"),
        (
            '[project]\ncontributors = [{title = "A", role = "chief"}]',
            "[project] contributors[0].role is 'chief': expected one of contact, principalInvestigator, ",
        ),
        (
            '[project]\ncontributors = [{title = "A", mail = "x"}]',
            "[project] contributors[0]: the key 'mail' is not known; did you mean email?",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    assert str(refused.value).startswith((str(tmp_path / "config.toml"), "--latitude"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"min_free_bytes": -1}, "--min-free-bytes is -1: expected a whole number of at least 0"),
        ({"poll": 0.0}, "--poll is 0.0: expected a number above 0"),
        ({"deployment": "a", "longitude": 181.0}, "--longitude is 181.0: expected a number of at most 180"),
        ({"time_zone": "Mars/Olympus"}, "time zone 'Mars/Olympus' is not known here"),
    ],
)
def test_flags_have_the_same_limits(flags: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(None, flags)
    assert str(refused.value).startswith(said)


def test_dates_of_toml_and_text_mean_the_same(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[deployment.a]\nstart = 2026-06-01\nend = "2026-06-30"\n[deployment.b]\nstart = 2026-06-01T10:00:00+02:00\n',
    )
    assert [(d.start, d.end) for d in settings.deployments] == [
        ("2026-06-01", "2026-06-30"),
        ("2026-06-01 10:00:00+02:00", None),
    ]


def test_one_value_stands_for_a_list_of_one(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[project]\ntitle = "T"\ncontributors = {title = "A"}\ncapture_method = "timeLapse"\nsensitive = "Felidae"\n'
        'bibliographicCitation = "B"\n'
    )
    project = read_configuration(tmp_path / "config.toml").project
    assert [person.title for person in project.contributors] == ["A"]
    assert (project.capture_method, project.sensitive) == (("timeLapse",), ("Felidae",))
    assert project.bibliographic_citation == "B"


def test_every_option_has_a_help_text() -> None:
    assert list(HELP) == [option.name for option in msgspec.structs.fields(Options)]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"watch = '\xff'\n")
    with pytest.raises(SettingsError, match="save it as UTF-8"):
        read_settings(tmp_path / "config.toml", {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "c.toml").write_text('time_zone = "UTC"\r\n', encoding=encoding)
    (tmp_path / "species.txt").write_text("Equidae\r\nCanidae # dogs\r\n", encoding=encoding)
    assert read_configuration(tmp_path / "c.toml").options.time_zone == "UTC"
    assert read_species_list(tmp_path / "species.txt") == ("Equidae", "Canidae")
