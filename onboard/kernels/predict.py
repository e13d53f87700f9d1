"""Prediction of latents 2 to 8 from the first latents around. FORMAT.md section 6.

prediction[k] = (sum_i matrix[k, i] * (neighbour_i - centre) + 128) >> 8, a neighbour outside the plane being the
nearest block inside.

Bound: eight differences below 2^16 times weights below 2^7 stay below 2^26.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@njit
def _foretell(first, y, rows, columns, matrix, padded, around, foretold):
    """Prediction of a row of blocks.

    Args:
        padded: int32 (3, columns + 2) scratch: the rows above, at and below, with the neighbours left and right.
        around: int32 (8, columns) scratch: neighbour minus centre.
        foretold: int32 (7, columns), out.
    """
    for i in range(3):
        near = min(max(y + i - 1, 0), rows - 1) * columns
        line, copy = first[near : near + columns], padded[i]
        for x in range(columns):
            copy[x + 1] = line[x]
        copy[0], copy[columns + 1] = copy[1], copy[columns]
    centre = padded[1, 1:]
    for i in range(8):
        at = i + (i > 3)  # of the 3x3 square, without its centre
        line, difference = padded[at // 3, at % 3 :], around[i]
        for x in range(columns):
            difference[x] = line[x] - centre[x]
    for k in range(7):
        m, line = matrix[k], foretold[k]
        for x in range(columns):
            p = np.int32(128)
            for i in range(8):
                p = np.int32(p + m[i] * around[i, x])
            line[x] = p >> 8


@kernel
def add_prediction(first, wanted, columns, matrix, rest):
    """Add to `rest` of every wanted block what the first latents of the block and its eight neighbours foretell.

    Args:
        first: int16 (rows * columns,) dequantised first latents, raster order.
        wanted: uint8 (rows * columns,) blocks to do.
        matrix: int32 (7, 8) weights in 1/256, |m| <= 127, for NW N NE W E SW S SE.
        rest: int16 (rows * columns, 7), in and out, clamped to int16. Fastest in Fortran order.
    """
    rows = len(first) // columns
    padded, around = np.empty((3, columns + 2), np.int32), np.empty((8, columns), np.int32)
    foretold = np.empty((7, columns), np.int32)
    for y in range(rows):
        _foretell(first, y, rows, columns, matrix, padded, around, foretold)
        chosen = wanted[y * columns : (y + 1) * columns]
        for k in range(7):
            values, line = rest[y * columns : (y + 1) * columns, k], foretold[k]
            for x in range(columns):
                p = min(max(np.int32(values[x] + line[x]), np.int32(-32768)), np.int32(32767))
                values[x] = p if chosen[x] else values[x]


@kernel
def predict(first, rest, wanted, columns, matrix, out):
    """The same a block at a time: `out` is `rest` and the prediction.

    Args:
        first, wanted, columns, matrix: as in add_prediction.
        rest: int16 (rows * columns, 8), latents 2 to 8 and a zero.
        out: int16 (rows * columns, 8), the same, clamped to int16; blocks that are not wanted are left alone.
    """
    rows = len(first) // columns
    padded, around = np.empty((3, columns + 2), np.int32), np.empty((8, columns), np.int32)
    foretold = np.empty((7, columns), np.int32)
    for y in range(rows):
        _foretell(first, y, rows, columns, matrix, padded, around, foretold)
        for x in range(columns):
            n = (y * columns + x) & _OFFSET
            if wanted[n]:
                for k in range(7):
                    p = np.int32(rest[n, k] + foretold[k, x & _OFFSET])
                    out[n, k] = min(max(p, np.int32(-32768)), np.int32(32767))
