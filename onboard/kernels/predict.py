"""Prediction of latents 2 to 8 from the first latents around, shared by both sides. FORMAT.md section 6."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE


@njit(nogil=True, cache=CACHE)
def add_prediction(first, wanted, columns, matrix, rest):
    """Add to `rest` of every wanted block what the first latents of the block and its eight neighbours foretell.

    prediction[k] = (sum_i matrix[k, i] * (neighbour_i - centre) + 128) >> 8, a neighbour outside the plane being the
    nearest block inside.

    Args:
        first: int16 (rows * columns,) dequantised first latents, raster order.
        wanted: uint8 (rows * columns,) blocks to do.
        matrix: int32 (7, 8) weights in 1/256, |m| <= 127, for NW N NE W E SW S SE.
        rest: int16 (rows * columns, 7), in and out, clamped to int16.

    Bound: eight differences below 2^16 times weights below 2^7 stay below 2^26.
    """
    rows = len(first) // columns
    around = np.empty(8, np.int32)
    for y in range(rows):
        north, south = max(y - 1, 0) * columns, min(y + 1, rows - 1) * columns
        for x in range(columns):
            n = y * columns + x
            if wanted[n]:
                west, east = max(x - 1, 0), min(x + 1, columns - 1)
                centre = np.int32(first[n])
                around[0] = first[north + west] - centre
                around[1] = first[north + x] - centre
                around[2] = first[north + east] - centre
                around[3] = first[n - x + west] - centre
                around[4] = first[n - x + east] - centre
                around[5] = first[south + west] - centre
                around[6] = first[south + x] - centre
                around[7] = first[south + east] - centre
                for k in range(7):
                    p = np.int32(128)
                    for i in range(8):
                        p += matrix[k, i] * around[i]
                    rest[n, k] = min(max(rest[n, k] + (p >> 8), -32768), 32767)
