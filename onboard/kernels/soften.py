"""A guess at what the ground makes of a plain picture: the edges of its blocks softened. For errors to compare only.

Where the step between two blocks is small enough to be the quantiser's, the samples on both sides take up three eighths
of it, those behind them a quarter, and the next an eighth.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

_BLOCK, _REACH = 8, 3
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@njit(inline="always")
def _share(step, eighths):
    return np.int32(np.int32(step * np.int32(eighths)) + np.int32(4)) >> np.int32(3)


@njit(inline="always")
def _step(before, behind, limit):
    """The step between two samples, 0 for one that is not small."""
    d = np.int32(np.int32(behind) - np.int32(before))
    return d if abs(d) < limit else np.int32(0)


@njit(inline="always")
def _moved(value, by, top):
    return min(max(np.int32(np.int32(value) + by), np.int32(0)), top)


@kernel
def soften(plane, top, limit):
    """Soften the edges of 8x8 blocks, the upright ones first, in place.

    Args:
        plane: uint8 or uint16 (height, width); its first block begins in its corner.
        top: the largest sample.
        limit: least step between two blocks that is left as it is.
    """
    height, width = plane.shape
    top, limit = np.int32(top), np.int32(limit)
    for y in range(height):
        line = plane[y]
        for edge in range(_BLOCK, width, _BLOCK):
            x = edge & _OFFSET
            d = _step(line[x - 1], line[x], limit)
            for i in range(_REACH):
                line[x - 1 - i] = _moved(line[x - 1 - i], _share(d, _REACH - i), top)
            for i in range(min(_REACH, width - edge)):
                line[x + i] = _moved(line[x + i], -_share(d, _REACH - i), top)
    for y in range(_BLOCK, height, _BLOCK):
        a, b, c, e = plane[y - 3], plane[y - 2], plane[y - 1], plane[y]
        # the last two may be one of those before: a mask leaves them alone
        f, has_f = plane[min(y + 1, height - 1)], np.int32(-(y + 1 < height))
        g, has_g = plane[min(y + 2, height - 1)], np.int32(-(y + 2 < height))
        for x in range(width):
            d = _step(c[x], e[x], limit)
            near, middle, far = _share(d, 3), _share(d, 2), _share(d, 1)
            a[x], b[x], c[x] = _moved(a[x], far, top), _moved(b[x], middle, top), _moved(c[x], near, top)
            e[x] = _moved(e[x], -near, top)
            f[x] = _moved(f[x], -middle & has_f, top)
            g[x] = _moved(g[x], -far & has_g, top)
