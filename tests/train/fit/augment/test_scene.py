import numpy as np
import pytest

from train.data.sample import Box
from train.fit.augment.background import paste_into, replace_background
from train.fit.augment.scene import Scene, View, take
from train.fit.augment.views import aligned_view, choose_view
from train.recipe import AugmentSettings


def marked_scene() -> Scene:
    """100 x 200, black but for a white animal in its box."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[20:60, 120:160] = 255
    return Scene(pixels, Box(0.6, 0.2, 0.2, 0.4), {"left_eye": (0.65, 0.3), "tail": (0.75, 0.5)})


def inside_and_outside(scene: Scene) -> tuple[float, float]:
    """Mean brightness in the box, and outside of it."""
    assert scene.box is not None
    height, width = scene.pixels.shape[:2]
    mask = np.zeros((height, width), bool)
    top, left = round(scene.box.y * height), round(scene.box.x * width)
    bottom, right = round((scene.box.y + scene.box.height) * height), round((scene.box.x + scene.box.width) * width)
    mask[top:bottom, left:right] = True
    return float(scene.pixels[mask].mean()), float(scene.pixels[~mask].mean())


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_box_goes_where_the_animal_goes(mirrored: bool) -> None:
    taken = take(marked_scene(), View(130, 45, 120, 80, 0.0, mirrored), 96)
    inside, outside = inside_and_outside(taken)
    assert inside > 240
    assert outside < 10


def test_mirroring_swaps_left_and_right_parts() -> None:
    assert "right_eye" in take(marked_scene(), View(100, 50, 200, 100, 0.0, True), 64).keypoints
    assert "left_eye" in take(marked_scene(), View(100, 50, 200, 100), 64).keypoints


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        ("Left_Eye", "Right_Eye"),
        ("L_eye", "R_eye"),
        ("eyeRight", "eyeLeft"),
        ("rear_left_paw", "rear_right_paw"),
        ("left wing", "right wing"),
        ("upright_ear", "upright_ear"),
        ("belly", "belly"),
    ],
)
def test_sides_are_words_of_a_name(name: str, mirrored: str) -> None:
    scene = Scene(np.zeros((20, 20, 3), np.uint8), None, {name: (0.4, 0.5)})
    assert list(take(scene, View(10, 10, 20, 20, 0.0, True), 16).keypoints) == [mirrored]


@pytest.mark.parametrize(("size_px", "side"), [(32, 32.0), (32, 20.0), (12, 32.0)])
def test_a_mirrored_view_is_the_view_mirrored(size_px: int, side: float) -> None:
    scene = Scene(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    straight = take(scene, View(16, 16, side, side), size_px).pixels
    mirrored = take(scene, View(16, 16, side, side, 0.0, True), size_px).pixels
    assert np.abs(mirrored[:, ::-1].astype(int) - straight)[1:-1, 1:-1].max() <= 2


def test_a_view_has_its_brightness_where_the_scene_has_it() -> None:
    rows = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None], 64, 1)
    half = take(Scene(np.repeat(rows[..., None], 3, 2)), View(32, 32, 64, 64), 32).pixels
    assert np.abs(half[2:-2, 16, 0].astype(float) - np.arange(2.0, 256.0, 8.0)[2:-2]).max() <= 1


def test_the_whole_scene_unturned_is_the_scene() -> None:
    taken = take(Scene(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)), View(5, 5, 10, 10), 10)
    assert np.array_equal(taken.pixels, np.arange(300, dtype=np.uint8).reshape(10, 10, 3))


def test_alignment_brings_the_body_level() -> None:
    scene = Scene(np.zeros((100, 100, 3), np.uint8), None, {"head": (0.7, 0.2), "tail": (0.3, 0.6)})
    level = take(scene, aligned_view(scene, 0.0, False, np.random.default_rng(0)), 64)
    assert level.keypoints["head"][1] == pytest.approx(level.keypoints["tail"][1], abs=0.02)
    assert level.keypoints["head"][0] > level.keypoints["tail"][0]


@pytest.mark.parametrize("names", [("rear_left_paw", "nose"), ("Tail", "Head"), ("tailBase", "leftEar")])
def test_the_axis_goes_from_rear_to_head_whatever_their_names_look_like(names: tuple[str, str]) -> None:
    rear, head = names
    scene = Scene(np.zeros((100, 100, 3), np.uint8), None, {rear: (0.2, 0.5), head: (0.6, 0.5), "belly": (0.4, 0.9)})
    assert aligned_view(scene, 0.0, False, np.random.default_rng(0)).angle_deg == pytest.approx(0.0)


def test_parts_in_one_place_have_no_axis_and_no_error() -> None:
    scene = Scene(np.zeros((100, 100, 3), np.uint8), None, {"head": (0.5, 0.5), "tail": (0.5, 0.5)})
    view = aligned_view(scene, 0.0, False, np.random.default_rng(0))
    assert view.width > 1
    assert take(scene, view, 16).pixels.shape == (16, 16, 3)


def test_a_pasted_picture_lies_in_its_box() -> None:
    white = Scene(np.full((80, 80, 3), 255, np.uint8))
    striped = np.zeros((80, 80, 3), np.uint8)
    striped[::2] = 90
    for seed in range(5):
        pasted = paste_into(white, striped, (0.4, 0.6), np.random.default_rng(seed))
        assert pasted.box is not None
        assert 0.35 < pasted.box.width < 0.65
        assert pasted.pixels.shape == (80, 80, 3)


def test_replaced_background_keeps_the_animal() -> None:
    grey = np.full((50, 50, 3), 128, np.uint8)
    grey[:25] = 64
    replaced = replace_background(marked_scene(), grey, np.random.default_rng(0))
    assert replaced.pixels[35:45, 135:145].min() > 200
    assert replaced.pixels[:, :80].max() > 0  # the black surroundings are gone


@pytest.mark.parametrize("field", ["context", "align_body", "part_crop"])
def test_views_of_each_kind_hold_what_they_are_of(field: str) -> None:
    settings = AugmentSettings(flip=0.0, **{field: 1.0})  # type: ignore[arg-type]
    scene = marked_scene()
    for seed in range(10):
        taken = take(scene, choose_view(scene, settings, np.random.default_rng(seed)), 64)
        assert taken.keypoints or taken.box
        assert taken.pixels.max() > 200  # something of the animal is in view
