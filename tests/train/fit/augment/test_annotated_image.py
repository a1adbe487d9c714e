import numpy as np
import pytest

from train.data.sample import Box
from train.fit.augment.annotated_image import AnnotatedImage, RotatedCrop, cut
from train.fit.augment.background import paste_into, replace_background
from train.fit.augment.random_crops import aligned_crop, choose_crop
from train.recipe import AugmentSettings


def marked_image() -> AnnotatedImage:
    """100 x 200, black but for a white animal in its box."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[20:60, 120:160] = 255
    return AnnotatedImage(pixels, Box(0.6, 0.2, 0.2, 0.4), {"left_eye": (0.65, 0.3), "tail": (0.75, 0.5)})


def inside_and_outside(image: AnnotatedImage) -> tuple[float, float]:
    """Mean brightness in the box, and outside of it."""
    assert image.box is not None
    height, width = image.pixels.shape[:2]
    mask = np.zeros((height, width), bool)
    top, left = round(image.box.y * height), round(image.box.x * width)
    bottom, right = round((image.box.y + image.box.height) * height), round((image.box.x + image.box.width) * width)
    mask[top:bottom, left:right] = True
    return float(image.pixels[mask].mean()), float(image.pixels[~mask].mean())


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_box_goes_where_the_animal_goes(mirrored: bool) -> None:
    taken = cut(marked_image(), RotatedCrop(130, 45, 120, 80, 0.0, mirrored), 96)
    inside, outside = inside_and_outside(taken)
    assert inside > 240
    assert outside < 10


def test_mirroring_swaps_left_and_right_parts() -> None:
    assert "right_eye" in cut(marked_image(), RotatedCrop(100, 50, 200, 100, 0.0, True), 64).keypoints
    assert "left_eye" in cut(marked_image(), RotatedCrop(100, 50, 200, 100), 64).keypoints


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
    image = AnnotatedImage(np.zeros((20, 20, 3), np.uint8), None, {name: (0.4, 0.5)})
    assert list(cut(image, RotatedCrop(10, 10, 20, 20, 0.0, True), 16).keypoints) == [mirrored]


@pytest.mark.parametrize(("size_px", "side"), [(32, 32.0), (32, 20.0), (12, 32.0)])
def test_a_mirrored_view_is_the_view_mirrored(size_px: int, side: float) -> None:
    image = AnnotatedImage(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    straight = cut(image, RotatedCrop(16, 16, side, side), size_px).pixels
    mirrored = cut(image, RotatedCrop(16, 16, side, side, 0.0, True), size_px).pixels
    assert np.abs(mirrored[:, ::-1].astype(int) - straight)[1:-1, 1:-1].max() <= 2


def test_a_view_has_its_brightness_where_the_scene_has_it() -> None:
    rows = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[:, None], 64, 1)
    half = cut(AnnotatedImage(np.repeat(rows[..., None], 3, 2)), RotatedCrop(32, 32, 64, 64), 32).pixels
    assert np.abs(half[2:-2, 16, 0].astype(float) - np.arange(2.0, 256.0, 8.0)[2:-2]).max() <= 1


def test_the_whole_scene_unturned_is_the_image() -> None:
    taken = cut(AnnotatedImage(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)), RotatedCrop(5, 5, 10, 10), 10)
    assert np.array_equal(taken.pixels, np.arange(300, dtype=np.uint8).reshape(10, 10, 3))


def test_alignment_brings_the_body_level() -> None:
    image = AnnotatedImage(np.zeros((100, 100, 3), np.uint8), None, {"head": (0.7, 0.2), "tail": (0.3, 0.6)})
    level = cut(image, aligned_crop(image, 0.0, False, np.random.default_rng(0)), 64)
    assert level.keypoints["head"][1] == pytest.approx(level.keypoints["tail"][1], abs=0.02)
    assert level.keypoints["head"][0] > level.keypoints["tail"][0]


@pytest.mark.parametrize("names", [("rear_left_paw", "nose"), ("Tail", "Head"), ("tailBase", "leftEar")])
def test_the_axis_goes_from_rear_to_head_however_they_are_named(names: tuple[str, str]) -> None:
    rear, head = names
    image = AnnotatedImage(
        np.zeros((100, 100, 3), np.uint8), None, {rear: (0.2, 0.5), head: (0.6, 0.5), "belly": (0.4, 0.9)}
    )
    assert aligned_crop(image, 0.0, False, np.random.default_rng(0)).angle_deg == pytest.approx(0.0)


def test_parts_in_one_place_have_no_axis_and_no_error() -> None:
    image = AnnotatedImage(np.zeros((100, 100, 3), np.uint8), None, {"head": (0.5, 0.5), "tail": (0.5, 0.5)})
    crop = aligned_crop(image, 0.0, False, np.random.default_rng(0))
    assert crop.width > 1
    assert cut(image, crop, 16).pixels.shape == (16, 16, 3)


def test_a_pasted_image_lies_in_its_box() -> None:
    white = AnnotatedImage(np.full((80, 80, 3), 255, np.uint8))
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
    replaced = replace_background(marked_image(), grey, np.random.default_rng(0))
    assert replaced.pixels[35:45, 135:145].min() > 200
    assert replaced.pixels[:, :80].max() > 0  # the black surroundings are gone


@pytest.mark.parametrize("field", ["context", "align_body", "part_crop"])
def test_views_of_each_kind_hold_what_they_are_of(field: str) -> None:
    settings = AugmentSettings(flip=0.0, **{field: 1.0})  # type: ignore[arg-type]
    image = marked_image()
    for seed in range(10):
        taken = cut(image, choose_crop(image, settings, np.random.default_rng(seed)), 64)
        assert taken.keypoints or taken.box
        assert taken.pixels.max() > 200  # something of the animal is in view
