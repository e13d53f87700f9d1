"""Entropy decoding of the two base layers, the inverse of entropy_code. FORMAT.md section 5."""

from __future__ import annotations

from itertools import product

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import ones, trailing_zeros
from onboard.kernels.entropy import (
    BRIEF,
    BYTES,
    FIRST_BUCKETS,
    FIRST_CONTEXT,
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
    STRONG_LEAN,
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

# Bytes. From one look at whether the bits ran out to the next, at most a quad's word, a mask's and seven sizes of
# 12 + 9 bits with their signs are taken, and 8 bytes are read from the last of them on.
_PADDING = 32

_LOOKUP = (1 << BRIEF) + (1 << MAX_LENGTH)  # entries of a context
_WORST_FIRST = MAX_LENGTH + FIRST_BUCKETS + 1  # bits of a first latent
_WIDE = (1 << 24) - 1  # keeps a sum as it is, and the compiler from adding up in another order

# Where the words of a first latent begin by activity, for a weak lean, and what is added for a strong one; then the
# same for blocks whose north-east is missing, of which the activity counts one and a half times. No sum goes beyond.
_REACH = 3 * MAGNITUDE_CAP + 3 * 2 * MAX_FIRST + 1
_ACTIVITY = np.arange(_REACH)
_LEVELS = FIRST_CONTEXT[np.minimum(np.append(_ACTIVITY, 3 * _ACTIVITY // 2), len(FIRST_LEVEL) - 1)]
_WEAK = (_LOOKUP * (_LEVELS & 15)).astype(np.uint16)
_STRONGER = (_LOOKUP * ((_LEVELS >> 4) - (_LEVELS & 15))).astype(np.uint16)


def _signed_blocks():
    """Blocks whose latents 2 to 8 are all 0, 1 or -1, by mask and signs (the first latent's in the highest bit).

    Each is a complex128, for eight int16. Also where the blocks of a mask begin.
    """
    blocks, begins = [], []
    for mask in range(1 << UNITS):
        begins.append(len(blocks))
        choices = [(1, -1) if mask >> u & 1 else (0,) for u in range(UNITS)]
        blocks += product(*choices, (0,))
    return np.array(blocks, np.int16).view(np.complex128)[:, 0], np.array(begins)


_SIGNED, _SIGNED_FROM = _signed_blocks()


@njit
def _padded(data):
    """A copy with so many ones behind it that no parser reads past them before it has seen that the bits ran out."""
    copy = np.empty(len(data) + _PADDING, np.uint8)
    for i in range(len(data)):
        copy[i] = data[i]
    for i in range(len(data), len(copy)):
        copy[i] = 255
    return copy


@njit(inline="always")
def _window(padded, bit):
    """64 bits from the byte of bit offset `bit` on, as int64."""
    window, byte = np.int64(0), (bit >> 3) & BYTES
    for i in range(8):
        window = (window << 8) | np.int64(padded[byte + i])
    return window


@njit(inline="always")
def _bits(window, at, count):
    """`count` bits (1 to 12) from bit `at` (at most 52) of the window on."""
    return (window >> (64 - at - count)) & ((1 << count) - 1)


@njit(inline="always")
def _word(words, row, window, at):
    """The code word at bit `at` of the window, as the lookup says: 0 for none.

    words: all of a lookup, flat; row: where the context's begin there.
    """
    row &= BYTES
    word = np.int64(words[row + _bits(window, at, BRIEF)])
    if word == 0:
        word = np.int64(words[row + (1 << BRIEF) + _bits(window, at, MAX_LENGTH)])
    return word


@njit
def _is_padding(padded, bit):
    """True when fewer than 8 bits are left and all are ones."""
    left = 8 * (len(padded) - _PADDING) - bit
    return left < 8 and (left <= 0 or (np.int64(padded[bit >> 3]) | (-1 << left)) == -1)


@njit(inline="always")
def _meaning(symbol, window, taken):
    """Residual that a symbol of layer 0 says, raw bits behind it, and how many residuals of zero follow it."""
    if symbol <= 2 * FIRST_DIRECT:
        return symbol - FIRST_DIRECT, np.int64(0), np.int64(0)
    if symbol >= FIRST_PAIR:
        return np.int64(0), np.int64(0), np.int64(1 if symbol == FIRST_PAIR else 3)
    b = symbol - 2 * FIRST_DIRECT - 1
    raw = _bits(window, taken, b + 2)
    r = FIRST_DIRECT + 1 + ((2 << b) - 2) + (raw >> 1)
    return (-r if raw & 1 else r), b + 2, np.int64(0)


@njit
def _parse_rows(padded, words, bits, bit, n, end, width, size, q):
    """Rows of a stripe whose rows above are in the section: what parse_first() does, from the begin of a row on.

    Stops at `end`, the stripe's end, and before any block that needs a closer look, because the bits run out or there
    is no such word. What counts here is how long a block's value takes to come out of the value before it, so whatever
    does not need that one is prepared aside, and it is added to several sums at once. first_context() is stated again:
    a block without its north-west takes the north's value for the west and the north-west, one without its north-east
    for that.

    Returns:
        The next block or a negative status, and its bit offset.
    """
    safe = bits - _WORST_FIRST - 8
    column, zeros = width, 0
    value, low, high, gap, magnitude = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    north, size_north, step = np.int64(0), np.int64(0), np.int64(0)
    while n < end:
        if column == width:
            column = 0
            at = np.uint64(n - width)
            value = low = high = north = np.int64(q[at])
            gap = step = np.int64(0)
            size_north = np.int64(size[at])
            at += np.uint64(1)
            magnitude = size_north + np.int64(size[at]) + abs(north - np.int64(q[at]))  # counts twice
        column += 1
        activity = size_north + step
        north_east = north
        if column == width:
            activity += _REACH
        else:
            at = np.uint64(n - width + 1)
            north_east, size_north = np.int64(q[at]), np.int64(size[at])
            activity += size_north + abs(north_east - north)
        slope = north_east - north  # from what will be the north-west to what will be the north
        step = abs(slope)
        prediction = min(max(north, low), high)
        lean = 2 * value + (north + north_east + STRONG_LEAN - 1) - 4 * prediction  # too great by STRONG_LEAN - 1
        turned = (lean - (STRONG_LEAN - 1)) >> 63  # -1 where the sign is coded the other way round
        low, high = min(slope, 0), max(slope, 0)
        if zeros > 0:
            zeros -= 1
            value, magnitude = prediction, np.int64(0)
            gap = value - north
            low, high = low + value, high + value
        else:
            if bit > safe:
                break
            place = np.uint64(abs(gap) + (((activity & _WIDE) + magnitude) & _WIDE))
            row = np.int64(_STRONGER[place])
            if 0 <= lean <= 2 * (STRONG_LEAN - 1):
                row = np.int64(0)
            row += np.int64(_WEAK[place])
            window, taken = _window(padded, bit), bit & 7
            word = np.int64(words[np.uint64(row + _bits(window, taken, BRIEF))])
            if word == 0:
                word = np.int64(words[np.uint64(row + (1 << BRIEF) + _bits(window, taken, MAX_LENGTH))])
                if word == 0:
                    break
            taken += word & 15
            symbol = word >> 8
            if symbol <= 2 * FIRST_DIRECT:
                magnitude = word >> 4 & 15
                base = prediction - FIRST_DIRECT + (turned & (2 * FIRST_DIRECT + 1))
                residual = symbol ^ turned
                value = residual + base
                gap = residual + (base - north)
                low, high = residual + (base + low), residual + (base + high)
            else:
                residual, raw, zeros = _meaning(symbol, window, taken)
                if column + zeros > width:
                    return TOO_MANY_BLOCKS, bit
                taken += raw
                value = (residual ^ turned) + (prediction - turned)
                magnitude = min(abs(residual), MAGNITUDE_CAP)
                gap = value - north
                low, high = low + value, high + value
            bit = (bit & ~7) + taken
        if abs(value) > MAX_FIRST:
            return OUT_OF_RANGE, bit
        at = np.uint64(n)
        q[at], size[at] = value, magnitude
        north = north_east
        n += 1
    return n, bit


@kernel
def parse_first(data, rows, columns, begin, lookup, size, q):
    """Inverse of code_first: fill `q` from block `begin`; return the block behind the last one, or a negative status.

    Args:
        data: uint8 section payload.
        lookup: uint16 (SET_CONTEXTS, 2^BRIEF + 2^MAX_LENGTH) of `symbol << 8 | magnitude << 4 | length`, by the next
            BRIEF bits and, behind these, by the next MAX_LENGTH bits; 0 where no code word matches.
        size, q: as in code_first.
    """
    padded, words = _padded(data), lookup.reshape(lookup.size)
    total = rows * columns
    bits, bit = 8 * len(data), 0
    row, column, width = locate(begin, rows, columns)
    n = begin
    zeros = np.int64(0)  # blocks of a run that are still to come: their residual is zero
    while n < total:
        if column == 0 and row > 0 and width > 1 and n - width >= begin:
            n, bit = _parse_rows(padded, words, bits, bit, n, n + width * (rows - row), width, size, q)
            if n < 0:
                return n
            if n == total:
                break
            row, column, width = locate(n, rows, columns)
        prediction, context, lean = first_context(q, size, n, begin, row, column, width)
        residual = np.int64(0)
        if zeros > 0:
            zeros -= 1
        else:
            if bits - bit < 8 and _is_padding(padded, bit):
                return n
            window, taken = _window(padded, bit), bit & 7
            word = _word(words, _LOOKUP * (FIRST_ROW + context), window, taken)
            if word == 0:
                return BAD_CODE
            taken += word & 15
            residual, raw, zeros = _meaning(word >> 8, window, taken)
            if column + zeros >= width:
                return TOO_MANY_BLOCKS
            bit = (bit & ~7) + taken + raw
            if bit > bits:
                return OVERRUN
        turned = lean >> 63  # -1 where the sign is coded the other way round
        value = (residual ^ turned) + (prediction - turned)
        if abs(value) > MAX_FIRST:
            return OUT_OF_RANGE
        q[n & BYTES], size[n & BYTES] = value, min(abs(residual), MAGNITUDE_CAP)
        n += 1
        column += 1
        if column == width:
            column = 0
            row += 1
            if row == rows and n < total:
                row, column, width = locate(n, rows, columns)
    return n if _is_padding(padded, bit) else TOO_MANY_BLOCKS


@njit(inline="always")
def _get_sizes(padded, bit, words, mask, nonzero, q, i):
    """Parse sizes and signs of latents 2 to 8 of block `i` into q; return bit offset or negative status."""
    ones, coded = 0, 0
    while mask != 0:
        u = trailing_zeros(np.uint64(mask))
        mask &= mask - 1
        window, taken = _window(padded, bit), bit & 7
        word = _word(words, _LOOKUP * (SIZE_ROW + size_context(u, nonzero, ones, coded)), window, taken)
        if word == 0:
            return BAD_CODE
        taken += word & 15
        a = 1 + (word >> 8)
        if a > SIZE_DIRECT:
            b = a - 1 - SIZE_DIRECT
            a = 1 + SIZE_DIRECT + ((2 << b) - 2) + _bits(window, taken, b + 1)
            taken += b + 1
        coded += 1
        ones += a == 1
        sign = -_bits(window, taken, 1)
        q[i & BYTES, u & 7] = (a ^ sign) - sign
        bit = (bit & ~7) + taken + 1
    return bit


@kernel
def parse_rest(data, rows, columns, begin, lookup, count, group, q):
    """Inverse of code_rest; return the block behind the last one, or a negative status.

    Args:
        data, lookup: as in parse_first; count: uint8 (rows * columns,) scratch.
        group: uint8 (rows * columns,), out.
        q: int16 (rows * columns, 8), out: latents 2 to 8 and a zero; all zero for group 1.
    """
    padded, words = _padded(data), lookup.reshape(lookup.size)
    total = rows * columns
    bits, bit = 8 * len(data), 0
    blocks = q.reshape(q.size).view(np.complex128)  # to move a block
    row, column, width = locate(begin, rows, columns)
    n = begin
    while n < total:
        if bits - bit < 8 and _is_padding(padded, bit):
            return n
        left = min(4, total - n)
        known = row > 0 and n - width >= begin
        if known and column + 4 <= width:
            west = np.int64(count[n - 1]) if column > 0 else 0
            at = n - width
            context = quad_level(west, np.int64(count[at]) + count[at + 1] + count[at + 2] + count[at + 3])
        else:
            context = quad_context(count, n, n + left, begin, rows, columns)
        word = _word(words, _LOOKUP * (QUAD_ROW + context), _window(padded, bit), bit & 7)
        if word == 0:
            return BAD_CODE
        bit += word & 15
        pattern = word >> 8
        if pattern >= QUAD_ZEROS:
            left = 16 if pattern == QUAD_ZEROS4 else 8
            if n + left > total:
                return TOO_MANY_BLOCKS
            members = 255 if pattern == QUAD_ONES else 0
        elif pattern & ((1 << (4 - left)) - 1):
            return TOO_MANY_BLOCKS
        else:
            members = pattern >> 3 | (pattern >> 1 & 2) | (pattern << 1 & 4) | (pattern << 3 & 8)  # block n lowest
        if bit > bits and members & 1 == 0:
            return OVERRUN
        at = n & BYTES
        if left == 4:  # a number that the compiler knows
            for i in range(4):
                group[at + i], count[at + i], blocks[at + i] = members >> i & 1, 0, 0
        else:
            for i in range(left):
                group[at + i], count[at + i], blocks[at + i] = members >> i & 1, 0, 0
        known &= column + left <= width
        while members != 0:
            i = trailing_zeros(np.uint64(members))
            members &= members - 1
            m = (n + i) & BYTES
            if known:
                around = np.int64(count[m - width]) + (np.int64(count[m - 1]) if column + i > 0 else 0)
                context = np.int64(around >= MASK_LEVEL)
            else:
                context = mask_context(count, m, begin, rows, columns)
            window, taken = _window(padded, bit), bit & 7
            word = _word(words, _LOOKUP * (MASK_ROW + context), window, taken)
            if word == 0:
                return BAD_CODE
            bit += word & 15
            taken += word & 15
            mask = word >> 8 & 127
            nonzero = ones(np.uint64(mask))
            if word >> 8 == mask and mask > 0:
                bit = _get_sizes(padded, bit, words, mask, nonzero, q, m)
                if bit < 0:
                    return BAD_CODE
            else:
                signs = _bits(window, taken, UNITS) >> (UNITS - nonzero)
                bit += nonzero
                blocks[m] = _SIGNED[_SIGNED_FROM[mask] + signs]
            count[m] = 1 + nonzero
            if bit > bits:
                return OVERRUN
        n += left
        column += left
        if column >= width and n < total:
            row, column = row + 1, column - width
            if row == rows or column >= width:
                row, column, width = locate(n, rows, columns)
    return n if _is_padding(padded, bit) else TOO_MANY_BLOCKS
