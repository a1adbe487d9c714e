"""Which part of a scene a training picture shows."""

import numpy as np

from train.fit.augment.scene import Scene, View, words
from train.recipe import AugmentSettings

_HEAD = {"beak", "bill", "crown", "forehead", "nose", "head", "eye", "eyes", "ear", "ears", "snout", "throat"}
_REAR = {"tail", "tailbase", "rump", "hip", "hips", "rear", "hind"}


def choose_view(scene: Scene, settings: AugmentSettings, rng: np.random.Generator) -> View:
    """One of the kinds of view that the settings ask for and the scene allows."""
    mirrored = bool(rng.random() < settings.flip)
    turn = float(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    kind = rng.random(3)
    if scene.keypoints and kind[0] < settings.part_crop:
        return part_view(scene, turn, mirrored, rng)
    if (scene.box or len(scene.keypoints) > 1) and kind[1] < settings.align_body:
        return aligned_view(scene, turn, mirrored, rng)
    if scene.box and kind[2] < settings.context:
        return context_view(scene, turn, mirrored, rng)
    return random_view(scene, settings, turn, mirrored, rng)


def random_view(scene: Scene, settings: AugmentSettings, turn: float, mirrored: bool, rng: np.random.Generator) -> View:
    """A random part by area and proportions (Szegedy et al. 2014, "Going Deeper with Convolutions")."""
    height, width = scene.pixels.shape[:2]
    side = np.sqrt(rng.uniform(*settings.view_scale))
    stretch = np.sqrt(np.exp(rng.uniform(np.log(settings.view_ratio[0]), np.log(settings.view_ratio[1]))))
    wide, high = width * side * stretch, height * side / stretch
    if settings.view_scale[1] <= 1:
        wide, high = min(wide, width), min(high, height)
    x = width / 2 + rng.uniform(-0.5, 0.5) * abs(width - wide)
    y = height / 2 + rng.uniform(-0.5, 0.5) * abs(height - high)
    return View(x, y, wide, high, turn, mirrored)


def context_view(scene: Scene, turn: float, mirrored: bool, rng: np.random.Generator) -> View:
    """The box somewhere in its surroundings: an animal fills a tenth of some frames and all of others."""
    assert scene.box is not None
    height, width = scene.pixels.shape[:2]
    box = scene.box
    wide, high = box.width * width, box.height * height
    grow = np.exp(rng.uniform(0.0, np.log(3.0)))
    view_wide, view_high = min(width, wide * grow), min(height, high * grow)
    x = (box.x + box.width / 2) * width + rng.uniform(-0.5, 0.5) * max(0.0, view_wide - wide)
    y = (box.y + box.height / 2) * height + rng.uniform(-0.5, 0.5) * max(0.0, view_high - high)
    return View(x, y, view_wide, view_high, turn, mirrored)


def aligned_view(scene: Scene, turn: float, mirrored: bool, rng: np.random.Generator) -> View:
    """The body level and filling the view: pose normalisation (Branson et al. 2014, "Bird Species Categorization
    Using Pose Normalized Deep Convolutional Nets"). Keypoints give the axis; a box alone gives place and size.
    """
    height, width = scene.pixels.shape[:2]
    box = scene.box
    grow = float(rng.uniform(1.2, 1.5))
    if len(scene.keypoints) > 1:
        points = np.array(list(scene.keypoints.values())) * (width, height)
        angle = _axis_deg(scene.keypoints, points)
        along = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        reach = float(np.ptp(points @ along))
        x, y = (float(value) for value in (points.min(0) + points.max(0)) / 2)
        least = min(box.width * width, box.height * height) if box else 0.1 * min(width, height)
        side = grow * max(reach, least)
        return View(x, y, side, side, angle + turn, mirrored)
    assert box is not None
    side = grow * max(box.width * width, box.height * height)
    return View((box.x + box.width / 2) * width, (box.y + box.height / 2) * height, side, side, turn, mirrored)


def part_view(scene: Scene, turn: float, mirrored: bool, rng: np.random.Generator) -> View:
    """A close look at one visible part (Zhang et al. 2014, "Part-based R-CNNs")."""
    height, width = scene.pixels.shape[:2]
    names = sorted(scene.keypoints)
    x, y = scene.keypoints[names[int(rng.integers(len(names)))]]
    whole = max(scene.box.width * width, scene.box.height * height) if scene.box else min(width, height)
    side = float(whole * rng.uniform(0.35, 0.6))
    return View(x * width, y * height, side, side, turn, mirrored)


def _axis_deg(keypoints: dict[str, tuple[float, float]], points: np.ndarray) -> float:
    """Angle of the body's axis, -90..90: from rear to head where both are seen, else the points' longest extent."""
    names = list(keypoints)
    head = [points[i] for i, name in enumerate(names) if not _HEAD.isdisjoint(words(name))]
    rear = [points[i] for i, name in enumerate(names) if not _REAR.isdisjoint(words(name))]
    direction = np.mean(head, axis=0) - np.mean(rear, axis=0) if head and rear else np.zeros(2)
    if not direction.any():
        direction = np.linalg.svd(points - points.mean(0))[2][0]
    if direction[0] < 0:
        direction = -direction  # level either way round; which way it faces is the flip's business
    return float(np.rad2deg(np.arctan2(direction[1], direction[0])))
