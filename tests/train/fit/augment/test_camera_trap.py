import numpy as np
import pytest

from train.fit.augment.camera_trap import CONDITIONS, apply_conditions
from train.recipe import AugmentSettings


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", [condition.__name__ for condition in CONDITIONS])
def test_each_condition_changes_the_image_by_its_seed_alone(name: str, image: np.ndarray) -> None:
    settings = AugmentSettings(**{name: 1.0})  # type: ignore[arg-type]
    before = image.copy()
    changed = apply_conditions(image, settings, np.random.default_rng(1))
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, image)
    assert np.array_equal(image, before)
    assert np.array_equal(changed, apply_conditions(image, settings, np.random.default_rng(1)))


def test_infra_red_has_no_colour_and_dusk_is_dark(image: np.ndarray) -> None:
    grey = apply_conditions(image, AugmentSettings(infra_red=1.0), np.random.default_rng(0))
    assert np.array_equal(grey[..., 0], grey[..., 1])
    dark = apply_conditions(image, AugmentSettings(dusk=1.0), np.random.default_rng(0))
    assert dark.mean() < image.mean() * 0.9


def test_without_settings_nothing_happens(image: np.ndarray) -> None:
    assert apply_conditions(image, AugmentSettings(), np.random.default_rng(0)) is image
