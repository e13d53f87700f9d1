"""The neighbour-aware linear decoder: latents of a block and its eight neighbours to pixels. Display only, floats."""

from __future__ import annotations

from functools import partial

import numpy as np

from onboard.kernels import kernel
from onboard.kernels.aligned import aligned

_KINDS = 8
_PART = 64  # pixels computed at once: a number known to the compiler
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


# Products may be fused with sums, but not put in another order: two sums at a time are faster than one long one.
@partial(kernel, fastmath={"contract", "nnan", "ninf", "nsz"})
def decode_neighbours(first, rest, group, columns, weights, side, out):
    """Pixels of every block as a linear function of the 72 latents around, by class of the neighbourhood.

    The class is 4 * group + (0, 1, 2 or 3 for 0, 1-2, 3-5, 6-8 neighbours of group 2). A neighbour outside the plane is
    the nearest block inside. Neighbours of group 2 are done two at a time.

    Args:
        first: int16 (rows * columns,); rest: int16 (rows * columns, 8), latents 2 to 8 and a zero, read for group 2;
            group: uint8.
        weights: float32 (8, 72, side * side), row 8 * neighbour + unit, neighbours NW N NE W centre E SW S SE.
        side: pixels of a block's side in `out`: 8 times the enlargement.
        out: uint8 (side * rows, side * columns), contiguous.
    """
    rows = len(group) // columns
    parts, wide = side * side // _PART, side >> 4  # a block is 1 << wide words wide
    tops = _PART // side  # rows of pixels of a part
    # (class, part, row, pixel of the part): distances the compiler knows. The first latents' also on their own.
    table = weights.reshape(_KINDS, 72, parts, _PART).transpose(0, 2, 1, 3).copy()
    of_first = aligned(table.reshape(_KINDS, parts, 9, 8, _PART)[:, :, :, 0].copy())
    of_rest = aligned(table)
    pixel, narrow = aligned(np.empty(_PART, np.float32)), np.empty(_PART, np.uint8)
    words, out_words = narrow.view(np.uint64), out.view(np.uint64)  # eight pixels each, for moving them
    above = np.empty(columns, np.int64)  # members of group 2 among the three blocks of a column
    near, sides = np.empty(9, np.int64), np.empty(3, np.int64)
    latents, rows_at = np.empty(10, np.int64), np.empty(10, np.int64)  # of the neighbours of group 2
    length = 8 * columns
    zeros = 3 * length
    values = np.zeros(zeros + 8, np.float32)  # latents 2 to 8 of the three rows at hand: row y at y % 3
    lines = np.empty(3, np.int64)  # where those of a row begin in `values`
    flat = rest.reshape(-1)
    for y in range(rows):
        for row in range(y + 1 if y > 0 else 0, min(y + 2, rows)):
            to, at = row % 3 * length, row * length
            for i in range(length):
                values[(to & _OFFSET) + i] = flat[(at & _OFFSET) + i]
        north, here, south = max(y - 1, 0) * columns, y * columns, min(y + 1, rows - 1) * columns
        for i in range(3):
            lines[i] = min(max(y + i - 1, 0), rows - 1) % 3 * length
        for x in range(columns):
            above[x] = group[north + x] + group[here + x] + group[south + x]
        for x in range(columns):
            west, east = max(x - 1, 0), min(x + 1, columns - 1)
            own = np.int64(group[here + x])
            around = above[west] + above[x] + above[east] - own
            kind = 4 * own + (around > 0) + (around > 2) + (around > 5)
            near[0], near[1], near[2] = north + west, north + x, north + east
            near[3], near[4], near[5] = here + west, here + x, here + east
            near[6], near[7], near[8] = south + west, south + x, south + east
            sides[0], sides[1], sides[2] = west, x, east
            members = 0
            for neighbour in range(9 if kind > 0 else 0):
                latents[members] = lines[neighbour // 3] + 8 * sides[neighbour % 3]
                rows_at[members] = (8 * neighbour + 1) * _PART
                members += group[near[neighbour] & _OFFSET]
            latents[members], rows_at[members] = zeros, _PART
            for part in range(parts):
                a, b, c = np.float32(first[near[0]]), np.float32(first[near[1]]), np.float32(first[near[2]])
                d, e, f = np.float32(first[near[3]]), np.float32(first[near[4]]), np.float32(first[near[5]])
                g, h, j = np.float32(first[near[6]]), np.float32(first[near[7]]), np.float32(first[near[8]])
                base = (9 * _PART * (kind * parts + part)) & _OFFSET
                for i in range(_PART):
                    at = base + i
                    upper = np.float32(128.5) + a * of_first[at] + b * of_first[at + _PART]
                    upper = upper + c * of_first[at + 2 * _PART] + d * of_first[at + 3 * _PART]
                    lower = e * of_first[at + 4 * _PART] + f * of_first[at + 5 * _PART]
                    lower = lower + g * of_first[at + 6 * _PART] + h * of_first[at + 7 * _PART]
                    pixel[i] = upper + (lower + j * of_first[at + 8 * _PART])
                base = 72 * _PART * (kind * parts + part)
                for pair in range(0, members, 2):
                    u, v = latents[pair] & _OFFSET, latents[pair + 1] & _OFFSET
                    s, t = (base + rows_at[pair]) & _OFFSET, (base + rows_at[pair + 1]) & _OFFSET
                    a, b, c, d = values[u], values[u + 1], values[u + 2], values[u + 3]
                    e, f, g = values[u + 4], values[u + 5], values[u + 6]
                    k, m, n, o = values[v], values[v + 1], values[v + 2], values[v + 3]
                    p, q, r = values[v + 4], values[v + 5], values[v + 6]
                    for i in range(_PART):
                        at, to = s + i, t + i
                        one = pixel[i] + a * of_rest[at] + b * of_rest[at + _PART] + c * of_rest[at + 2 * _PART]
                        one = one + d * of_rest[at + 3 * _PART] + e * of_rest[at + 4 * _PART]
                        one = one + f * of_rest[at + 5 * _PART] + g * of_rest[at + 6 * _PART]
                        two = k * of_rest[to] + m * of_rest[to + _PART] + n * of_rest[to + 2 * _PART]
                        two = two + o * of_rest[to + 3 * _PART] + p * of_rest[to + 4 * _PART]
                        pixel[i] = one + (two + q * of_rest[to + 5 * _PART] + r * of_rest[to + 6 * _PART])
                for i in range(_PART):
                    narrow[i] = np.uint8(min(max(pixel[i], np.float32(0)), np.float32(255)))
                row, column = (side * y + part * tops) & _OFFSET, (x << wide) & _OFFSET
                for i in range(8):
                    out_words[row + (i >> wide), column + (i & wide)] = words[i]
