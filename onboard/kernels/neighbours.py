"""The neighbour-aware linear decoder: latents of a block and its eight neighbours to pixels. Display only, floats."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE


@njit(nogil=True, cache=CACHE, fastmath=True)
def decode_neighbours(first, rest, group, columns, weights, side, out):
    """Pixels of every block as a linear function of the 72 latents around, by class of the neighbourhood.

    The class is 4 * group + (0, 1, 2 or 3 for 0, 1-2, 3-5, 6-8 neighbours of group 2).

    Args:
        first: int16 (rows * columns,); rest: int16 (rows * columns, 7), read for group 2; group: uint8.
        weights: float32 (8, 72, side * side), row 8 * neighbour + unit, neighbours NW N NE W centre E SW S SE.
        side: pixels of a block's side in `out`: 8 times the enlargement.
        out: uint8 (side * rows, side * columns).
    """
    rows = len(group) // columns
    area = side * side
    pixel = np.empty(area, np.float32)
    for y in range(rows):
        for x in range(columns):
            around = 0
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if dy != 0 or dx != 0:
                        m = min(max(y + dy, 0), rows - 1) * columns + min(max(x + dx, 0), columns - 1)
                        around += group[m]
            n = y * columns + x
            kind = 4 * group[n] + (0 if around == 0 else (1 if around < 3 else (2 if around < 6 else 3)))
            table = weights[kind]
            for i in range(area):
                pixel[i] = np.float32(128.5)
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    m = min(max(y + dy, 0), rows - 1) * columns + min(max(x + dx, 0), columns - 1)
                    base = 8 * (3 * (dy + 1) + dx + 1)
                    f = np.float32(first[m])
                    row = table[base]
                    for i in range(area):
                        pixel[i] += f * row[i]
                    if group[m]:
                        for k in range(7):
                            f = np.float32(rest[m, k])
                            row = table[base + 1 + k]
                            for i in range(area):
                                pixel[i] += f * row[i]
            for v in range(side):
                line = out[side * y + v, side * x : side * x + side]
                for u in range(side):
                    line[u] = np.uint8(min(max(pixel[side * v + u], np.float32(0)), np.float32(255)))
