"""Ground side of the normative decoder: symbols to latents to pixels, and first latents where none arrived.

FORMAT.md section 7.

Bounds: latents are clamped to int16, gains are below 2^12, so a coefficient (latent * gain >> 8) is below 2^19 and a
pixel sum of eight products with 8-bit weights below 2^29.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.aligned import aligned
from onboard.kernels.bits import prefetch

PIXEL_SHIFT = 16
_KEPT = 512  # blocks of group 1 that synthesise keeps: 32 KiB
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@njit
def _dequantised(q, step):
    v = np.int32(np.int32(q) * np.int32(step))
    return min(max(v, np.int32(-32768)), np.int32(32767))


@kernel
def dequantise(q, step, out):
    """out int16 = q * step clamped to int16; q int16 of any length, step a positive int below 2^13."""
    for n in range(len(q)):
        out[n] = _dequantised(q[n], step)


@njit(inline="always")
def clipped(p):
    return np.uint8(min(max(np.int32(p >> PIXEL_SHIFT), np.int32(0)), np.int32(255)))


@kernel
def synthesise(first, rest, group, columns, weights1, gain1, weights2, gains2, out):
    """Plain reconstruction: pixel = 128 + (sum weights * coefficient >> 16), clipped to 0..255.

    A block of group 1 depends on one number, of which a picture has few: each is worked out once.

    Args:
        first: int16 (blocks,); rest: int16 (blocks, 8), latents 2 to 8 and a zero, read for group 2; group: uint8
            (blocks,).
        weights1, gain1: int32 (64,) and int, decoder of group 1; weights2, gains2: int32 (8, 64), int64 (8,).
        out: uint8 (8 * rows, 8 * columns), contiguous.
    """
    half = np.int32((1 << PIXEL_SHIFT - 1) + (128 << PIXEL_SHIFT))
    pixels = np.empty((_KEPT + 1, 64), np.uint8)  # blocks of group 1, and a block that is not kept
    words, out_words = pixels.view(np.uint64), out.view(np.uint64)  # eight pixels each, for moving them
    place = np.zeros(1 << 16, np.int16)  # of a first latent in `pixels`, from 1 on
    kept = 0
    latents = rest.reshape(8 * len(rest))
    c = np.empty(8, np.int32)
    gains, weights = np.empty(8, np.int32), np.empty((8, 64), np.int32)  # in the order of `rest`: unit 1 comes last
    for k in range(8):
        gains[k - 1] = gains2[k]
        weights[k - 1] = weights2[k]
    members = np.empty(columns, np.uint32)
    weights = aligned(weights).reshape(8, 64)
    for row in range(len(group) // columns):
        begin, top = row * columns, (8 * row) & _OFFSET
        many = 0
        for column in range(columns):  # a list, because a branch on the group would often be foretold wrong
            members[many] = column
            prefetch(out, min(top + 8 + (column & 7), len(out) - 1), 8 * (column & ~7))
            many += group[begin + column] != 0
            tone = np.int64(first[begin + column])
            at = np.int64(place[(tone + 32768) & 65535])
            if at == 0:
                if kept < _KEPT:
                    kept += 1
                    at = kept
                    place[(tone + 32768) & 65535] = at
                c0 = np.int32((tone * gain1 + 128) >> 8)
                for i in range(64):
                    pixels[at, i] = clipped(np.int32(half + np.int32(weights1[i] * c0)))
            for y in range(8):
                out_words[top + y, column & _OFFSET] = words[at & _OFFSET, y]
        for m in range(many):
            column = np.int64(members[m])
            n = begin + column
            at = (8 * n) & _OFFSET
            for k in range(8):
                c[k] = np.int32(np.int32(np.int32(latents[at + k]) * gains[k]) + np.int32(128)) >> 8
            c[7] = np.int32(np.int32(np.int32(first[n]) * gains[7]) + np.int32(128)) >> 8
            for i in range(64):
                p = half
                for k in range(8):
                    p = np.int32(p + weights[k, i] * c[k])
                pixels[0, i] = clipped(p)
            for y in range(8):
                out_words[top + y, column] = words[0, y]


@kernel
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


@kernel
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


@kernel
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
