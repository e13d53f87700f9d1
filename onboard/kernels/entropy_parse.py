"""Entropy decoding of the two base layers, the inverse of entropy_code. FORMAT.md section 5."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.entropy import (
    BYTES,
    FIRST_DIRECT,
    FIRST_LEVEL,
    FIRST_PAIR,
    FIRST_ROW,
    MAGNITUDE_CAP,
    MASK_LEVEL,
    MASK_ROW,
    MAX_FIRST,
    MAX_LENGTH,
    QUAD_ONES,
    QUAD_ROW,
    QUAD_ZEROS,
    QUAD_ZEROS4,
    SIZE_DIRECT,
    SIZE_ROW,
    UNITS,
    first_context,
    locate,
    mask_context,
    quad_context,
    quad_level,
    size_context,
)

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4


@njit
def _window(data, byte):
    """64 bits from byte offset `byte`, as int64; ones beyond the end."""
    window = np.int64(0)
    if byte + 8 <= len(data):
        byte &= BYTES
        for i in range(8):
            window = (window << 8) | np.int64(data[byte + i])
    else:
        for i in range(byte, byte + 8):
            window = (window << 8) | (np.int64(data[i]) if i < len(data) else 255)
    return window


@njit
def _bits(window, at, count):
    """`count` bits (1 to 12) from bit `at` (at most 52) of the window on."""
    return (window >> (64 - at - count)) & ((1 << count) - 1)


@njit
def _is_padding(data, bit):
    """True when fewer than 8 bits are left and all are ones."""
    left = 8 * len(data) - bit
    return left < 8 and (left <= 0 or (np.int64(data[-1]) | (-1 << left)) == -1)


@kernel
def parse_first(data, rows, columns, begin, lookup, size, q):
    """Inverse of code_first: fill `q` from block `begin`; return the block behind the last one, or a negative status.

    Args:
        data: uint8 section payload.
        lookup: uint16 (SET_CONTEXTS, 4096) of `symbol << 4 | length`, 0 where no code word matches.
        size, q: as in code_first.
    """
    total = rows * columns
    bits = 8 * len(data)
    bit, base, window = 0, 0, _window(data, 0)  # the window begins at bit `base`
    row, column, width = locate(begin, rows, columns)
    n = begin
    zeros = 0  # blocks of a run that are still to come: their residual is zero
    value, magnitude = np.int64(0), np.int64(0)  # of the block before
    while n < total:
        if row > 0 and 0 < column < width - 1 and n - width > begin:
            # first_context with all neighbours in the section
            at = n - width
            north, north_west, north_east = np.int64(q[at]), np.int64(q[at - 1]), np.int64(q[at + 1])
            activity = magnitude + size[at] + size[at + 1]
            activity += abs(north - north_east) + abs(value - north_west) + abs(north - north_west)
            context = FIRST_LEVEL[min(activity, len(FIRST_LEVEL) - 1)]
            prediction = max(min(value, north), min(max(value, north), value + north - north_west))
        else:
            prediction, context = first_context(q, size, n, begin, row, column, width)
        r = np.int64(0)
        if zeros > 0:
            zeros -= 1
        else:
            if bits - bit < 8 and _is_padding(data, bit):
                return n
            if bit - base > 32:
                base = bit & ~7
                if base + 64 <= bits:
                    byte, window = (base >> 3) & BYTES, np.int64(0)
                    for i in range(8):
                        window = (window << 8) | np.int64(data[byte + i])
                else:
                    window = _window(data, base >> 3)
            word = np.int64(lookup[FIRST_ROW + context, _bits(window, bit - base, MAX_LENGTH)])
            if word == 0:
                return BAD_CODE
            bit += word & 15
            symbol = word >> 4
            if symbol <= 2 * FIRST_DIRECT:
                r = symbol - FIRST_DIRECT
            elif symbol >= FIRST_PAIR:
                zeros = 1 if symbol == FIRST_PAIR else 3
                if column + zeros >= width:
                    return TOO_MANY_BLOCKS
            else:
                b = symbol - 2 * FIRST_DIRECT - 1
                raw = _bits(window, bit - base, b + 2)
                bit += b + 2
                r = FIRST_DIRECT + 1 + ((2 << b) - 2) + (raw >> 1)
                if raw & 1:
                    r = -r
            if bit > bits:
                return OVERRUN
        value, magnitude = prediction + r, min(abs(r), MAGNITUDE_CAP)
        if abs(value) > MAX_FIRST:
            return OUT_OF_RANGE
        q[n], size[n] = value, magnitude
        n += 1
        column += 1
        if column == width:
            column = 0
            row += 1
            if row == rows and n < total:
                row, column, width = locate(n, rows, columns)
    return n if _is_padding(data, bit) else TOO_MANY_BLOCKS


@njit
def _get_sizes(data, bit, lookup, mask, nonzero, q, i):
    """Parse sizes and signs of latents 2 to 8 of block `i` into q; return bit offset or negative status."""
    ones, coded = 0, 0
    for u in range(UNITS):
        q[i, u] = 0
        if mask >> u & 1:
            window, at = _window(data, bit >> 3), bit & 7
            row = SIZE_ROW + size_context(u, nonzero, ones, coded)
            word = np.int64(lookup[row, _bits(window, at, MAX_LENGTH)])
            if word == 0:
                return BAD_CODE
            at += word & 15
            a = 1 + (word >> 4)
            if a > SIZE_DIRECT:
                b = a - 1 - SIZE_DIRECT
                a = 1 + SIZE_DIRECT + ((2 << b) - 2) + _bits(window, at, b + 1)
                at += b + 1
            coded += 1
            ones += a == 1
            q[i, u] = -a if _bits(window, at, 1) else a
            bit += at + 1 - (bit & 7)
    return bit


@kernel
def parse_rest(data, rows, columns, begin, lookup, count, group, q):
    """Inverse of code_rest: fill `group` and `q`; return the block behind the last one, or a negative status."""
    total = rows * columns
    bits = 8 * len(data)
    bit, base, window = 0, 0, _window(data, 0)  # the window begins at bit `base`
    row, column, width = locate(begin, rows, columns)
    n = begin
    left, pattern = 0, 0  # blocks to come of the quad or run that was read last, and their sign bits
    known = False
    while n < total:
        if bit - base > 32:
            base = bit & ~7
            if base + 64 <= bits:
                byte, window = (base >> 3) & BYTES, np.int64(0)
                for i in range(8):
                    window = (window << 8) | np.int64(data[byte + i])
            else:
                window = _window(data, base >> 3)
        if left == 0:
            if bits - bit < 8 and _is_padding(data, bit):
                return n
            left = min(4, total - n)
            known = row > 0 and n - width >= begin
            if known and column + 4 <= width:
                west = np.int64(count[n - 1]) if column > 0 else 0
                at = n - width
                context = quad_level(west, np.int64(count[at]) + count[at + 1] + count[at + 2] + count[at + 3])
            else:
                context = quad_context(count, n, n + left, begin, rows, columns)
            word = np.int64(lookup[QUAD_ROW + context, _bits(window, bit - base, MAX_LENGTH)])
            if word == 0:
                return BAD_CODE
            bit += word & 15
            pattern = word >> 4
            if pattern >= QUAD_ZEROS:
                left = 16 if pattern == QUAD_ZEROS4 else 8
                if n + left > total:
                    return TOO_MANY_BLOCKS
                pattern = 15 if pattern == QUAD_ONES else 0
            elif pattern & ((1 << (4 - left)) - 1):
                return TOO_MANY_BLOCKS
            known &= column + left <= width
        member = pattern >> 3 & 1
        pattern = (pattern << 1 | member) & 15  # goes round in a run
        group[n] = member
        if member:
            if known:
                around = np.int64(count[n - width]) + (np.int64(count[n - 1]) if column > 0 else 0)
                context = np.int64(around >= MASK_LEVEL)
            else:
                context = mask_context(count, n, begin, rows, columns)
            word = np.int64(lookup[MASK_ROW + context, _bits(window, bit - base, MAX_LENGTH)])
            if word == 0:
                return BAD_CODE
            bit += word & 15
            mask = word >> 4 & 127
            nonzero = 0
            for u in range(UNITS):
                nonzero += mask >> u & 1
            if word >> 4 == mask and mask > 0:
                bit = _get_sizes(data, bit, lookup, mask, nonzero, q, n)
                if bit < 0:
                    return BAD_CODE
            else:
                signs = _bits(window, bit - base, 7) >> (7 - nonzero)
                bit += nonzero
                for u in range(UNITS - 1, -1, -1):
                    coded = mask >> u & 1
                    q[n, u] = coded * (1 - 2 * (signs & 1))
                    signs >>= coded
            count[n] = 1 + nonzero
        else:
            count[n] = 0
        if bit > bits:
            return OVERRUN
        left -= 1
        n += 1
        column += 1
        if column == width:
            column = 0
            row += 1
            if row == rows and n < total:
                row, column, width = locate(n, rows, columns)
    return n if _is_padding(data, bit) else TOO_MANY_BLOCKS
