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
from onboard.kernels.bits import prefetch

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
BATCH = 32  # blocks that are transformed together, one a lane: element `i` of block `b` is at `BATCH * i + b`
# Scan position -> where the lanes of a coefficient begin: column after column
LANES = ((8 * (SCAN & 7) + (SCAN >> 3)) * BATCH).astype(np.uint16)
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative
FIRST_SHIFT, SECOND_SHIFT = 5, 14


@njit(inline="always")
def _back(x, at, stride, many, shift):
    """x = transposed BASIS @ x, shifted and rounded, of `many` columns; rows begin at `at` and are `stride` apart."""
    i = x.dtype.type
    half, down = i(1 << (shift - 1)), i(shift)
    for v in range(at, at + many):
        k0, k1, k2, k3 = x[v], x[v + stride], x[v + 2 * stride], x[v + 3 * stride]
        k4, k5, k6, k7 = x[v + 4 * stride], x[v + 5 * stride], x[v + 6 * stride], x[v + 7 * stride]
        even, odd = i(i(i(64) * i(k0 + k4)) + half), i(i(i(64) * i(k0 - k4)) + half)
        low, high = i(i(i(83) * k2) + i(i(36) * k6)), i(i(i(36) * k2) - i(i(83) * k6))
        a0, a1, a2, a3 = i(even + low), i(odd + high), i(odd - high), i(even - low)
        b0 = i(i(i(i(89) * k1) + i(i(75) * k3)) + i(i(i(50) * k5) + i(i(18) * k7)))
        b1 = i(i(i(i(75) * k1) - i(i(18) * k3)) - i(i(i(89) * k5) + i(i(50) * k7)))
        b2 = i(i(i(i(50) * k1) - i(i(89) * k3)) + i(i(i(18) * k5) + i(i(75) * k7)))
        b3 = i(i(i(i(18) * k1) - i(i(50) * k3)) + i(i(i(75) * k5) - i(i(89) * k7)))
        x[v], x[v + 7 * stride] = i(a0 + b0) >> down, i(a0 - b0) >> down
        x[v + stride], x[v + 6 * stride] = i(a1 + b1) >> down, i(a1 - b1) >> down
        x[v + 2 * stride], x[v + 5 * stride] = i(a2 + b2) >> down, i(a2 - b2) >> down
        x[v + 3 * stride], x[v + 4 * stride] = i(a3 + b3) >> down, i(a3 - b3) >> down


@njit(inline="always")
def _zip(x, t):
    """t = the elements of both halves of x in turn. Three times, with lanes of samples, that makes rows of them."""
    for v in range(32 * BATCH):
        t[2 * v], t[2 * v + 1] = x[v], x[v + 32 * BATCH]


@kernel
def add_inverse(coefficients, ends, step, blocks, columns, limit, top_sample, work, plane):
    """Add the residual of quantised coefficients to some blocks of a plane, in place.

    Args:
        coefficients: int32 (m,) `64 * value + scan position` of what is not 0, block after block, at most 64 of each.
        ends: int32 (n,) where in `coefficients` each block ends.
        step: in sixteenths; `value * step` is clamped to -limit .. limit.
        blocks: int32 (n,) raster indices in the block grid; columns: of the grid.
        top_sample: the largest sample; what is above it, or below 0, is clamped.
        work: empty, of a dtype that is wide enough, see the top.
        plane: uint8 or uint16 (height, width).
    """
    height, width = plane.shape
    x, t = np.empty(64 * BATCH, work.dtype), np.empty(64 * BATCH, work.dtype)
    kind = x.dtype.type
    # of the coefficients of a batch: dequantised, and how many lanes further each is than the one before
    values, further = np.empty(64 * BATCH, work.dtype), np.empty(64 * BATCH + 1, np.uint8)
    begin = 0
    for n in range(0, len(blocks), BATCH):
        many = min(BATCH, len(blocks) - n)
        top, left = 8 * (np.int64(blocks[n]) // columns), 8 * (np.int64(blocks[n]) % columns)
        if top + 8 <= height:  # most batches are narrow: the memory would be waited for at each of their rows
            for i in range(8):
                for v in range(left, min(left + 8 * BATCH, width), 64):
                    prefetch(plane, top + i, v)
        x[:] = 0
        further[:] = 0
        for b in range(many):
            further[(np.int64(ends[n + b]) - begin) & _OFFSET] += 1
        end, at, b = np.int64(ends[n + many - 1]), begin & _OFFSET, 0
        for i in range(end - begin):
            values[i] = min(max((np.int64(coefficients[at + i]) >> 6) * step, -limit), limit)
        for i in range(end - begin):  # of all blocks, because where one ends would often be foretold wrong
            b += np.int64(further[i])
            x[np.int64(LANES[coefficients[at + i] & 63]) + b] = values[i]
        begin = end
        for m in range(8):
            _back(x, 8 * BATCH * m, BATCH, BATCH, FIRST_SHIFT)
        _back(x, 0, 8 * BATCH, 8 * BATCH, SECOND_SHIFT)
        _zip(x, t)
        _zip(t, x)
        _zip(x, t)
        b = 0
        while b < many:
            block = np.int64(blocks[n + b])
            top, left = 8 * (block // columns), 8 * (block % columns)
            run = 1  # blocks side by side are stored together
            most = min(many - b, (width - left) // 8)
            while run < most and blocks[n + b + run] == block + run:
                run += 1
            down, across = min(8, height - top), min(8 * run, width - left)
            for i in range(down):
                y, z, at = (top + i) & _OFFSET, left & _OFFSET, (8 * BATCH * i + 8 * b) & _OFFSET
                for v in range(across):
                    sample = kind(t[at + v] + kind(plane[y, z + v]))
                    plane[y, z + v] = min(max(sample, kind(0)), kind(top_sample))
            b += run
