"""Ground side of the normative decoder: latents to pixels, and first latents where none arrived. FORMAT.md section 7.

Bounds: latents are clamped to int16, gains are below 2^12, so a coefficient (latent * gain >> 8) is below 2^19 and a
pixel sum of eight products with 8-bit weights below 2^29.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE

PIXEL_SHIFT = 16


@njit(inline="always")
def _clamp16(v):
    return min(max(v, -32768), 32767)


@njit(nogil=True, cache=CACHE)
def dequantise(q, step, out):
    """out int16 = q * step clamped to int16; q int16 of any length, step a positive int below 2^13."""
    for n in range(len(q)):
        out[n] = _clamp16(np.int32(q[n]) * step)


@njit(nogil=True, cache=CACHE)
def synthesise(first, rest, group, columns, weights1, gain1, weights2, gains2, out):
    """Plain reconstruction: pixel = 128 + (sum weights * coefficient >> 16), clipped to 0..255.

    Args:
        first: int16 (blocks,); rest: int16 (blocks, 7), read for group 2; group: uint8 (blocks,).
        weights1, gain1: int32 (64,) and int, decoder of group 1; weights2, gains2: int32 (8, 64), int64 (8,).
        out: uint8 (8 * rows, 8 * columns).
    """
    pixel = np.empty(64, np.int32)
    for n in range(len(group)):
        if group[n] == 0:
            c = np.int32((np.int64(first[n]) * gain1 + 128) >> 8)
            for i in range(64):
                pixel[i] = np.int32(32768) + weights1[i] * c
        else:
            c = np.int32((np.int64(first[n]) * gains2[0] + 128) >> 8)
            for i in range(64):
                pixel[i] = np.int32(32768) + weights2[0, i] * c
            for k in range(1, 8):
                c = np.int32((np.int64(rest[n, k - 1]) * gains2[k] + 128) >> 8)
                if c != 0:
                    for i in range(64):
                        pixel[i] += weights2[k, i] * c
        y0, x0 = 8 * (n // columns), 8 * (n % columns)
        for y in range(8):
            line = out[y0 + y, x0 : x0 + 8]
            for x in range(8):
                line[x] = np.uint8(min(max((pixel[8 * y + x] >> PIXEL_SHIFT) + 128, 0), 255))


@njit(nogil=True, cache=CACHE)
def pull(value, known, coarse, coarse_known):
    """One level up: mean of the known cells of each 2x2 square, rounded half up.

    Args:
        value: int32 (h, w); known: uint8 (h, w).
        coarse, coarse_known: the same at (ceil(h / 2), ceil(w / 2)), out.
    """
    h, w = value.shape
    for y in range(coarse.shape[0]):
        for x in range(coarse.shape[1]):
            total, count = 0, 0
            for i in range(2 * y, min(2 * y + 2, h)):
                for j in range(2 * x, min(2 * x + 2, w)):
                    if known[i, j]:
                        total += value[i, j]
                        count += 1
            coarse_known[y, x] = count > 0
            coarse[y, x] = (2 * total + count) // (2 * count) if count > 0 else 0


@njit(nogil=True, cache=CACHE)
def push(value, known, coarse):
    """One level down: unknown cells become (9 a + 3 b + 3 c + d + 8) >> 4 of the four nearest coarse cells."""
    h, w = value.shape
    ch, cw = coarse.shape
    for y in range(h):
        near_y = y // 2
        far_y = min(max(near_y + (1 if y & 1 else -1), 0), ch - 1)
        for x in range(w):
            if not known[y, x]:
                near_x = x // 2
                far_x = min(max(near_x + (1 if x & 1 else -1), 0), cw - 1)
                value[y, x] = (
                    9 * coarse[near_y, near_x]
                    + 3 * coarse[near_y, far_x]
                    + 3 * coarse[far_y, near_x]
                    + coarse[far_y, far_x]
                    + 8
                ) >> 4


@njit(nogil=True, cache=CACHE)
def relax(value, known, previous):
    """One Jacobi step: unknown cells become the mean of their two to four neighbours in `previous`, half up."""
    h, w = value.shape
    for y in range(h):
        for x in range(w):
            if not known[y, x]:
                total, count = 0, 0
                if y > 0:
                    total += previous[y - 1, x]
                    count += 1
                if y + 1 < h:
                    total += previous[y + 1, x]
                    count += 1
                if x > 0:
                    total += previous[y, x - 1]
                    count += 1
                if x + 1 < w:
                    total += previous[y, x + 1]
                    count += 1
                if count > 0:
                    value[y, x] = (2 * total + count) // (2 * count)
