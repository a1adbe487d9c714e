"""What a second start in the same folder may take up, and what it is refused for before it writes anything."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from tests.support.made_animals import LABELS
from tests.support.training_state_file import write_state
from train import TrainError
from train.atomic_save import save_atomically
from train.data.image_cache import PixelSource
from train.data.readers import read_dataset
from train.fit.loop import STATE_FILE, Task, stored_state
from train.recipe import load_recipe
from train.run_folder import begin_run, check_run, check_writable


def task(data: Path) -> Task:
    return Task(read_dataset(data).samples, LABELS, (None,) * 3, PixelSource(48))


def test_a_state_of_other_samples_is_not_taken_up(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe, whole = load_recipe(str(tiny_recipe)), task(animals)
    write_state(tmp_path, recipe, whole)
    assert stored_state(recipe, whole, tmp_path) is not None
    for other in (
        replace(whole, samples=whole.samples[:-1]),
        replace(whole, labels=("bar", "cross", "square")),
        replace(whole, samples=(replace(whole.samples[0], label="cross"), *whole.samples[1:])),
        replace(whole, backgrounds=whole.samples[:1]),
    ):
        with pytest.raises(TrainError, match="was trained on other samples"):
            stored_state(recipe, other, tmp_path)


def test_the_data_may_be_moved_or_named_otherwise(
    tiny_recipe: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(str(tiny_recipe))
    write_state(tmp_path, recipe, task(animals))
    shutil.copytree(animals.parent, tmp_path / "moved")
    assert stored_state(recipe, task(tmp_path / "moved"), tmp_path) is not None
    monkeypatch.chdir(tmp_path)
    assert stored_state(recipe, task(Path("moved/manifest.csv")), tmp_path) is not None


def test_a_state_that_does_not_say_its_samples_is_taken_up(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe))
    write_state(tmp_path, recipe, None)
    assert stored_state(recipe, task(animals), tmp_path) is not None


def test_another_recipe_leaves_the_run_as_it_is(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe, run = load_recipe(str(tiny_recipe)), tmp_path / "run"
    begin_run(run, recipe, ["first"], run)
    (run / "log.jsonl").touch()  # as the first step leaves it
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(TrainError, match="holds a run already"):
        check_run(run, recipe, resume=False)
    with pytest.raises(TrainError, match="by another recipe or seed"):
        check_run(run, structs.replace(recipe, seed=1), resume=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    check_run(run, recipe, resume=True)


def test_a_start_that_ended_before_its_first_step_blocks_nothing(tiny_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe))
    begin_run(tmp_path, recipe, ["first"], tmp_path)
    check_run(tmp_path, structs.replace(recipe, seed=1), resume=True)
    check_run(tmp_path, recipe, resume=False)
    (tmp_path / "fold-3").mkdir()
    (tmp_path / "fold-3" / "log.jsonl").touch()
    with pytest.raises(TrainError, match="holds a run already"):
        check_run(tmp_path, recipe, resume=False)


def test_results_need_a_folder_that_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "folder")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TrainError, match="file is a file; give another --out"):
            check_writable(out)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(TrainError, match="cannot be written to; give another --out"):
        check_writable(tmp_path / "new")


def test_a_state_has_the_rights_of_other_files_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").touch()
    save_atomically(tmp_path / STATE_FILE, {})
    assert (tmp_path / STATE_FILE).stat().st_mode == (tmp_path / "other").stat().st_mode

    def full(state: object, file: object) -> None:
        raise RuntimeError("unexpected pos 64 vs 0\nand more")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(OSError, match=r"unexpected pos 64 vs 0$"):
        save_atomically(tmp_path / STATE_FILE, {})
    assert {file.name for file in tmp_path.iterdir()} == {"other", STATE_FILE}


def test_a_damaged_state_is_told(tiny_recipe: Path, animals: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe))
    write_state(tmp_path, recipe, None)
    whole = (tmp_path / STATE_FILE).read_bytes()
    for part in (b"", whole[:100], whole[:-100]):
        (tmp_path / STATE_FILE).write_bytes(part)
        with pytest.raises(TrainError, match=r"is damaged \(\w+\); remove it to start again"):
            stored_state(recipe, task(animals), tmp_path)
