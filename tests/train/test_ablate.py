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
    said = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("|")][2:] == [
        "plain",
        "Cut Mix",
    ]
    before = (tmp_path / "out" / "cut-mix" / "checkpoint.pt").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (tmp_path / "out" / "cut-mix" / "checkpoint.pt").stat().st_mtime_ns == before
    (tmp_path / "rowless.toml").write_text('recipe = "porini"\n[rows]\n')
    with pytest.raises(TrainError, match="no row `plain`"):
        _read(str(tmp_path / "rowless.toml"))
