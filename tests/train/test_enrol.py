import numpy as np

from train.enrol import enrol
from train.predictions import prototypes


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
