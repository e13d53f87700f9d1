"""The basis of the refinement layers: an integer 8x8 cosine transform, forward and back. FORMAT.md section 11.

The inverse is normative, the forward half the encoder's own. Coefficients are in sixteenths of a sample (of the
orthonormal transform) and in scan order, along the anti-diagonals.

Bounds, for samples of `depth` bits: a residual is below 2^depth, a row of BASIS sums to at most 512 in magnitude, so
the forward sums stay below 2^(depth + 18); coefficients are below 2^(depth + 7), a column of BASIS sums to at most 479,
so the inverse sums stay below 2^(depth + 16) and 2^(depth + 20). The caller's `work` is int32 up to 8 bits, else int64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE

# Rows k, samples i, those of ITU-T H.265: their norms differ by less than 0.1 % from 2^7.5, and they are orthogonal to
# 0.2 %.
BASIS = np.array(
    [
        [64, 64, 64, 64, 64, 64, 64, 64],
        [89, 75, 50, 18, -18, -50, -75, -89],
        [83, 36, -36, -83, -83, -36, 36, 83],
        [75, -18, -89, -50, 50, 89, 18, -75],
        [64, -64, -64, 64, 64, -64, -64, 64],
        [50, -89, 18, 75, -75, -18, 89, -50],
        [36, -83, 83, -36, -36, 83, -83, 36],
        [18, -50, 75, -89, 89, -75, 50, -18],
    ],
    np.int32,
)
# Scan position -> 8 * row + column: anti-diagonals, the even ones upwards, the odd ones downwards.
SCAN = np.array(
    sorted(range(64), key=lambda i: (i // 8 + i % 8, i % 8 if (i // 8 + i % 8) % 2 == 0 else i // 8)), np.int32
)
FORWARD_SHIFT = 11
FIRST_SHIFT, SECOND_SHIFT = 5, 14


@njit(inline="always")
def _columns(x, t):
    """t = BASIS @ x, by the symmetries of the basis; every column on its own, so that the loop is a vector one."""
    for j in range(8):
        a0, b0 = x[0, j] + x[7, j], x[0, j] - x[7, j]
        a1, b1 = x[1, j] + x[6, j], x[1, j] - x[6, j]
        a2, b2 = x[2, j] + x[5, j], x[2, j] - x[5, j]
        a3, b3 = x[3, j] + x[4, j], x[3, j] - x[4, j]
        t[0, j] = 64 * (a0 + a1 + a2 + a3)
        t[4, j] = 64 * (a0 - a1 - a2 + a3)
        t[2, j] = 83 * (a0 - a3) + 36 * (a1 - a2)
        t[6, j] = 36 * (a0 - a3) - 83 * (a1 - a2)
        t[1, j] = 89 * b0 + 75 * b1 + 50 * b2 + 18 * b3
        t[3, j] = 75 * b0 - 18 * b1 - 89 * b2 - 50 * b3
        t[5, j] = 50 * b0 - 89 * b1 + 18 * b2 + 75 * b3
        t[7, j] = 18 * b0 - 50 * b1 + 75 * b2 - 89 * b3


@njit(nogil=True, cache=CACHE)
def forward(plane, reference, blocks, columns, work, out):
    """Coefficients of `plane - reference` for some blocks.

    Args:
        plane, reference: uint8 or uint16 (height, width); behind the edges the last row and column repeat.
        blocks: int32 (n,) raster indices in a grid of `columns`.
        work: int32 or int64 (2, 8, 8), see above: only its type counts, local arrays alias nothing.
        out: int16 or int32 (n, 64), in scan order.
    """
    height, width = plane.shape
    x, t = np.empty((8, 8), work.dtype), np.empty((8, 8), work.dtype)
    for b in range(len(blocks)):
        top, left = 8 * (blocks[b] // columns), 8 * (blocks[b] % columns)
        if top + 8 <= height and left + 8 <= width:
            for i in range(8):
                ours, theirs = plane[top + i, left : left + 8], reference[top + i, left : left + 8]
                for j in range(8):
                    x[i, j] = np.int32(ours[j]) - np.int32(theirs[j])
        else:
            for i in range(8):
                y = min(top + i, height - 1)
                for j in range(8):
                    z = min(left + j, width - 1)
                    x[i, j] = np.int32(plane[y, z]) - np.int32(reference[y, z])
        _columns(x, t)
        for i in range(8):
            for j in range(8):
                x[j, i] = t[i, j]
        _columns(x, t)
        for s in range(64):
            out[b, s] = (t[SCAN[s] & 7, SCAN[s] >> 3] + (1 << (FORWARD_SHIFT - 1))) >> FORWARD_SHIFT


@njit(inline="always")
def _columns_back(c, t):
    """t = transposed BASIS @ c, like _columns."""
    for j in range(8):
        even, odd = 64 * (c[0, j] + c[4, j]), 64 * (c[0, j] - c[4, j])
        low, high = 83 * c[2, j] + 36 * c[6, j], 36 * c[2, j] - 83 * c[6, j]
        a0, a1, a2, a3 = even + low, odd + high, odd - high, even - low
        b0 = 89 * c[1, j] + 75 * c[3, j] + 50 * c[5, j] + 18 * c[7, j]
        b1 = 75 * c[1, j] - 18 * c[3, j] - 89 * c[5, j] - 50 * c[7, j]
        b2 = 50 * c[1, j] - 89 * c[3, j] + 18 * c[5, j] + 75 * c[7, j]
        b3 = 18 * c[1, j] - 50 * c[3, j] + 75 * c[5, j] - 89 * c[7, j]
        t[0, j], t[7, j] = a0 + b0, a0 - b0
        t[1, j], t[6, j] = a1 + b1, a1 - b1
        t[2, j], t[5, j] = a2 + b2, a2 - b2
        t[3, j], t[4, j] = a3 + b3, a3 - b3


@njit(nogil=True, cache=CACHE)
def add_inverse(values, step, blocks, columns, limit, top_sample, work, plane):
    """Add the residual of quantised coefficients to some blocks of a plane, in place.

    Args:
        values: int32 (n, 64) quantised coefficients, scan order.
        step: in sixteenths; `values * step` is clamped to -limit .. limit.
        blocks, columns, work: as in forward.
        top_sample: the largest sample; what is above it, or below 0, is clamped.
        plane: uint8 or uint16 (height, width).
    """
    height, width = plane.shape
    c, t = np.empty((8, 8), work.dtype), np.empty((8, 8), work.dtype)
    for b in range(len(blocks)):
        c[:, :] = 0
        for s in range(64):
            if values[b, s] != 0:
                c[SCAN[s] >> 3, SCAN[s] & 7] = min(max(np.int64(values[b, s]) * step, -limit), limit)
        _columns_back(c, t)
        for i in range(8):
            for j in range(8):
                c[j, i] = (t[i, j] + (1 << (FIRST_SHIFT - 1))) >> FIRST_SHIFT
        _columns_back(c, t)
        y0, x0 = 8 * (blocks[b] // columns), 8 * (blocks[b] % columns)
        for i in range(min(8, height - y0)):
            for j in range(min(8, width - x0)):
                v = np.int64(plane[y0 + i, x0 + j]) + ((t[j, i] + (1 << (SECOND_SHIFT - 1))) >> SECOND_SHIFT)
                plane[y0 + i, x0 + j] = min(max(v, 0), top_sample)
