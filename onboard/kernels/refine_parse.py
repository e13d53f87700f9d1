"""The parser of the refinement layers. FORMAT.md section 11.5.

A symbol tells where the next one begins and which context that has, so of one section they are read one after another,
and a processor waits most of the time. Hence sections are parsed side by side: a symbol of each in turn. The table is
looked up as soon as a symbol's context is known, a round before its turn: what branches on the word then need not wait.

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
    locate,
)

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4
_ENDED = 1  # the status of a section that is well-formed

WAYS = 8  # sections side by side: more gain nothing
PADDING = 24  # bytes of ones behind a section: none is a code word, so a parser stops soon after its end
ROOM = 64  # coefficients of a block: what must be free where one is parsed to
SHORT_LENGTH = 8

# Words of RUN symbols, by the bits that come next, are
#     step | LARGER | (bits taken) << WORD_BITS | SLOW | rest << WORD_REST.
# A coefficient is `step` positions on, LARGER is set for a magnitude above 1. One of magnitude 1 or 2 with its sign
# among the bits is not SLOW, and its rest, added to the place behind it, is `64 * value + scan position`. The rest of
# a slow one is its magnitude, 3 for more (a VALUE symbol follows), or 0 for no coefficient, the step being WORD_END,
# WORD_SKIP or the log2 of empty blocks. Words of VALUE symbols are (bits taken) << WORD_BITS | symbol << WORD_REST. All
# words are SLOW alone where no code word matches.
WORD_BITS, WORD_REST = 8, 16
LARGER = 1 << 7
SLOW = 1 << 15
WORD_END, WORD_SKIP = 0, 15
_NOT_LARGER = (1 << 64) - 1 - LARGER

# The fields of a section. Given: the first bit in `data` and the one behind the last, the section's grid and first
# block, where it may write in `coefficients`, up to where, and where in `filled` and `ends`. Found: the block behind
# the last one or a negative status, how many of `coefficients`, and how many of `filled` and `ends` are used.
FIELDS = 11
FIRST_BIT, LAST_BIT, ROWS, COLUMNS, BEGIN, START, STOP, PLACES, END, USED, FILLED = range(FIELDS)

# What is kept of a section between two symbols. Its spot is the next bit << WORD_BITS | the place: adding the lower
# half of a word moves both on. Behind are the masks of its last blocks: the north one is at most 32 back, an empty run
# at most 16 long.
(
    _SPOT, _WORD, _AT, _MASK, _WEST, _NORTH, _HANDS, _NEXT, _N, _TOTAL, _BEGIN, _ROW, _COLUMN, _WIDTH, _INTO, _LAST,
    _STOP, _MASKS,
) = (np.uint64(i) for i in range(18))  # fmt: skip
_RING = 64
_STATE = 17 + _RING
# Where the short words of a RUN context begin is the sum of one number by place, which is position | LARGER, and one by
# level.
_PLACES = np.arange(2 * LARGER)
_PLACE_ROW = BAND[np.minimum(_PLACES % LARGER, 64)] * (LEVELS * 2) + _PLACES // LARGER
_PLACE_SHORT = (_PLACE_ROW << SHORT_LENGTH).astype(np.uint16)
_LEVEL_SHORT = (LEVEL_OF * 2 << SHORT_LENGTH).astype(np.uint16)
_FIRST_SHORT = np.uint64(_PLACE_SHORT[0]) + np.uint64(_LEVEL_SHORT[0])


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
    state = np.zeros(_STATE * (len(fields) // FIELDS), np.uint64)
    one, place_bits = np.uint64(1), np.uint64(LARGER - 1)
    h, left = np.uint64(0), 0
    for k in range(len(fields) // FIELDS):
        s, new = FIELDS * k, np.uint64(_STATE * k)
        begin, total = fields[s + BEGIN], fields[s + ROWS] * fields[s + COLUMNS]
        fields[s + END] = begin
        fields[s + USED] = fields[s + FILLED] = 0
        row, column, width = locate(begin, fields[s + ROWS], fields[s + COLUMNS])
        bit, last = np.uint64(fields[s + FIRST_BIT]), np.uint64(fields[s + LAST_BIT])
        state[new + _SPOT], state[new + _LAST] = bit << np.uint64(WORD_BITS), last
        state[new + _AT], state[new + _STOP] = np.uint64(fields[s + START]), np.uint64(fields[s + STOP] - ROOM)
        state[new + _N], state[new + _BEGIN], state[new + _TOTAL] = np.uint64(begin), np.uint64(begin), np.uint64(total)
        state[new + _ROW], state[new + _COLUMN], state[new + _WIDTH] = (
            np.uint64(row),
            np.uint64(column),
            np.uint64(width),
        )
        state[new + _INTO] = np.uint64(fields[s + PLACES])
        state[new + _WORD] = np.uint64(
            np.int64(short[_FIRST_SHORT + (_window(data, bit) >> np.uint64(64 - SHORT_LENGTH))])
        )
        if begin < total and not _is_padding(data, bit, last):  # it joins the ring of those that take turns
            state[new + _NEXT] = state[h + _NEXT] if left > 0 else new
            state[h + _NEXT] = new
            h = new
            left += 1
    while left > 0:
        previous, h = h, state[h + _NEXT]
        spot, at, word = state[h + _SPOT], state[h + _AT], np.int64(state[h + _WORD])
        if word & SLOW == 0:
            spot = (spot & np.uint64(_NOT_LARGER)) + np.uint64(word & (SLOW - 1))
            coefficients[at] = (word >> WORD_REST) + np.int64(spot & np.uint64(255))
            position = spot & place_bits
            state[h + _AT] = at + one
            state[h + _MASK] |= one << (position - one & np.uint64(63))
            blocks, status = position >> np.uint64(6), 0
        else:
            position = spot & np.uint64(63)
            around_it = np.uint64(ones(state[h + _WEST] >> position) + ones(state[h + _NORTH] >> position))
            around_it |= state[h + _HANDS]
            window = _window(data, spot >> np.uint64(WORD_BITS))
            if word == SLOW:
                context = np.uint64(_PLACE_SHORT[spot & np.uint64(255)]) + np.uint64(_LEVEL_SHORT[around_it])
                context = context << np.uint64(MAX_LENGTH - SHORT_LENGTH)
                word = np.int64(lookup[context + (window >> np.uint64(64 - MAX_LENGTH))])
            length = np.uint64(word >> WORD_BITS & 127)
            step, kind = np.uint64(word & 255), word >> WORD_REST
            spot += length << np.uint64(WORD_BITS)
            blocks, status = np.uint64(0), 0
            if kind > 0:
                spot = (spot & np.uint64(_NOT_LARGER)) + step
                position = spot & place_bits
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
                    length = np.uint64(word >> WORD_BITS & 127)
                    kind += word >> WORD_REST
                    if kind >= 3 + SIZE_DIRECT:
                        b = np.uint64(kind - 3 - SIZE_DIRECT)
                        window = window << length
                        kind = 3 + SIZE_DIRECT + np.int64((np.uint64(2) << b) - np.uint64(2))
                        kind += np.int64(window >> (np.uint64(63) - b))
                        spot += length << np.uint64(WORD_BITS)
                        length = b + one
                    length += one
                    spot += length << np.uint64(WORD_BITS)
                negative = np.int64((window << (length - one)) >> np.uint64(63))
                coefficients[at] = (kind ^ -negative) + negative << 6 | np.int64(p)
                at += one
                state[h + _AT] = at
                state[h + _MASK] |= one << p
                if position >= np.uint64(64):
                    blocks = one
            elif step == np.uint64(WORD_END):
                blocks = one
                if word == SLOW:
                    status = BAD_CODE
            elif step == np.uint64(WORD_SKIP):
                spot += step
                if spot & place_bits > np.uint64(63):
                    status = OUT_OF_RANGE
            else:
                blocks = one << step
                if position > np.uint64(0):
                    status = BAD_CODE
        if blocks != np.uint64(0) or status != 0:  # the end of a block, or of the section
            s = FIELDS * np.int64(h // np.uint64(_STATE))
            n, total, last, bit = state[h + _N], state[h + _TOTAL], state[h + _LAST], spot >> np.uint64(WORD_BITS)
            if status == 0 and spot & place_bits > np.uint64(64):
                status = OUT_OF_RANGE
            if status == 0 and bit > last:
                status = OVERRUN
            if status == 0 and n + blocks > total:
                status = TOO_MANY_BLOCKS
            if status == 0:
                mask, at = state[h + _MASK], state[h + _AT]
                if mask != np.uint64(0):
                    into = state[h + _INTO]
                    filled[into], ends[into] = n, np.int64(at) - fields[s + START]
                    state[h + _INTO] = into + one
                column, width = state[h + _COLUMN] + blocks, state[h + _WIDTH]
                while blocks != np.uint64(0):
                    state[h + _MASKS + (n & np.uint64(_RING - 1))] = mask
                    n, blocks = n + one, blocks - one
                if column >= width:
                    next_block = min(np.int64(n), np.int64(total) - 1)
                    at_row, at_column, its_width = locate(next_block, fields[s + ROWS], fields[s + COLUMNS])
                    column, width = np.uint64(at_column), np.uint64(its_width)
                    state[h + _ROW], state[h + _WIDTH] = np.uint64(at_row), width
                state[h + _N], state[h + _COLUMN] = n, column
                if _is_padding(data, bit, last):
                    status = _ENDED
                elif n == total:
                    status = TOO_MANY_BLOCKS
                elif at > state[h + _STOP]:
                    status = OVERRUN
                west = column > np.uint64(0)
                north = state[h + _ROW] > np.uint64(0) and n >= state[h + _BEGIN] + width
                north_mask = state[h + _MASKS + (n + np.uint64(_RING) - width & np.uint64(_RING - 1))]
                state[h + _WEST] = mask if west else np.uint64(0)
                state[h + _NORTH] = north_mask if north else np.uint64(0)
                state[h + _HANDS] = np.uint64((np.int64(west) + np.int64(north)) << 8)
                state[h + _MASK] = np.uint64(0)
                spot = bit << np.uint64(WORD_BITS)
            if status != 0:
                into = np.int64(state[h + _INTO])
                fields[s + FILLED] = into - fields[s + PLACES]
                fields[s + USED] = ends[into - 1] if fields[s + FILLED] > 0 else 0
                fields[s + END] = np.int64(state[h + _N]) if status == _ENDED else status
                state[previous + _NEXT] = state[h + _NEXT]
                h = previous
                left -= 1
                continue
        # the word that comes next, so that when the section's turn is there, the processor need not wait for it
        position = spot & np.uint64(63)
        around_it = np.uint64(ones(state[h + _WEST] >> position) + ones(state[h + _NORTH] >> position))
        around_it |= state[h + _HANDS]
        context = np.uint64(_PLACE_SHORT[spot & np.uint64(255)]) + np.uint64(_LEVEL_SHORT[around_it])
        window = _window(data, spot >> np.uint64(WORD_BITS))
        state[h + _SPOT] = spot
        state[h + _WORD] = np.uint64(np.int64(short[context + (window >> np.uint64(64 - SHORT_LENGTH))]))
