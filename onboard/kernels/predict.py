"""Prediction of latents 2 to 8 from the first latents around, shared by both sides. FORMAT.md section 6."""

from __future__ import annotations

import numpy as np

from onboard.kernels import kernel


@kernel
def add_prediction(first, wanted, columns, matrix, rest):
    """Add to `rest` of every wanted block what the first latents of the block and its eight neighbours foretell.

    prediction[k] = (sum_i matrix[k, i] * (neighbour_i - centre) + 128) >> 8, a neighbour outside the plane being the
    nearest block inside.

    Args:
        first: int16 (rows * columns,) dequantised first latents, raster order.
        wanted: uint8 (rows * columns,) blocks to do.
        matrix: int32 (7, 8) weights in 1/256, |m| <= 127, for NW N NE W E SW S SE.
        rest: int16 (rows * columns, 7), in and out, clamped to int16. Fastest in Fortran order: a row of blocks is then
            one SIMD loop, for which it pays to predict the unwanted ones too.

    Bound: eight differences below 2^16 times weights below 2^7 stay below 2^26.
    """
    rows = len(first) // columns
    padded = np.empty((3, columns + 2), np.int32)  # the rows above, at and below, with the neighbours left and right
    around = np.empty((8, columns), np.int32)  # neighbour minus centre
    for y in range(rows):
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
