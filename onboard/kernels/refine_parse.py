"""The parser of the refinement layers. FORMAT.md section 11.5.

A symbol tells where the next one begins and which context that has, so of one section they are read one after another,
and a processor waits most of the time. Hence sections are parsed side by side: a symbol of each in turn.

Bounds: a code word has at most 11 bits and the raw bits behind two of them at most 20, so a coefficient takes 42 of the
57 bits that a window has. What is below is unsigned where it is an index, so that none need be asked whether it is
negative: a position is at most 63 + 15, a place at most 128 more.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import ones
from onboard.kernels.refine import (
    BAND,
    LEVEL_OF,
    LEVELS,
    MAX_LENGTH,
    SIZE_DIRECT,
    SIZE_ROW,
    at_hand,
    locate,
)

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4

WAYS = 4  # sections side by side: more gain nothing
PADDING = 24  # bytes of ones behind a section: none is a code word, so a parser stops soon after its end
ROOM = 64  # coefficients of a block: what must be free where one is parsed to
SHORT_LENGTH = 7

# Words of RUN symbols, by the bits that come next, are
#     bits taken | SLOW | (step | LARGER) << WORD_STEP | rest << WORD_REST.
# A coefficient is `step` positions on, LARGER is set for a magnitude above 1. One of magnitude 1 or 2 with its sign
# among the bits is not SLOW, and its rest, added to the place behind it, is `64 * value + scan position`. The rest of
# a slow one is its magnitude, 3 for more (a VALUE symbol follows), or 0 for no coefficient, the step being WORD_END,
# WORD_SKIP or the log2 of empty blocks. Words of VALUE symbols are bits taken | symbol << WORD_REST. All words are SLOW
# alone where no code word matches.
WORD_STEP, WORD_REST = 8, 16
SLOW = 1 << 7
LARGER = 1 << 7
WORD_END, WORD_SKIP = 0, 15

# The fields of a section. Given: the first bit in `data` and the one behind the last, the section's grid and first
# block, where it may write in `coefficients`, up to where, and where in `filled` and `ends`. Found: the block behind
# the last one or a negative status, how many of `coefficients`, and how many of `filled` and `ends` are used. The rest
# is the parser's own.
FIELDS = 15
(
    FIRST_BIT, LAST_BIT, ROWS, COLUMNS, BEGIN, START, STOP, PLACES, END, USED, FILLED, _N, _ROW, _COLUMN, _WIDTH,
) = range(FIELDS)  # fmt: skip

_STATE = 8  # of a section between two symbols
_BIT, _PLACE, _AT, _MASK, _WEST, _NORTH, _HANDS, _ENDED = (np.uint64(i) for i in range(_STATE))
_RING = 64  # masks that are kept of a section: the north block is at most 32 back, an empty run at most 16 long
# Where the short words of a RUN context begin is the sum of one number by place, which is position | LARGER, and one by
# level.
_PLACES = np.arange(2 * LARGER)
_PLACE_ROW = BAND[np.minimum(_PLACES % LARGER, 64)] * (LEVELS * 2) + _PLACES // LARGER
_PLACE_SHORT = (_PLACE_ROW << SHORT_LENGTH).astype(np.uint16)
_LEVEL_SHORT = (LEVEL_OF * 2 << SHORT_LENGTH).astype(np.uint16)


@njit(inline="always")
def _window(data, bit):
    """At least 57 bits from bit offset `bit` on, the first one on top."""
    byte, window = bit >> np.uint64(3), np.uint64(0)
    for i in range(8):
        window = window << np.uint64(8) | np.uint64(data[byte + np.uint64(i)])
    return window << (bit & np.uint64(7))


@njit(inline="always")
def _is_padding(data, bit, last):
    """True when fewer than 8 bits are left and all are ones, as those behind the end are."""
    return bit + np.uint64(8) > last and (bit >= last or _window(data, bit) >> np.uint64(56) == np.uint64(255))


@kernel
def parse_refinement(data, fields, short, lookup, coefficients, filled, ends):
    """Inverse of code_refinement, for some sections at once.

    Args:
        data: uint8, payloads behind their own headers, PADDING bytes of ones behind each.
        fields: int64 (sections * FIELDS,), see above; in and out.
        short, lookup: int32 (contexts * 2^SHORT_LENGTH,) and (contexts * 2^MAX_LENGTH,), see tables.refinement_parser.
        coefficients: int32, of each section `64 * value + scan position` of what is not 0: at most one for two bits.
        filled: int32, numbers in the section's grid of the blocks that are not empty, of which there are no more.
        ends: int32, where each of these ends in the section's coefficients.
    """
    many = len(fields) // FIELDS
    state, masks = np.zeros(_STATE * many, np.uint64), np.zeros(_RING * many, np.uint64)
    left, one = 0, np.uint64(1)
    for k in range(many):
        s, h = FIELDS * k, np.uint64(_STATE * k)
        fields[s + _N] = fields[s + END] = fields[s + BEGIN]
        fields[s + USED] = fields[s + FILLED] = 0
        row, column, width = locate(fields[s + BEGIN], fields[s + ROWS], fields[s + COLUMNS])
        fields[s + _ROW], fields[s + _COLUMN], fields[s + _WIDTH] = row, column, width
        bit, last = np.uint64(fields[s + FIRST_BIT]), np.uint64(fields[s + LAST_BIT])
        state[h + _BIT], state[h + _AT] = bit, np.uint64(fields[s + START])
        if fields[s + BEGIN] < fields[s + ROWS] * fields[s + COLUMNS] and not _is_padding(data, bit, last):
            left += 1
        else:
            state[h + _ENDED] = one
    h, behind = np.uint64(0), np.uint64(len(state))
    while left > 0:
        h += np.uint64(_STATE)
        if h >= behind:
            h = np.uint64(0)
        if state[h + _ENDED] != np.uint64(0):
            continue
        bit, place, at = state[h + _BIT], state[h + _PLACE], state[h + _AT]
        position = place & np.uint64(63)
        around_it = np.uint64(ones(state[h + _WEST] >> position) + ones(state[h + _NORTH] >> position))
        around_it |= state[h + _HANDS]
        context = np.uint64(_PLACE_SHORT[place]) + np.uint64(_LEVEL_SHORT[around_it])
        window = _window(data, bit)
        word = np.int64(short[context + (window >> np.uint64(64 - SHORT_LENGTH))])
        if word & SLOW == 0:
            bit += np.uint64(word & (SLOW - 1))
            place = (place & np.uint64(LARGER - 1)) + np.uint64(word >> WORD_STEP & 255)
            position = place & np.uint64(LARGER - 1)
            coefficients[at] = (word >> WORD_REST) + np.int64(place)
            state[h + _BIT], state[h + _PLACE], state[h + _AT] = bit, place, at + one
            state[h + _MASK] |= one << (position - one & np.uint64(63))
            if position < np.uint64(64):
                continue
            blocks, status = 1, 0
        else:
            if word == SLOW:
                context = context << np.uint64(MAX_LENGTH - SHORT_LENGTH)
                word = np.int64(lookup[context + (window >> np.uint64(64 - MAX_LENGTH))])
            length = np.uint64(word & (SLOW - 1))
            step, kind = np.uint64(word >> WORD_STEP & 255), word >> WORD_REST
            bit += length
            blocks, status = 0, 0
            if kind > 0:
                place = (place & np.uint64(LARGER - 1)) + step
                position = place & np.uint64(LARGER - 1)
                p = position - one & np.uint64(63)
                if kind == 3:
                    value = SIZE_ROW + np.int64(BAND[p]) * LEVELS + np.int64(LEVEL_OF[around_it])
                    window = window << length
                    word = np.int64(short[np.uint64(value << SHORT_LENGTH) + (window >> np.uint64(64 - SHORT_LENGTH))])
                    if word == SLOW:
                        context = np.uint64(value << MAX_LENGTH)
                        word = np.int64(lookup[context + (window >> np.uint64(64 - MAX_LENGTH))])
                        if word == SLOW:
                            status = BAD_CODE
                    length = np.uint64(word & (SLOW - 1))
                    bit += length + one
                    kind += word >> WORD_REST
                    if kind >= 3 + SIZE_DIRECT:
                        b = np.uint64(kind - 3 - SIZE_DIRECT)
                        window = window << length
                        kind = 3 + SIZE_DIRECT + np.int64((np.uint64(2) << b) - np.uint64(2))
                        kind += np.int64(window >> (np.uint64(63) - b))
                        bit += b + one
                        length = b + one
                    length += one
                negative = np.int64((window << (length - one)) >> np.uint64(63))
                coefficients[at] = (kind ^ -negative) + negative << 6 | np.int64(p)
                state[h + _AT] = at + one
                state[h + _MASK] |= one << p
                if position >= np.uint64(64):
                    blocks = 1
            elif step == np.uint64(WORD_END):
                blocks = 1
                if word == SLOW:
                    status = BAD_CODE
            elif step == np.uint64(WORD_SKIP):
                place += step
                position += step
                if position > np.uint64(63):
                    status = OUT_OF_RANGE
            else:
                blocks = 1 << np.int64(step)
                if position > np.uint64(0):
                    status = BAD_CODE
            state[h + _BIT], state[h + _PLACE] = bit, place
            if blocks == 0 and status == 0:
                continue
        # the end of a block, or of the section
        k = np.int64(h) // _STATE
        s = FIELDS * k
        n, total = fields[s + _N], fields[s + ROWS] * fields[s + COLUMNS]
        last = np.uint64(fields[s + LAST_BIT])
        if status == 0 and position > np.uint64(64):
            status = OUT_OF_RANGE
        if status == 0 and bit > last:
            status = OVERRUN
        if status == 0 and n + blocks > total:
            status = TOO_MANY_BLOCKS
        if status == 0:
            mask = state[h + _MASK]
            used = np.int64(state[h + _AT]) - fields[s + START]
            if mask != np.uint64(0):
                into = fields[s + PLACES] + fields[s + FILLED]
                filled[into], ends[into] = n, used
                fields[s + FILLED] += 1
            fields[s + USED] = used
            for _ in range(blocks):
                masks[np.uint64(_RING * k + (n & (_RING - 1)))] = mask
                n += 1
            fields[s + _N], fields[s + END] = n, n
            fields[s + _COLUMN] += blocks
            if fields[s + _COLUMN] >= fields[s + _WIDTH]:
                row, column, width = locate(min(n, total - 1), fields[s + ROWS], fields[s + COLUMNS])
                fields[s + _ROW], fields[s + _COLUMN], fields[s + _WIDTH] = row, column, width
            padding = _is_padding(data, bit, last)
            if n == total and not padding:
                status = TOO_MANY_BLOCKS
            elif n < total and not padding:
                if fields[s + START] + used + ROOM <= fields[s + STOP]:
                    width = fields[s + _WIDTH]
                    has_west, has_north = at_hand(n, fields[s + BEGIN], fields[s + _ROW], fields[s + _COLUMN], width)
                    west = masks[np.uint64(_RING * k + (n - 1 & (_RING - 1)))]
                    north = masks[np.uint64(_RING * k + (n - width & (_RING - 1)))]
                    state[h + _WEST] = west if has_west else np.uint64(0)
                    state[h + _NORTH] = north if has_north else np.uint64(0)
                    state[h + _HANDS] = np.uint64((np.int64(has_west) + np.int64(has_north)) << 8)
                    state[h + _PLACE], state[h + _MASK] = np.uint64(0), np.uint64(0)
                    continue
                status = OVERRUN
        if status != 0:
            fields[s + END] = status
        state[h + _ENDED] = one
        left -= 1
