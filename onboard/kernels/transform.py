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

from onboard.kernels import kernel

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
_BATCH = 32  # blocks that are transformed together
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative
FIRST_SHIFT, SECOND_SHIFT = 5, 14


@njit(inline="always")
def _back(c, t):
    """t = transposed BASIS @ c, by the symmetries of the basis: a vector loop over all columns of a batch."""
    i = c.dtype.type
    for v in range(8 * _BATCH):
        even, odd = i(i(64) * i(c[0, v] + c[4, v])), i(i(64) * i(c[0, v] - c[4, v]))
        low, high = i(i(i(83) * c[2, v]) + i(i(36) * c[6, v])), i(i(i(36) * c[2, v]) - i(i(83) * c[6, v]))
        a0, a1, a2, a3 = i(even + low), i(odd + high), i(odd - high), i(even - low)
        k1, k3, k5, k7 = c[1, v], c[3, v], c[5, v], c[7, v]
        b0 = i(i(i(i(89) * k1) + i(i(75) * k3)) + i(i(i(50) * k5) + i(i(18) * k7)))
        b1 = i(i(i(i(75) * k1) - i(i(18) * k3)) - i(i(i(89) * k5) + i(i(50) * k7)))
        b2 = i(i(i(i(50) * k1) - i(i(89) * k3)) + i(i(i(18) * k5) + i(i(75) * k7)))
        b3 = i(i(i(i(18) * k1) - i(i(50) * k3)) + i(i(i(75) * k5) - i(i(89) * k7)))
        t[0, v], t[7, v] = i(a0 + b0), i(a0 - b0)
        t[1, v], t[6, v] = i(a1 + b1), i(a1 - b1)
        t[2, v], t[5, v] = i(a2 + b2), i(a2 - b2)
        t[3, v], t[4, v] = i(a3 + b3), i(a3 - b3)


@kernel
def add_inverse(coefficients, ends, step, blocks, columns, limit, top_sample, work, plane):
    """Add the residual of quantised coefficients to some blocks of a plane, in place.

    Args:
        coefficients: int32 (m,) `64 * value + scan position` of what is not 0, block after block.
        ends: int32 (n,) where in `coefficients` each block ends.
        step: in sixteenths; `value * step` is clamped to -limit .. limit.
        blocks: int32 (n,) raster indices in the block grid; columns: of the grid.
        top_sample: the largest sample; what is above it, or below 0, is clamped.
        work: of a dtype that is wide enough, see the top.
        plane: uint8 or uint16 (height, width).
    """
    height, width = plane.shape
    c, t = np.empty((8, 8 * _BATCH), work.dtype), np.empty((8, 8 * _BATCH), work.dtype)
    kind = c.dtype.type
    half, shift = kind(1 << (FIRST_SHIFT - 1)), kind(FIRST_SHIFT)
    last_half, last_shift = kind(1 << (SECOND_SHIFT - 1)), kind(SECOND_SHIFT)
    begin = 0
    for n in range(0, len(blocks), _BATCH):
        many = min(_BATCH, len(blocks) - n)
        c[:, :] = 0
        for b in range(many):
            for at in range(begin, ends[n + b]):
                both = np.int64(coefficients[at])
                place = np.int64(SCAN[both & 63])
                c[place >> 3, (8 * b + (place & 7)) & _OFFSET] = min(max((both >> 6) * step, -limit), limit)
            begin = ends[n + b]
        _back(c, t)
        for i in range(8):
            for b in range(_BATCH):
                for j in range(8):
                    c[j, _BATCH * i + b] = kind(t[i, 8 * b + j] + half) >> shift
        _back(c, t)
        for i in range(8):
            for b in range(_BATCH):
                for j in range(8):
                    c[i, 8 * b + j] = kind(t[j, _BATCH * i + b] + last_half) >> last_shift
        for b in range(many):
            y0, x0 = 8 * (np.int64(blocks[n + b]) // columns), 8 * (np.int64(blocks[n + b]) % columns)
            if y0 + 8 <= height and x0 + 8 <= width:
                for i in range(8):
                    y, x = (y0 + i) & _OFFSET, x0 & _OFFSET
                    for j in range(8):
                        v = kind(c[i, 8 * b + j] + kind(plane[y, x + j]))
                        plane[y, x + j] = min(max(v, kind(0)), kind(top_sample))
            else:
                for i in range(min(8, height - y0)):
                    for j in range(min(8, width - x0)):
                        v = np.int64(plane[y0 + i, x0 + j]) + np.int64(c[i, 8 * b + j])
                        plane[y0 + i, x0 + j] = min(max(v, 0), top_sample)
