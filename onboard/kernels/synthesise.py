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
from onboard.kernels.pixels import ABREAST, FORETELLING, NEIGHBOURING, PIXEL_SHIFT, PIXELS, TABLE, put_coded, put_kept

_KEPT = 512  # blocks of group 1 that synthesise keeps from row to row: 32 KiB
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@njit(inline="always")
def clipped(p):
    return np.uint8(min(max(np.int32(p >> PIXEL_SHIFT), np.int32(0)), np.int32(255)))


@njit
def _arranged(matrix, weights, table):
    """Weights in the order of put_coded()."""
    for k in range(7):
        total = 0
        for i in range(8):
            at = i + (i > 3)  # of the 3x3 square, without its centre
            table[2 * (16 * (at // 3) + 8 * (at % 3 // 2) + k) + at % 3 % 2] = matrix[k, i]
            total += matrix[k, i]
        table[2 * (16 + k) + 1] = -total
    table[2 * (16 + 7) + 1] = 256
    for k in range(8):
        for i in range(PIXELS):
            at = FORETELLING + 2 * (PIXELS * ((k + 7) % 8) + i)
            table[at], table[at + 1] = weights[k, i] << 8, weights[k, i]


@kernel
def synthesise(first, rest, group, columns, matrix, weights1, gain1, weights2, gains2, out):
    """Plain reconstruction: pixel = 128 + (sum weights * coefficient >> 16), clipped to 0..255.

    A block of group 1 depends on one number, of which a picture has few: each is worked out once.

    Args:
        first: int16 (blocks,); rest: int16 (blocks, 8), residuals of latents 2 to 8 and a zero, read for group 2;
            group: uint8 (blocks,).
        matrix: int32 (7, 8) as in kernels.predict; zeros where `rest` holds the latents themselves.
        weights1, gain1: int32 (64,) and int, decoder of group 1; weights2, gains2: int32 (8, 64), int64 (8,).
        out: uint8 (8 * rows, 8 * columns), contiguous.
    """
    half = np.int32((1 << PIXEL_SHIFT - 1) + (128 << PIXEL_SHIFT))
    kept = aligned(np.empty((_KEPT + columns + 1) * PIXELS, np.uint8))  # blocks of group 1, from block 1 on
    words, out_words = kept.view(np.uint64), out.view(np.uint64)  # eight pixels each, for moving them
    place = np.zeros(1 << 16, np.uint16)  # of a first latent among the kept
    many_kept = 0
    table, gains = np.zeros(TABLE, np.int16), np.empty(8, np.int32)
    _arranged(matrix, weights2, table)
    table = aligned(table)
    for k in range(8):
        gains[k - 1] = gains2[k]
    residuals = rest.reshape(8 * len(rest))
    rows = len(group) // columns
    padded = np.zeros((3, columns + 3), np.int16)
    which, members = np.empty(columns, np.uint16), np.empty(columns, np.uint32)
    for row in range(rows):
        begin, top = row * columns, (8 * row) & _OFFSET
        for i in range(3):
            near = min(max(row + i - 1, 0), rows - 1) * columns
            line = padded[i]
            for x in range(columns):
                line[x + 1] = first[near + x]
            line[0], line[columns + 1] = line[1], line[columns]
        if many_kept > _KEPT:  # so that a row's are never given up before they are used
            many_kept = 0
            place[:] = 0
        many = 0
        for column in range(columns):  # lists, because a branch on the group would often be foretold wrong
            members[many] = column
            many += group[begin + column] != 0
            tone = np.int64(first[begin + column])
            at = np.int64(place[(tone + 32768) & 65535])
            if at == 0:
                many_kept += 1
                at = many_kept
                place[(tone + 32768) & 65535] = at
                c0 = np.int32((tone * gain1 + 128) >> 8)
                for i in range(PIXELS):
                    kept[PIXELS * at + i] = clipped(np.int32(half + np.int32(weights1[i] * c0)))
            which[column] = at
        whole = columns & -NEIGHBOURING
        for column in range(0, whole, NEIGHBOURING):
            for y in range(8):
                prefetch(out, min(top + 8 + y, len(out) - 1), 8 * column)
            put_kept(kept, which, column, out, top)
        for column in range(whole, columns):
            at = 8 * np.int64(which[column])
            for y in range(8):
                out_words[top + y, column] = words[at + y]
        for m in range(0, many, ABREAST):
            put_coded(padded, members, m, many, residuals, begin, table, gains, out, top)


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
