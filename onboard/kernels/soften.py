"""A guess at what the ground makes of a plain picture: the edges of its blocks softened. For errors to compare only.

Of a step `d` between two blocks the samples on both sides take up a quarter, those behind them an eighth.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

_BLOCK = 8
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@njit(inline="always")
def _moved(value, by, top):
    return min(max(np.int32(np.int32(value) + by), np.int32(0)), top)


@njit(inline="always")
def _shares(before, behind):
    """By how much the samples next to an edge move, and those behind them; the other side moves the other way."""
    d = np.int32(np.int32(behind) - np.int32(before))
    return np.int32(np.int32(2 * d) + np.int32(4)) >> np.int32(3), np.int32(d + np.int32(4)) >> np.int32(3)


@kernel
def soften(plane, top):
    """Soften the edges of 8x8 blocks, the upright ones first, in place.

    Args:
        plane: uint8 or uint16 (height, width); its first block begins in its corner.
        top: the largest sample.
    """
    height, width = plane.shape
    top = np.int32(top)
    for y in range(height):
        line = plane[y]
        for edge in range(_BLOCK, width - 1, _BLOCK):
            x = edge & _OFFSET
            near, far = _shares(line[x - 1], line[x])
            line[x - 2], line[x - 1] = _moved(line[x - 2], far, top), _moved(line[x - 1], near, top)
            line[x], line[x + 1] = _moved(line[x], -near, top), _moved(line[x + 1], -far, top)
        if width > _BLOCK and width % _BLOCK == 1:  # the last block is one sample wide
            x = width - 1
            near, far = _shares(line[x - 1], line[x])
            line[x - 2], line[x - 1] = _moved(line[x - 2], far, top), _moved(line[x - 1], near, top)
            line[x] = _moved(line[x], -near, top)
    for y in range(_BLOCK, height, _BLOCK):
        a, b, c, d = plane[y - 2], plane[y - 1], plane[y], plane[min(y + 1, height - 1)]
        has_last = np.int32(-(y + 1 < height))  # a mask: `d` may be `c`
        for x in range(width):
            near, far = _shares(b[x], c[x])
            a[x], b[x], c[x] = _moved(a[x], far, top), _moved(b[x], near, top), _moved(c[x], -near, top)
            d[x] = _moved(d[x], -far & has_last, top)
