"""Prediction of latents 2 to 8 from the first latents around. FORMAT.md section 6.

prediction[k] = (sum_i matrix[k, i] * (neighbour_i - centre) + 128) >> 8, a neighbour outside the plane being the
nearest block inside.

Bound: eight differences below 2^16 times weights below 2^7 stay below 2^26.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.aligned import aligned

_LANES = 16  # products computed at once: of fewer the compiler makes no SIMD code
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@njit(inline="always")
def pad(first, y, rows, columns, padded):
    """First latents of the rows above, at and below row `y`, with the neighbours left and right.

    padded: int32 (3, columns + 2), out.
    """
    for i in range(3):
        near = min(max(y + i - 1, 0), rows - 1) * columns
        line, copy = first[near : near + columns], padded[i]
        for x in range(columns):
            copy[x + 1] = line[x]
        copy[0], copy[columns + 1] = copy[1], copy[columns]


@kernel
def add_prediction(first, wanted, columns, matrix, rest):
    """Add to `rest` of every wanted block what the first latents of the block and its eight neighbours foretell.

    Args:
        first: int16 (rows * columns,) dequantised first latents, raster order.
        wanted: uint8 (rows * columns,) blocks to do.
        matrix: int32 (7, 8) weights in 1/256, |m| <= 127, for NW N NE W E SW S SE.
        rest: int16 (rows * columns, 7), in and out, clamped to int16. Fastest in Fortran order: a row of blocks is then
            one SIMD loop, for which it pays to predict the unwanted ones too.
    """
    rows = len(first) // columns
    padded = np.empty((3, columns + 2), np.int32)
    around = np.empty((8, columns), np.int32)  # neighbour minus centre
    for y in range(rows):
        pad(first, y, rows, columns, padded)
        centre = padded[1, 1:]
        for i in range(8):
            at = i + (i > 3)  # of the 3x3 square, without its centre
            line, difference = padded[at // 3, at % 3 :], around[i]
            for x in range(columns):
                difference[x] = line[x] - centre[x]
        chosen = wanted[y * columns : (y + 1) * columns]
        for k in range(7):
            m = matrix[k]
            values = rest[y * columns : (y + 1) * columns, k]
            for x in range(columns):
                p = np.int32(128)
                for i in range(8):
                    p = np.int32(p + m[i] * around[i, x])
                p = np.int32(values[x] + (p >> 8))
                p = min(max(p, np.int32(-32768)), np.int32(32767))
                values[x] = p if chosen[x] else values[x]


@kernel
def predict(first, rest, wanted, columns, matrix, out):
    """The same a block at a time: `out` is `rest` and, where wanted, the prediction.

    Args:
        first, wanted, columns, matrix: as in add_prediction.
        rest: int16 (rows * columns, 8), latents 2 to 8 and a zero.
        out: int16 (rows * columns, 8), the same, clamped to int16; it may be `rest`.
    """
    rows = len(first) // columns
    padded = np.empty((3, columns + 2), np.int32)
    weights = np.zeros((8, _LANES), np.int32)  # by neighbour, then unit
    for i in range(8):
        for k in range(7):
            weights[i, k] = matrix[k, i]
    weights = aligned(weights).reshape(8, _LANES)
    line = np.empty(8 * columns + _LANES, np.int32)  # predictions of a row of blocks
    chosen = np.empty(columns, np.uint32)
    values, results = rest.reshape(8 * rows * columns), out.reshape(8 * rows * columns)
    for y in range(rows):
        pad(first, y, rows, columns, padded)
        line[:] = 0
        many = 0
        for x in range(columns):  # a list, because a branch on what is wanted would often be foretold wrong
            chosen[many] = x
            many += wanted[y * columns + x] != 0
        for i in range(many):
            x = np.int64(chosen[i])
            centre = padded[1, x + 1]
            a, b = np.int32(padded[0, x] - centre), np.int32(padded[0, x + 1] - centre)
            c, d = np.int32(padded[0, x + 2] - centre), np.int32(padded[1, x] - centre)
            e, f = np.int32(padded[1, x + 2] - centre), np.int32(padded[2, x] - centre)
            g, h = np.int32(padded[2, x + 1] - centre), np.int32(padded[2, x + 2] - centre)
            at = (8 * x) & _OFFSET
            for k in range(_LANES):  # the lanes behind a block's own are zero, as is the next block so far
                p = np.int32(np.int32(128) + np.int32(a * weights[0, k]))
                p = np.int32(p + np.int32(b * weights[1, k]))
                p = np.int32(p + np.int32(c * weights[2, k]))
                p = np.int32(p + np.int32(d * weights[3, k]))
                p = np.int32(p + np.int32(e * weights[4, k]))
                p = np.int32(p + np.int32(f * weights[5, k]))
                p = np.int32(p + np.int32(g * weights[6, k]))
                line[at + k] = np.int32(p + np.int32(h * weights[7, k])) >> 8
        at = (8 * y * columns) & _OFFSET
        for i in range(8 * columns):
            results[at + i] = min(max(np.int32(values[at + i] + line[i]), np.int32(-32768)), np.int32(32767))
