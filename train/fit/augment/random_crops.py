"""Chooses the part of an image that a training image shows."""

import numpy as np

from train.fit.augment.annotated_image import AnnotatedImage, RotatedCrop, words
from train.recipe import AugmentSettings

_HEAD = {"beak", "bill", "crown", "forehead", "nose", "head", "eye", "eyes", "ear", "ears", "snout", "throat"}
_REAR = {"tail", "tailbase", "rump", "hip", "hips", "rear", "hind"}


def choose_crop(image: AnnotatedImage, settings: AugmentSettings, rng: np.random.Generator) -> RotatedCrop:
    """A crop of one of the kinds that the settings ask for and the image allows."""
    mirrored = bool(rng.random() < settings.flip)
    turn = float(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    kind = rng.random(3)
    if image.keypoints and kind[0] < settings.part_crop:
        return part_crop_around(image, turn, mirrored, rng)
    if (image.box or len(image.keypoints) > 1) and kind[1] < settings.align_body:
        return aligned_crop(image, turn, mirrored, rng)
    if image.box and kind[2] < settings.context:
        return context_crop(image, turn, mirrored, rng)
    return random_crop(image, settings, turn, mirrored, rng)


def random_crop(
    image: AnnotatedImage, settings: AugmentSettings, turn: float, mirrored: bool, rng: np.random.Generator
) -> RotatedCrop:
    """A crop of random area and aspect ratio (Szegedy et al. 2014, "Going Deeper with Convolutions")."""
    height, width = image.pixels.shape[:2]
    side = np.sqrt(rng.uniform(*settings.view_scale))
    stretch = np.sqrt(np.exp(rng.uniform(np.log(settings.view_ratio[0]), np.log(settings.view_ratio[1]))))
    wide, high = width * side * stretch, height * side / stretch
    if settings.view_scale[1] <= 1:
        wide, high = min(wide, width), min(high, height)
    x = width / 2 + rng.uniform(-0.5, 0.5) * abs(width - wide)
    y = height / 2 + rng.uniform(-0.5, 0.5) * abs(height - high)
    return RotatedCrop(x, y, wide, high, turn, mirrored)


def context_crop(image: AnnotatedImage, turn: float, mirrored: bool, rng: np.random.Generator) -> RotatedCrop:
    """A crop with the box somewhere in it: an animal fills a tenth of some frames and all of others."""
    assert image.box is not None
    height, width = image.pixels.shape[:2]
    box = image.box
    wide, high = box.width * width, box.height * height
    grow = np.exp(rng.uniform(0.0, np.log(3.0)))
    crop_wide, crop_high = min(width, wide * grow), min(height, high * grow)
    x = (box.x + box.width / 2) * width + rng.uniform(-0.5, 0.5) * max(0.0, crop_wide - wide)
    y = (box.y + box.height / 2) * height + rng.uniform(-0.5, 0.5) * max(0.0, crop_high - high)
    return RotatedCrop(x, y, crop_wide, crop_high, turn, mirrored)


def aligned_crop(image: AnnotatedImage, turn: float, mirrored: bool, rng: np.random.Generator) -> RotatedCrop:
    """A crop that shows the body level and fills with it: pose normalisation (Branson et al. 2014, "Bird Species
    Categorization Using Pose Normalized Deep Convolutional Nets"). Keypoints give the axis of the body; a box alone
    gives its place and size.
    """
    height, width = image.pixels.shape[:2]
    box = image.box
    grow = float(rng.uniform(1.2, 1.5))
    if len(image.keypoints) > 1:
        points = np.array(list(image.keypoints.values())) * (width, height)
        angle = _axis_deg(image.keypoints, points)
        along = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        reach = float(np.ptp(points @ along))
        x, y = (float(value) for value in (points.min(0) + points.max(0)) / 2)
        least = min(box.width * width, box.height * height) if box else 0.1 * min(width, height)
        side = grow * max(reach, least)
        return RotatedCrop(x, y, side, side, angle + turn, mirrored)
    assert box is not None
    side = grow * max(box.width * width, box.height * height)
    return RotatedCrop((box.x + box.width / 2) * width, (box.y + box.height / 2) * height, side, side, turn, mirrored)


def part_crop_around(image: AnnotatedImage, turn: float, mirrored: bool, rng: np.random.Generator) -> RotatedCrop:
    """A crop around one visible part of the body (Zhang et al. 2014, "Part-based R-CNNs")."""
    height, width = image.pixels.shape[:2]
    names = sorted(image.keypoints)
    x, y = image.keypoints[names[int(rng.integers(len(names)))]]
    whole = max(image.box.width * width, image.box.height * height) if image.box else min(width, height)
    side = float(whole * rng.uniform(0.35, 0.6))
    return RotatedCrop(x * width, y * height, side, side, turn, mirrored)


def _axis_deg(keypoints: dict[str, tuple[float, float]], points: np.ndarray) -> float:
    """Angle of the body's axis, -90..90: from rear to head where both are seen, else the points' longest extent."""
    names = list(keypoints)
    head = [points[i] for i, name in enumerate(names) if not _HEAD.isdisjoint(words(name))]
    rear = [points[i] for i, name in enumerate(names) if not _REAR.isdisjoint(words(name))]
    direction = np.mean(head, axis=0) - np.mean(rear, axis=0) if head and rear else np.zeros(2)
    if not direction.any():
        direction = np.linalg.svd(points - points.mean(0))[2][0]
    if direction[0] < 0:
        direction = -direction  # level in either direction; mirroring decides which way the animal faces
    return float(np.rad2deg(np.arctan2(direction[1], direction[0])))
