from pathlib import Path

import pytest

from train import TrainError
from train.__main__ import main
from train.commands.ablate import ABLATIONS, _read
from train.recipe import load_recipe


@pytest.mark.parametrize("name", sorted(path.stem for path in ABLATIONS.glob("*.toml")))
def test_every_row_of_the_shipped_tables_is_a_recipe(name: str) -> None:
    recipe, rows = _read(name)
    made = {row: load_recipe(recipe, settings) for row, settings in rows.items()}
    assert len({str(recipe.document()) for recipe in made.values()}) == len(rows)


def test_rows_are_trained_once_and_set_against_the_plain_one(
    animals: Path, tiny_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.toml"
    table.write_text(f'recipe = "{tiny_recipe}"\n[rows]\nplain = []\n"Cut Mix" = ["augment.cutmix=1.0"]\n')
    arguments = ["ablate", str(table), "--out", str(tmp_path / "out"), "--data", str(animals), "--no-cache"]
    arguments += ["--threads", "1", "--workers", "0"]
    assert main(arguments) == 0
    table_lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in table_lines if line.startswith("|")][2:] == [
        "plain",
        "Cut Mix",
    ]
    before = (tmp_path / "out" / "cut-mix" / "checkpoint.pt").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (tmp_path / "out" / "cut-mix" / "checkpoint.pt").stat().st_mtime_ns == before
    capsys.readouterr()
    # What lies there is not shown for what it is not.
    for other, message in (
        (["--seed", "7"], "was trained by another recipe or seed"),
        (["--set", "optimiser.lr=1e-4"], "was trained by another recipe or seed"),
        (["--fold", "1"], "held out fold 0, not 1"),
        (["--row", "Cut Mix", "--row", "typo"], "has no row typo; expected one of plain, Cut Mix"),
    ):
        assert main([*arguments, *other]) == 2
        said = capsys.readouterr()
        assert message in said.err
        assert said.out == ""
    capsys.readouterr()
    # A row that cannot be trained is told before any is.
    with table.open("a") as file:
        file.write('zlast = ["optimiser.lrr=1"]\n')
    assert main([*arguments[:2], "--out", str(tmp_path / "new"), *arguments[4:]]) == 2
    assert "optimiser: object contains unknown field `lrr`" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "rowless.toml").write_text('recipe = "porini"\n[rows]\n')
    with pytest.raises(TrainError, match="no row `plain`"):
        _read(str(tmp_path / "rowless.toml"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ('plain = []\n"a b" = []\na-b = []', "a b, a-b: rows need names that differ"),
        ('plain = []\n"Ü" = []', "Ü: rows need names"),
        ('plain = []\nbad = "optimiser.lr=1e-2"', "each row is a list of settings"),
        ("plain = [3]", "each row is a list of settings"),
    ],
)
def test_rows_have_folders_and_settings_of_their_own(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "table.toml").write_text(f'recipe = "porini"\n[rows]\n{rows}\n')
    with pytest.raises(TrainError, match=message):
        _read(str(tmp_path / "table.toml"))


def test_a_recipe_lies_beside_its_table(tiny_recipe: Path) -> None:
    (tiny_recipe.parent / "table.toml").write_text(f'recipe = "{tiny_recipe.name}"\n[rows]\nplain = []\n')
    assert _read(str(tiny_recipe.parent / "table.toml"))[0] == str(tiny_recipe)
