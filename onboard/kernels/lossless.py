"""Entropy coding of the lossless layer: prediction in the samples, contexts by local activity. FORMAT.md section 12.

Blocks are in the order of the section's own grid, samples of a block in raster order. Coder, counter and parser share
the prediction, so they cannot drift apart.

Bounds: samples have at most 16 bits, so the activity stays below 2^19 and a mapped error below 2^16; a code word has at
most 12 bits and at most 15 raw bits behind it, and fewer than 8 bits are pending: the accumulator stays below 2^23.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

MAX_LENGTH = 12

ERROR_LEVELS = 40
ERROR_ALONE = ERROR_LEVELS  # no neighbour at hand
ERROR_CONTEXTS = ERROR_LEVELS + 1
ERROR_DIRECT = 48  # mapped errors 0 to 47, then buckets of 2, 4, 8, ... values
ERROR_BUCKETS = 16
ERROR_SYMBOLS = ERROR_DIRECT + ERROR_BUCKETS
RAW_LEVEL = 5  # octaves of activity without raw low bits

# Blocks without any error, where a neighbour is one: 0 no, 1 yes, 2 and 3: this one and the next 3 or 15
FLAT_RUNS = (0, 1, 4, 16)
FLAT_SYMBOLS = len(FLAT_RUNS)
FLAT_CONTEXTS = 2

ERROR_BASE = 0
FLAT_BASE = ERROR_BASE + ERROR_CONTEXTS * ERROR_SYMBOLS
SET_SYMBOLS = FLAT_BASE + FLAT_CONTEXTS * FLAT_SYMBOLS
FLAT_ROW = ERROR_CONTEXTS
KINDS = ((ERROR_BASE, ERROR_CONTEXTS, ERROR_SYMBOLS), (FLAT_BASE, FLAT_CONTEXTS, FLAT_SYMBOLS))

SLACK = 240  # bytes a coder may write past its limit: a block's 64 samples of at most 27 bits and a flat symbol

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4

_STRIPE = 32
_WEST, _NORTH, _NORTH_EAST, _NORTH_WEST = 1, 2, 4, 8


@njit(inline="always")
def _put(out, pos, acc, fill, value, length):
    """Append `length` (<= 16) bits of `value`; `acc` keeps fewer than 8 pending bits."""
    acc = (acc << length) | value
    fill += length
    while fill >= 8:
        fill -= 8
        out[pos] = (acc >> fill) & 255
        pos += 1
    return pos, acc & ((1 << fill) - 1), fill


@njit(inline="always")
def _pad(out, pos, acc, fill):
    """Fill the last byte with ones; return the byte count."""
    if fill > 0:
        out[pos] = (acc << (8 - fill)) | ((1 << (8 - fill)) - 1)
        pos += 1
    return pos


@njit(inline="always")
def _peek(data, bit, count):
    """`count` (<= 16) bits from bit offset `bit`; ones beyond the end."""
    byte = bit >> 3
    window = np.int64(0)
    for i in range(3):
        window = (window << 8) | (np.int64(data[byte + i]) if byte + i < len(data) else 255)
    return (window >> (24 - (bit & 7) - count)) & ((1 << count) - 1)


@njit(inline="always")
def _is_padding(data, bit):
    """True when fewer than 8 bits are left and all are ones."""
    left = 8 * len(data) - bit
    return left < 8 and _peek(data, bit, 7) >> (7 - left) == (1 << left) - 1


@njit(inline="always")
def _hands(n, begin, rows, columns, joined):
    """Which blocks around block `n` are at hand, as a set of bits; none where the grid's blocks do not touch."""
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    row, column = inside // width, inside % width
    hands = 0
    if joined:
        if column > 0 and n - 1 >= begin:
            hands |= _WEST
        if row > 0 and n - width >= begin:
            hands |= _NORTH
            if column + 1 < width:
                hands |= _NORTH_EAST
            if column > 0 and n - width - 1 >= begin:
                hands |= _NORTH_WEST
    return hands, width


