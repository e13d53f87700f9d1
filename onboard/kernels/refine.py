"""Entropy coding of the refinement layers: significance and runs, static canonical codes. FORMAT.md section 11.

All arrays are in the order of the section's own grid (FORMAT.md section 11.2). A table set is one flat uint16 array
of words `code << 4 | length`. This is the format's side: symbols, contexts and the parser. The coder takes the contexts
from here, so the two cannot drift apart.

Bounds: a code word has at most 11 bits and the raw bits behind two of them at most 20, so a coefficient takes 42 of the
57 bits that a window has.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import ones

MAX_LENGTH = 11

# A significance symbol is 0 for the end of the block, 1 + 3 * run + (magnitude 1, 2, more), or one of these:
MAX_RUN = 14  # zeros before a coefficient
SKIP = 1 + 3 * (MAX_RUN + 1)  # fifteen zeros, and nothing said of the coefficient after them
EMPTY_RUNS = 4  # then 2, 4, 8, 16 empty blocks, in contexts of level 0 at scan position 0 only
RUN_SYMBOLS = SKIP + 1 + EMPTY_RUNS
BANDS = 8
BAND = np.array([sum(p >= t for t in (1, 3, 6, 10, 15, 21, 28)) for p in range(65)], np.int32)
LEVEL_LIMITS = (1, 2, 4, 7, 12, 20)
LEVEL = np.array([sum(a >= t for t in LEVEL_LIMITS) for a in range(129)], np.int32)
ALONE = len(LEVEL_LIMITS) + 1  # no neighbour in the section
LEVELS = ALONE + 1
RUN_CONTEXTS = BANDS * LEVELS * 2

SIZE_DIRECT = 12  # magnitudes 3 to 14, then buckets of 2, 4, 8, ... values
SIZE_BUCKETS = 19
SIZE_SYMBOLS = SIZE_DIRECT + SIZE_BUCKETS
SIZE_CONTEXTS = BANDS * LEVELS
MAX_VALUE = 3 + SIZE_DIRECT + (2 << SIZE_BUCKETS) - 3

RUN_BASE = 0
SIZE_BASE = RUN_BASE + RUN_CONTEXTS * RUN_SYMBOLS
SET_SYMBOLS = SIZE_BASE + SIZE_CONTEXTS * SIZE_SYMBOLS
SIZE_ROW = RUN_CONTEXTS
KINDS = ((RUN_BASE, RUN_CONTEXTS, RUN_SYMBOLS), (SIZE_BASE, SIZE_CONTEXTS, SIZE_SYMBOLS))


BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4

# By 256 * blocks at hand + significant coefficients in them: those in one block count twice.
LEVEL_OF = np.array(
    [ALONE] * 256 + [LEVEL[min(2 * n, 128)] for n in range(256)] + [LEVEL[min(n, 128)] for n in range(512)], np.int32
)
SHORT_LENGTH = 7
PADDING = 24  # bytes of ones behind what is parsed: none is a code word, so a parser stops soon after the end
ROOM = 64  # coefficients of a block: what must be free where it is parsed to
_STRIPE = 32
_BYTES = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative

# Words for the parser: bits taken | kind << WORD_KIND | step << WORD_STEP. Kind 1, 2 or 3: a coefficient of magnitude
# 1, 2 or more, `step` positions on, the sign bit of the first two being among the bits taken. Kind 0: no coefficient,
# and `step` is WORD_END, WORD_SKIP or the log2 of empty blocks. 0 where no code word matches.
WORD_KIND, WORD_STEP = 6, 8
# Where the short words of a RUN context begin is the sum of one number by its band, one by its level, and `larger`.
# The chain from one symbol to the next is what takes time: unsigned, an index need not be asked whether it is negative.
# A position is at most 64, so a place is below 128 << SHORT_LENGTH, and what is looked up is in the tables.
_BAND_SHORT = (BAND * (LEVELS * 2) << SHORT_LENGTH).astype(np.uint16)
_LEVEL_SHORT = (LEVEL_OF * 2 << SHORT_LENGTH).astype(np.uint16)
_LARGER_SHORT = np.uint64(1 << SHORT_LENGTH)
_WORDS = (1 << 19) - 1  # masks an index of a word, likewise
WORD_END, WORD_SKIP = 0, 15


@njit(inline="always")
def locate(n, rows, columns):
    """Block `n` of the grid -> row, column within its stripe, width of that stripe."""
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    return inside // width, inside % width, width


@njit(inline="always")
def at_hand(n, begin, row, column, width):
    """Whether the west and the north block of block `n` are in the section."""
    return column > 0 and n - 1 >= begin, row > 0 and n - width >= begin


@njit(inline="always")
def significant(west, north, hands, position):
    """How many coefficients from `position` on are significant in the blocks at hand: a uint64, index of LEVEL_OF."""
    return np.uint64(hands << 8) | np.uint64(ones(west >> position) + ones(north >> position))


@njit(inline="always")
def _window(data, bit):
    """At least 57 bits from bit offset `bit` on, the first one on top: a uint64."""
    byte = (bit >> 3) & _BYTES
    window = np.uint64(0)
    for i in range(8):
        window = window << np.uint64(8) | np.uint64(data[byte + i])
    return window << np.uint64(bit & 7)


@njit(inline="always")
def _is_padding(data, bit, bits):
    """True when fewer than 8 bits are left and all are ones, as those behind the end are."""
    return bits - bit < 8 and (bit >= bits or _window(data, bit) >> np.uint64(56) == np.uint64(255))


@kernel
def parse_refinement(data, rows, columns, begin, order, short, lookup, masks, coefficients, filled, ends):
    """Inverse of code_refinement.

    Args:
        data: uint8 section payload behind its own header, and PADDING bytes of ones.
        order: int32 (rows * columns,) raster indices of the section's grid.
        short, lookup: uint16 (contexts * 2^SHORT_LENGTH,) and (contexts * 2^MAX_LENGTH,), see tables.refinement_parser.
        masks: uint64 (rows * columns,) scratch.
        coefficients: int32 (n,), ROOM and one for two bits of payload: `64 * value + scan position` of what is not 0.
        filled: int32 (n,) raster indices of the blocks that are not empty, of which there are no more.
        ends: int32 (n,) where in `coefficients` each of them ends.

    Returns:
        (the block behind the last one or a negative status, how many of `filled` and `ends`, and how many of
        `coefficients` are used).
    """
    total = rows * columns
    bits = 8 * (len(data) - PADDING)
    bit, count, used = 0, 0, 0
    n = begin
    row, column, width = locate(begin, rows, columns)
    while n < total and not _is_padding(data, bit, bits):
        has_west, has_north = at_hand(n, begin, row, column, width)
        west = masks[n - 1] if has_west else np.uint64(0)
        north = masks[n - width] if has_north else np.uint64(0)
        hands = np.int64(has_west) + np.int64(has_north)
        position, larger = np.uint64(0), np.uint64(0)
        mask = np.uint64(0)
        run = 1
        if used + ROOM > len(coefficients):
            return OVERRUN, count, used
        while position < np.uint64(64):
            around_it = significant(west, north, hands, position)
            place = np.uint64(_BAND_SHORT[position]) + larger + np.uint64(_LEVEL_SHORT[around_it])
            window = _window(data, bit)
            word = np.uint64(short[place + (window >> np.uint64(64 - SHORT_LENGTH))])
            if word == np.uint64(0):
                place = place << np.uint64(MAX_LENGTH - SHORT_LENGTH)
                word = np.uint64(lookup[place + (window >> np.uint64(64 - MAX_LENGTH))])
            length = np.int64(word & np.uint64(63))
            bit += length
            step, kind = word >> np.uint64(WORD_STEP), np.int64(word >> np.uint64(WORD_KIND) & np.uint64(3))
            if kind == 0:  # not a coefficient
                if length == 0:
                    return BAD_CODE, count, used
                if step == np.uint64(WORD_END):
                    break
                if step != np.uint64(WORD_SKIP):
                    if position > np.uint64(0):
                        return BAD_CODE, count, used
                    run = 1 << np.int64(step)
                    break
                position += step
                if position > np.uint64(63):
                    return OUT_OF_RANGE, count, used
                continue
            position += step
            if position > np.uint64(64):
                return OUT_OF_RANGE, count, used
            larger = _LARGER_SHORT if kind > 1 else np.uint64(0)
            p = np.int64(position - np.uint64(1)) & 63
            if kind == 3:
                context = SIZE_ROW + np.int64(BAND[p]) * LEVELS + np.int64(LEVEL_OF[around_it])
                window = window << np.uint64(length)
                at = (context << MAX_LENGTH) + np.int64(window >> np.uint64(64 - MAX_LENGTH))
                symbol = np.int64(lookup[at & _WORDS])
                length = symbol & 15
                if length == 0:
                    return BAD_CODE, count, used
                bit += length + 1
                kind += symbol >> 4
                if kind >= 3 + SIZE_DIRECT:
                    b = kind - 3 - SIZE_DIRECT
                    window = window << np.uint64(length)
                    kind = 3 + SIZE_DIRECT + ((2 << b) - 2) + np.int64(window >> np.uint64(63 - b))
                    bit += b + 1
                    length = b + 1
                length += 1
            negative = np.int64((window << np.uint64(length - 1)) >> np.uint64(63))
            mask |= np.uint64(1) << np.uint64(p)
            coefficients[used & _BYTES] = (kind ^ -negative) + negative << 6 | p
            used += 1
        if bit > bits:
            return OVERRUN, count, used
        if n + run > total:
            return TOO_MANY_BLOCKS, count, used
        masks[n] = mask
        if mask != 0:
            filled[count], ends[count] = order[n], used
            count += 1
        for i in range(1, run):
            masks[n + i] = np.uint64(0)
        n += run
        column += run
        if column >= width:
            row, column, width = locate(min(n, total - 1), rows, columns)
    if n == total and not _is_padding(data, bit, bits):
        return TOO_MANY_BLOCKS, count, used
    return n, count, used


@kernel
def claim(blocks, exact, wanted, layer, reached, usable):
    """Let a layer be applied to those blocks of a section to which it can be.

    Args:
        blocks: int32 (n,) raster indices.
        exact: bool (blocks of the plane,) whether what the layer refers to is what the encoder had.
        wanted: what `reached` must say of a block.
        reached: uint8 (blocks of the plane,) highest layer applied, in and out.
        usable: uint8 (blocks of the plane,) out, set for the section's blocks only.

    Returns:
        how many blocks it is applied to.
    """
    count = 0
    for m in blocks:
        use = exact[m] and reached[m] == wanted
        usable[m] = use
        if use:
            reached[m] = layer
            count += 1
    return count
