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


@njit(nogil=True, cache=CACHE)
def forward(plane, reference, blocks, columns, work, out):
    """Coefficients of `plane - reference` for some blocks.

    Args:
        plane, reference: uint8 or uint16 (height, width); behind the edges the last row and column repeat.
        blocks: int32 (n,) raster indices in a grid of `columns`.
        work: int32 or int64 (2, 8, 8) scratch, see above.
        out: int16 or int32 (n, 64), in scan order.
    """
    height, width = plane.shape
    x, t = work[0], work[1]
    for b in range(len(blocks)):
        top, left = 8 * (blocks[b] // columns), 8 * (blocks[b] % columns)
        if top + 8 <= height and left + 8 <= width:
            for i in range(8):
                for j in range(8):
                    x[i, j] = np.int32(plane[top + i, left + j]) - np.int32(reference[top + i, left + j])
        else:
            for i in range(8):
                y = min(top + i, height - 1)
                for j in range(8):
                    z = min(left + j, width - 1)
                    x[i, j] = np.int32(plane[y, z]) - np.int32(reference[y, z])
        for k in range(8):
            t[k, :] = 0
            for i in range(8):
                for j in range(8):
                    t[k, j] += BASIS[k, i] * x[i, j]
        # transposed, so that the inner loop runs along memory
        for j in range(8):
            for k in range(8):
                x[j, k] = t[k, j]
        for m in range(8):
            t[m, :] = 1 << (FORWARD_SHIFT - 1)
            for j in range(8):
                for k in range(8):
                    t[m, k] += BASIS[m, j] * x[j, k]
        for s in range(64):
            out[b, s] = t[SCAN[s] & 7, SCAN[s] >> 3] >> FORWARD_SHIFT


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
    t, x = work[0], work[1]
    for b in range(len(blocks)):
        used = 0
        t[:, :] = 0
        for s in range(64):
            q = np.int64(values[b, s])
            if q != 0:
                c = min(max(q * step, -limit), limit)
                k, m = SCAN[s] >> 3, SCAN[s] & 7
                used |= 1 << m
                for i in range(8):
                    t[m, i] += BASIS[k, i] * c
        if used == 0:
            continue
        x[:, :] = 1 << (SECOND_SHIFT - 1)
        for m in range(8):
            if used >> m & 1:
                for i in range(8):
                    c = (t[m, i] + (1 << (FIRST_SHIFT - 1))) >> FIRST_SHIFT
                    for j in range(8):
                        x[i, j] += c * BASIS[m, j]
        y0, x0 = 8 * (blocks[b] // columns), 8 * (blocks[b] % columns)
        for i in range(min(8, height - y0)):
            for j in range(min(8, width - x0)):
                v = np.int64(plane[y0 + i, x0 + j]) + (x[i, j] >> SECOND_SHIFT)
                plane[y0 + i, x0 + j] = min(max(v, 0), top_sample)
