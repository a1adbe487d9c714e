import numpy as np
import pytest

from train.enrolment import Enrolment, enrol
from train.evaluation.predictions import prototypes


def cloud(rng: np.random.Generator, direction: int, count: int, spread: float = 0.1) -> np.ndarray:
    points = np.eye(6)[direction] + rng.normal(0, spread, (count, 6))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def test_a_new_species_is_told_from_a_few_images_and_disturbs_nothing() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([cloud(rng, 0, 20), cloud(rng, 1, 20)])
    truth = np.repeat([0, 1], 20)
    made = enrol(
        ("a", "b"), prototypes(known, truth, 2), known, truth, ("new",), cloud(rng, 2, 5), np.zeros(5, np.int64)
    )
    assert made.labels == ("a", "b", "new")
    assert made.recall == {"new": 1.0}
    assert made.taken == {"a": 0.0, "b": 0.0}
    assert np.allclose(np.linalg.norm(made.prototypes, axis=1), 1)


def test_a_species_like_a_known_one_is_told_to_disturb_it() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([cloud(rng, 0, 50), cloud(rng, 1, 50)])
    truth = np.repeat([0, 1], 50)
    twin = cloud(rng, 0, 6)
    made = enrol(("a", "b"), prototypes(known, truth, 2), known, truth, ("twin",), twin, np.zeros(6, np.int64))
    assert made.taken["a"] > 0.1
    assert made.recall["twin"] < 1.0


def test_one_image_cannot_be_left_out_and_leaves_the_scale_alone() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([cloud(rng, 0, 20, 0.2), cloud(rng, 1, 20, 0.2)])
    truth, new = np.repeat([0, 1], 20), cloud(rng, 2, 5)

    def enrolled(images: np.ndarray, places: list[int], *labels: str) -> Enrolment:
        return enrol(("a", "b"), prototypes(known, truth, 2), known, truth, labels, images, np.array(places))

    single, several = enrolled(new[:1], [0], "new"), enrolled(new, [0] * 5, "new")
    assert single.recall == {}
    assert single.scale == pytest.approx(several.scale, rel=0.5)
    both = enrolled(np.concatenate([new, cloud(rng, 3, 1)]), [0] * 5 + [1], "new", "rare")
    assert both.recall == {"new": 1.0}


def test_a_label_that_the_training_lacked_is_told_from_nothing() -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([cloud(rng, 0, 20, 0.3), cloud(rng, 1, 20, 0.3)])
    truth, new, none = np.repeat([0, 2], 20), cloud(rng, 2, 4, 0.3), np.zeros(4, np.int64)
    made = enrol(("a", "lacking", "b"), prototypes(known, truth, 3), known, truth, ("new",), new, none)
    without = enrol(("a", "b"), prototypes(known, truth // 2, 2), known, truth // 2, ("new",), new, none)
    assert not made.prototypes[1].any()
    assert (made.recall, made.scale) == (without.recall, without.scale)
    assert made.taken == without.taken | {"lacking": 0.0}
