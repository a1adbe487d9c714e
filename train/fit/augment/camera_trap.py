"""Camera-trap conditions (night, fog, colour casts, compression), each as `(pixels uint8[H, W, 3], rng) -> pixels`.

The kinds of change follow the corruptions of Hendrycks and Dietterich 2019 ("Benchmarking Neural Network Robustness to
Common Corruptions"), with the strengths seen in camera-trap frames.
"""

import cv2
import numpy as np

from edge.image.resize import Pixels
from train.recipe import AugmentSettings


def infra_red(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Infra-red frames at night: one channel, noise, and a flash that fades with the distance from the middle."""
    mixed = pixels.astype(np.float32) @ rng.dirichlet((2.0, 2.0, 2.0)).astype(np.float32)
    height, width = mixed.shape
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    far = np.hypot(ys / height - rng.uniform(0.35, 0.65), xs / width - rng.uniform(0.35, 0.65))
    flash = np.exp(-((far / rng.uniform(0.4, 0.9)) ** 2)) * rng.uniform(0.6, 1.3) + rng.uniform(0.05, 0.3)
    grey = mixed * flash + rng.normal(0, rng.uniform(2, 12), mixed.shape)
    return _clipped(np.repeat(grey[..., None], 3, axis=2))


def dusk(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Dark frames with little colour, with shot and read-out noise."""
    light = float(rng.uniform(0.12, 0.55))
    linear = (pixels.astype(np.float32) / 255) ** 2.2 * light
    grey = linear.mean(axis=2, keepdims=True)
    linear = grey + (linear - grey) * rng.uniform(0.3, 1.0)
    noise = rng.normal(0, 1, linear.shape) * np.sqrt(linear * rng.uniform(0.0005, 0.004) + rng.uniform(0, 0.01) ** 2)
    return _clipped(255 * np.clip(linear + noise, 0, 1) ** (1 / 2.2))


def motion_blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Motion blur of a slow shutter: the image smeared along a line."""
    length = max(3, int(pixels.shape[0] * rng.uniform(0.02, 0.1)))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    for step in np.linspace(-middle, middle, 2 * length):
        kernel[round(middle + step * np.sin(angle)), round(middle + step * np.cos(angle))] = 1
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()), np.uint8)


def fog(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mist, or water on the lens: contrast is lost towards one light colour, unevenly."""
    height, width = pixels.shape[:2]
    coarse = rng.uniform(0, 1, (4, 4)).astype(np.float32)
    depth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    density = np.clip(rng.uniform(0.2, 0.7) + 0.4 * (depth - 0.5), 0, 0.9)
    colour = rng.uniform(130, 240) + rng.normal(0, 15, 3)
    softened = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.1, 1.2)))
    return _clipped(softened * (1 - density) + colour * density)


def colour_cast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A sensor without its infra-red filter, or with a broken white balance: each channel has its own gain and floor.

    Seen in the conservancy's Raspberry Pi frames: purple, pink and orange ones from the same camera.
    """
    gains = np.exp(rng.normal(0, 0.35, 3))
    floors = rng.uniform(0, 70) * rng.uniform(0, 1, 3)
    lit = pixels.astype(np.float32) * (gains * np.exp(rng.normal(0, 0.2)))
    grey = lit.mean(axis=2, keepdims=True)
    tinted = grey + (lit - grey) * rng.uniform(0.2, 1.2)
    return _clipped(tinted * (1 - floors / 255) + floors)


def tint(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Images of nearly one random colour: a species whose images are mostly purple must not be recognised by purple."""
    grey = pixels.astype(np.float32).mean(axis=2, keepdims=True)
    faded = grey + (pixels - grey) * rng.uniform(0.0, 0.4)
    gains = np.exp(rng.normal(0, 0.5, 3))
    floors = rng.uniform(0, 60) * rng.uniform(0, 1, 3)
    return _clipped(faded * (gains / gains.max()) * (1 - floors / 255) + floors)


def info_strip(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The bar with time and temperature that cameras burn into the frame."""
    height, width = pixels.shape[:2]
    high = max(4, round(height * rng.uniform(0.04, 0.1)))
    top = 0 if rng.random() < 0.25 else height - high
    marked = pixels.copy()
    dark = rng.random() < 0.7
    marked[top : top + high] = rng.integers(0, 30) if dark else rng.integers(220, 256)
    hour, minute = int(rng.integers(24)), int(rng.integers(60))
    day = f"{int(rng.integers(1, 13)):02d}/{int(rng.integers(1, 29)):02d}"
    text = f"{int(rng.integers(-10, 40))}C  {day}  {hour:02d}:{minute:02d}"
    ink = (255, 255, 255) if dark else (0, 0, 0)
    place = (int(rng.uniform(0, 0.4) * width), top + round(high * 0.8))
    cv2.putText(marked, text, place, cv2.FONT_HERSHEY_SIMPLEX, high / 32, ink, 1, cv2.LINE_AA)
    return marked


def foliage(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Grass and leaves close to the lens: out-of-focus blades that reach in from an edge."""
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(2, 9))):
        foot = np.array([rng.uniform(0, width), height * rng.choice([-0.05, 1.05])])
        tip = np.array([foot[0] + rng.normal(0, width * 0.3), height * rng.uniform(0.2, 0.8)])
        bend = (foot + tip) / 2 + rng.normal(0, width * 0.08, 2)
        steps = np.linspace(0, 1, 12)[:, None]
        curve = (1 - steps) ** 2 * foot + 2 * steps * (1 - steps) * bend + steps**2 * tip
        thick = max(1, round(width * rng.uniform(0.01, 0.06)))
        cv2.polylines(mask, [np.round(curve).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA)
    soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.5, 2.5)))[..., None]
    colour = pixels.reshape(-1, 3).mean(0) * rng.uniform(0.3, 1.3) * np.array([0.9, 1.1, 0.8])
    return _clipped(pixels * (1 - soft) + colour * soft)


def jpeg(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Strong JPEG compression, as of cellular cameras."""
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 60))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def low_resolution(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """An animal far away: few pixels, enlarged."""
    height, width = pixels.shape[:2]
    keep = rng.uniform(0.2, 0.7)
    small = cv2.resize(
        pixels, (max(8, round(width * keep)), max(8, round(height * keep))), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


# In the order in which they happen: light, air, lens, shutter, sensor, then the camera's software. The settings name
# the probability of each like its function.
CONDITIONS = (infra_red, dusk, fog, foliage, motion_blur, colour_cast, tint, low_resolution, info_strip, jpeg)


def apply_conditions(pixels: Pixels, settings: AugmentSettings, rng: np.random.Generator) -> Pixels:
    """Apply each condition with its own probability."""
    draws = rng.random(len(CONDITIONS))
    for draw, condition in zip(draws, CONDITIONS, strict=True):
        if draw < getattr(settings, condition.__name__):
            pixels = condition(pixels, rng)
    return pixels


def _clipped(values: np.ndarray) -> Pixels:
    return np.asarray(np.clip(values, 0, 255), np.uint8)