@njit(inline="always")
def _predict(plane, y, x, i, j, hands, half):
    """Prediction of sample (y, x), which is sample (i, j) of its block, and its activity, -1 with no neighbour."""
    left, up = j > 0 or hands & _WEST, i > 0 or hands & _NORTH
    if not left and not up:
        return half, np.int64(-1)
    if left:
        w = np.int64(plane[y, x - 1])
        n = np.int64(plane[y - 1, x]) if up else w
    else:
        n = np.int64(plane[y - 1, x])
        w = n
    nw, ne, ww, nn = n, n, w, n
    if up:
        if (i > 0 and left) or (i == 0 and (j > 0 or hands & _NORTH_WEST)):
            nw = np.int64(plane[y - 1, x - 1])
        if j < 7 or (i == 0 and hands & _NORTH_EAST):
            ne = np.int64(plane[y - 1, x + 1])
        if i > 1 or hands & _NORTH:
            nn = np.int64(plane[y - 2, x])
    if j > 1 or hands & _WEST:
        ww = np.int64(plane[y, x - 2])
    if nw >= max(w, n):
        median = min(w, n)
    elif nw <= min(w, n):
        median = max(w, n)
    else:
        median = w + n - nw
    prediction = (4 * median + 2 * (w + n) + ne - nw + 4) >> 3
    activity = abs(w - nw) + abs(n - nw) + abs(n - ne) + abs(w - ww) + abs(n - nn)
    return min(max(prediction, 0), 2 * half - 1), activity


@njit(inline="always")
def _context(activity):
    """Context and number of raw low bits: two classes an octave."""
    if activity < 0:
        return ERROR_ALONE, 0
    octave = 0
    while activity >= 4:
        activity >>= 1
        octave += 1
    return min(2 * octave + activity, ERROR_LEVELS - 1), max(octave + (activity >> 1) - RAW_LEVEL, 0)


@njit(inline="always")
def _map(error, half):
    """Error modulo 2 * half to 0 .. 2 * half - 1, small ones first: 0, -1, 1, -2, 2, ..."""
    error &= 2 * half - 1
    return 2 * error if error < half else 2 * (2 * half - error) - 1


@njit
def _is_flat(plane, top, left, hands, half):
    """True when the prediction of every sample of the block is right."""
    for i in range(8):
        for j in range(8):
            prediction, _ = _predict(plane, top + i, left + j, i, j, hands, half)
            if prediction != plane[top + i, left + j]:
                return False
    return True


