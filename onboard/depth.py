"""Planes at the depth of the source, which the layers above the base code of deep pictures. FORMAT.md section 11.8."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from onboard.kernels.deep import deep_to_rgb, deep_to_ycc420
from onboard.planes import COLOUR, base_range, window_inverse
from onboard.wire import Window


@lru_cache(maxsize=6)
def to_depth(window: Window, plane: int) -> np.ndarray:
    """uint16 (256,) from a sample of a base's plane to one at the depth of the source.

    Luma and grey go through the inverse of the window. Chroma, a difference, has its slope only, be there a curve or
    not: each plane is brought to depth without looking at another one, so that it can be refined without it.
    """
    if plane == 0:
        return window_inverse(window)
    _, levels = base_range(window)
    span, half = window.high - window.low, 1 << (window.depth - 1)
    chroma = np.arange(256, dtype=np.int64) - 128
    value = half + (2 * span * chroma + levels) // (2 * levels)
    return np.clip(value, 0, 2 * half - 1).astype(np.uint16)


def colour_planes(picture: np.ndarray, depth: int) -> list[np.ndarray]:
    """Y, and Cb and Cr at half size, of a uint16 picture (height, width, 3) of `depth` bits: uint16."""
    height, width = picture.shape[:2]
    y = np.empty((height, width), np.uint16)
    cb, cr = (np.empty((-(-height // 2), -(-width // 2)), np.uint16) for _ in range(2))
    deep_to_ycc420(np.ascontiguousarray(picture), COLOUR, 1 << (depth - 1), y, cb, cr)
    return [y, cb, cr]


def colour_picture(planes: list[np.ndarray], depth: int) -> np.ndarray:
    """uint16 (height, width, 3) from Y, Cb and Cr of `depth` bits at full size."""
    picture = np.empty((*planes[0].shape, 3), np.uint16)
    deep_to_rgb(*planes, 1 << (depth - 1), picture)
    return picture
