"""Small pictures that no symmetry can save: width, height and every corner differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def gradient(height: int, width: int) -> np.ndarray:
    """A slope that differs in every corner, with a bright blob off the centre."""
    y, x = np.mgrid[:height, :width]
    slope = 40 + 90 * x / max(width, 2) + 50 * y / max(height, 2)
    blob = 70 * np.exp(-((x - 0.3 * width) ** 2 + (y - 0.7 * height) ** 2) / (0.02 * height * width + 1))
    return np.clip(slope + blob, 0, 255).astype(np.uint8)


def texture(height: int, width: int, seed: int = 5) -> np.ndarray:
    """Waves, an edge and noise: both groups, most contexts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 50 * np.sin(x / 3.1 + y / 9) * (x > width // 3) + 40 * np.cos(y / 2.3) * (y > height // 2)
    edge = 60 * ((x + 2 * y) > 1.2 * width)
    return np.clip(110 + waves + edge + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


def noise(height: int, width: int, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def checkerboard(height: int, width: int, side: int = 1) -> np.ndarray:
    """Black and white squares: as much contrast as there is."""
    y, x = np.mgrid[:height, :width]
    return ((x // side + y // side) % 2 * 255).astype(np.uint8)


def colourful(height: int, width: int) -> np.ndarray:
    """Three channels that have little to do with each other."""
    return np.stack([texture(height, width), gradient(height, width), texture(height, width, 6)[::-1]], -1)


def deep(height: int, width: int) -> np.ndarray:
    """12 bits in uint16, with a corner of zeros that may mean "no data"."""
    y, x = np.mgrid[:height, :width]
    picture = (300 + 2900 * x / width + 600 * y / height).astype(np.uint16)
    picture[: height // 4, : width // 3] = 0
    return picture


def deep_colourful(height: int, width: int) -> np.ndarray:
    """12 bits in three channels of which each has a texture, noise and a slope of its own."""
    slope, fine = deep(height, width)[::-1], colourful(height, width).astype(np.uint16)
    return np.stack([8 * fine[..., c] + slope // (c + 2) for c in range(3)], -1).astype(np.uint16)


def folder_of_textures(parent: Path, count: int = 11) -> Path:
    """A folder of as many pictures as nets are trained on at least, and one more."""
    folder = parent / "pictures"
    folder.mkdir()
    for seed in range(count):
        Image.fromarray(texture(168, 168, seed)).save(folder / f"{seed}.png")
    return folder