@njit(inline="always")
def _flat_run(plane, blocks, at, n, begin, rows, columns, joined, half):
    """How many blocks from `n` on are flat, in classes: an index into FLAT_RUNS."""
    found = 0
    total = rows * columns
    grid = plane.shape[1] // 8
    while found < 16 and n + found < total:
        hands, _ = _hands(n + found, begin, rows, columns, joined)
        b = blocks[at + found]
        if not _is_flat(plane, 8 * (b // grid), 8 * (b % grid), hands, half):
            break
        found += 1
    return 3 if found == 16 else (2 if found >= 4 else min(found, 1))


@kernel
def code_lossless(plane, half, blocks, rows, columns, joined, begin, words, flat, out, limit, counts):
    """Code blocks from `begin` until the grid ends or `limit` bytes are full.

    Args:
        plane: uint8 or uint16 whole blocks, (8 * rows of all blocks, 8 * columns of all blocks).
        half: 2^(depth - 1).
        blocks: int32 (rows * columns - begin,) raster indices of the section's blocks, from `begin` on.
        rows, columns: the section's grid.
        joined: whether neighbours in the grid are neighbours in the plane.
        words: uint16 (SET_SYMBOLS,) table set.
        flat: uint8 (rows * columns,) scratch.
        out: uint8 (>= limit + SLACK,).
        counts: int64 (SET_SYMBOLS,), every symbol is counted there.

    Returns:
        (block behind the last one coded, bytes used).
    """
    pos, acc, fill = 0, 0, 0
    total = rows * columns
    grid = plane.shape[1] // 8
    n = begin
    while n < total:
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        hands, width = _hands(n, begin, rows, columns, joined)
        around = 0
        if hands & _WEST:
            around += np.int64(flat[n - 1])
        if hands & _NORTH:
            around += np.int64(flat[n - width])
        run = 0
        if around > 0:
            symbol = _flat_run(plane, blocks, n - begin, n, begin, rows, columns, joined, half)
            run = FLAT_RUNS[symbol]
            token = FLAT_BASE + (around - 1) * FLAT_SYMBOLS + symbol
            counts[token] += 1
            word = np.int64(words[token])
            pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
        if run > 0:
            flat[n : n + run] = 1
        else:
            run = 1
            b = blocks[n - begin]
            top, left = 8 * (b // grid), 8 * (b % grid)
            all_right = True
            for i in range(8):
                for j in range(8):
                    prediction, activity = _predict(plane, top + i, left + j, i, j, hands, half)
                    context, low = _context(activity)
                    mapped = _map(np.int64(plane[top + i, left + j]) - prediction, half)
                    all_right &= mapped == 0
                    raw, length = mapped & ((1 << low) - 1), low
                    symbol = mapped >> low
                    if symbol >= ERROR_DIRECT:
                        excess = symbol - ERROR_DIRECT
                        bucket = 0
                        while excess >= (4 << bucket) - 2:
                            bucket += 1
                        symbol = ERROR_DIRECT + bucket
                        raw |= (excess - ((2 << bucket) - 2)) << low
                        length += bucket + 1
                    token = ERROR_BASE + context * ERROR_SYMBOLS + symbol
                    counts[token] += 1
                    word = np.int64(words[token])
                    pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
                    if length > 0:
                        pos, acc, fill = _put(out, pos, acc, fill, raw, length)
            flat[n] = all_right
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        n += run
    return n, _pad(out, pos, acc, fill)


@kernel
def parse_lossless(data, half, blocks, rows, columns, joined, begin, lookup, flat, plane):
    """Inverse of code_lossless: fill the blocks of `plane`; return the block behind the last one or a negative status.

    Args:
        data: uint8 section payload behind its own header.
        lookup: uint16 (contexts, 2^MAX_LENGTH) of `symbol << 4 | length`, 0 where no code word matches.
        blocks: int32 (n,), those that may follow from `begin` on; more are malformed.
    """
    total = rows * columns
    grid = plane.shape[1] // 8
    bits = 8 * len(data)
    bit = 0
    n = begin
    while n < total and not _is_padding(data, bit):
        hands, width = _hands(n, begin, rows, columns, joined)
        around = 0
        if hands & _WEST:
            around += np.int64(flat[n - 1])
        if hands & _NORTH:
            around += np.int64(flat[n - width])
        run = 0
        if around > 0:
            word = np.int64(lookup[FLAT_ROW + around - 1, _peek(data, bit, MAX_LENGTH)])
            if word == 0:
                return BAD_CODE
            bit += word & 15
            run = FLAT_RUNS[word >> 4]
        if n + max(run, 1) > total:
            return TOO_MANY_BLOCKS
        for k in range(max(run, 1)):
            if k > 0:
                hands, width = _hands(n + k, begin, rows, columns, joined)
            b = blocks[n + k - begin]
            top, left = 8 * (b // grid), 8 * (b % grid)
            all_right = True
            for i in range(8):
                for j in range(8):
                    prediction, activity = _predict(plane, top + i, left + j, i, j, hands, half)
                    mapped = np.int64(0)
                    if run == 0:
                        context, low = _context(activity)
                        word = np.int64(lookup[context, _peek(data, bit, MAX_LENGTH)])
                        if word == 0:
                            return BAD_CODE
                        bit += word & 15
                        symbol = word >> 4
                        if symbol >= ERROR_DIRECT:
                            bucket = symbol - ERROR_DIRECT
                            symbol = ERROR_DIRECT + ((2 << bucket) - 2)
                            low += bucket + 1
                            if low > 16:
                                return OUT_OF_RANGE
                            mapped = (symbol << (low - bucket - 1)) + _peek(data, bit, low)
                        else:
                            mapped = (symbol << low) | _peek(data, bit, low)
                        bit += low
                        if mapped >= 2 * half:
                            return OUT_OF_RANGE
                        all_right &= mapped == 0
                    error = -((mapped + 1) >> 1) if mapped & 1 else mapped >> 1
                    plane[top + i, left + j] = (prediction + error) & (2 * half - 1)
            flat[n + k] = all_right
        if bit > bits:
            return OVERRUN
        n += max(run, 1)
    if n == total and not _is_padding(data, bit):
        return TOO_MANY_BLOCKS
    return n
