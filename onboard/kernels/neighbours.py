"""The neighbour-aware linear decoder: latents of a block and its eight neighbours to pixels. Display only, floats."""

from __future__ import annotations

from functools import partial

import numpy as np

from onboard.kernels import kernel

_KINDS = 8
_PART = 64  # pixels computed at once: a number known to the compiler
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@partial(kernel, fastmath=True)
def decode_neighbours(first, rest, group, columns, weights, side, out):
    """Pixels of every block as a linear function of the 72 latents around, by class of the neighbourhood.

    The class is 4 * group + (0, 1, 2 or 3 for 0, 1-2, 3-5, 6-8 neighbours of group 2). A neighbour outside the plane is
    the nearest block inside. A row of blocks is done class by class, so that the weights stay in the first-level cache.

    Args:
        first: int16 (rows * columns,); rest: int16 (rows * columns, 7), read for group 2; group: uint8.
        weights: float32 (8, 72, side * side), row 8 * neighbour + unit, neighbours NW N NE W centre E SW S SE.
        side: pixels of a block's side in `out`: 8 times the enlargement.
        out: uint8 (side * rows, side * columns), contiguous.
    """
    rows = len(group) // columns
    area, many = side * side, side // 8
    step = area & _OFFSET
    weights_first = weights[:, ::8].copy().reshape(_KINDS * 9 * area)
    weights_rest = weights.reshape(_KINDS * 72 * area)
    pixel, narrow = np.empty(_PART, np.float32), np.empty(_PART, np.uint8)
    line = np.empty((side, side * columns), np.uint8)  # pixels of a row of blocks
    # Eight pixels each, for moving them.
    narrow_words, words, out_words = narrow.view(np.uint64), line.view(np.uint64), out.view(np.uint64)
    kinds, order = np.empty(columns, np.uint8), np.empty(columns, np.int64)
    count = np.empty(_KINDS + 1, np.int64)
    above = np.empty(columns, np.uint8)
    near = np.empty(9, np.int64)
    for y in range(rows):
        north, here, south = max(y - 1, 0) * columns, y * columns, min(y + 1, rows - 1) * columns
        for x in range(columns):
            above[x] = group[north + x] + group[here + x] + group[south + x]
        count[:] = 0
        for x in range(columns):
            own = np.int64(group[here + x])
            around = np.int64(above[max(x - 1, 0)]) + above[x] + above[min(x + 1, columns - 1)] - own
            kinds[x] = 4 * own + (around > 0) + (around > 2) + (around > 5)
            count[kinds[x] + 1] += 1
        for k in range(_KINDS):
            count[k + 1] += count[k]
        for x in range(columns):
            order[count[kinds[x]]] = x
            count[kinds[x]] += 1
        for o in range(columns):
            x = order[o]
            kind = np.int64(kinds[x])
            west, east = max(x - 1, 0), min(x + 1, columns - 1)
            near[0], near[1], near[2] = north + west, north + x, north + east
            near[3], near[4], near[5] = here + west, here + x, here + east
            near[6], near[7], near[8] = south + west, south + x, south + east
            for part in range(0, area, _PART):
                a, b, c = np.float32(first[near[0]]), np.float32(first[near[1]]), np.float32(first[near[2]])
                d, e, f = np.float32(first[near[3]]), np.float32(first[near[4]]), np.float32(first[near[5]])
                g, h, j = np.float32(first[near[6]]), np.float32(first[near[7]]), np.float32(first[near[8]])
                base = (9 * kind * area + part) & _OFFSET
                for i in range(_PART):
                    at = base + i
                    pixel[i] = (
                        np.float32(128.5)
                        + a * weights_first[at]
                        + b * weights_first[at + step]
                        + c * weights_first[at + 2 * step]
                        + d * weights_first[at + 3 * step]
                        + e * weights_first[at + 4 * step]
                        + f * weights_first[at + 5 * step]
                        + g * weights_first[at + 6 * step]
                        + h * weights_first[at + 7 * step]
                        + j * weights_first[at + 8 * step]
                    )
                for neighbour in range(9 if kind > 0 else 0):
                    m = near[neighbour]
                    if group[m]:
                        a, b, c = np.float32(rest[m, 0]), np.float32(rest[m, 1]), np.float32(rest[m, 2])
                        d, e = np.float32(rest[m, 3]), np.float32(rest[m, 4])
                        f, g = np.float32(rest[m, 5]), np.float32(rest[m, 6])
                        base = ((72 * kind + 8 * neighbour + 1) * area + part) & _OFFSET
                        for i in range(_PART):
                            at = base + i
                            pixel[i] += (
                                a * weights_rest[at]
                                + b * weights_rest[at + step]
                                + c * weights_rest[at + 2 * step]
                                + d * weights_rest[at + 3 * step]
                                + e * weights_rest[at + 4 * step]
                                + f * weights_rest[at + 5 * step]
                                + g * weights_rest[at + 6 * step]
                            )
                for i in range(_PART):
                    narrow[i] = np.uint8(min(max(pixel[i], np.float32(0)), np.float32(255)))
                top, i = part // side, 0
                for row in range(top, top + _PART // side):
                    for k in range(many):
                        words[row, x * many + k] = narrow_words[i]
                        i += 1
        for row in range(side):
            for k in range(many * columns):
                out_words[side * y + row, k] = words[row, k]
