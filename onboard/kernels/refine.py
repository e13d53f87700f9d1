"""Entropy coding of the refinement layers: significance and runs, static canonical codes. FORMAT.md section 11.

All arrays are in the order of the section's own grid (FORMAT.md section 11.2). A table set is one flat uint16 array
of words `code << 4 | length`. Coder, counter and parser share the context function, coder and counter the symbols.

Bounds: a code word has at most 11 bits, raw bits at most 19 plus a sign, and fewer than 8 bits are pending, so the
accumulator stays below 2^27.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE

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

SLACK = 520  # bytes a coder may write past its limit: a block's 64 coefficients of two words, 20 raw bits each
MAX_TOKENS = 136

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4

_STRIPE = 32
_M1 = np.uint64(0x5555555555555555)
_M2 = np.uint64(0x3333333333333333)
_M4 = np.uint64(0x0F0F0F0F0F0F0F0F)


@njit(inline="always")
def _put(out, pos, acc, fill, value, length):
    """Append `length` (<= 20) bits of `value`; `acc` keeps fewer than 8 pending bits."""
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
    """`count` (<= 20) bits from bit offset `bit`; ones beyond the end."""
    byte = bit >> 3
    window = np.int64(0)
    for i in range(4):
        window = (window << 8) | (np.int64(data[byte + i]) if byte + i < len(data) else 255)
    return (window >> (32 - (bit & 7) - count)) & ((1 << count) - 1)


@njit(inline="always")
def _is_padding(data, bit):
    """True when fewer than 8 bits are left and all are ones."""
    left = 8 * len(data) - bit
    return left < 8 and _peek(data, bit, 7) >> (7 - left) == (1 << left) - 1


@njit(inline="always")
def _locate(n, rows, columns):
    """Block `n` of the grid -> row, column within its stripe, width of that stripe."""
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    return inside // width, inside % width, width


@njit(inline="always")
def _ones(x):
    x = x - ((x >> np.uint64(1)) & _M1)
    x = (x & _M2) + ((x >> np.uint64(2)) & _M2)
    x = (x + (x >> np.uint64(4))) & _M4
    x = x + (x >> np.uint64(8))
    x = x + (x >> np.uint64(16))
    return np.int64((x + (x >> np.uint64(32))) & np.uint64(127))


@njit(inline="always")
def _around(masks, n, begin, row, column, width):
    """Significance masks of the west and the north block, and how many of the two are at hand."""
    west, north, hands = np.uint64(0), np.uint64(0), 0
    if column > 0 and n - 1 >= begin:
        west = masks[n - 1]
        hands += 1
    if row > 0 and n - width >= begin:
        north = masks[n - width]
        hands += 1
    return west, north, hands


@njit(inline="always")
def _level(west, north, hands, position):
    """How many coefficients from `position` on are significant in the blocks at hand, in classes."""
    if hands == 0:
        return np.int64(ALONE)
    shift = np.uint64(position)
    total = _ones(west >> shift) + _ones(north >> shift) if position < 64 else np.int64(0)
    return np.int64(LEVEL[total * (3 - hands)])


@njit
def _quantise(c, step, thresholds, keep, q, large):
    """Quantise the first `keep` coefficients of a block; return its significance mask and its last position or -1.

    A coefficient that would become 1 is kept only from thresholds[zeros before it] on: the longer the run, the dearer.
    `large` is uint8 (64,) scratch: which coefficients reach the least threshold, told by a loop without branches.
    """
    mask = np.uint64(0)
    last = -1
    least = np.int32(min(thresholds[0], 1 << 30))
    rounding = step // 3
    for p in range(64):
        large[p] = abs(np.int32(c[p])) >= least
        q[p] = 0
    for p in range(np.int64(keep)):
        if large[p]:
            a = abs(np.int64(c[p]))
            v = (a + rounding) // step
            if v <= 1:
                v = np.int64(a >= thresholds[p - last - 1])
            if v > 0:
                q[p] = v if c[p] > 0 else -v
                mask |= np.uint64(1) << np.uint64(p)
                last = p
    return mask, last


@njit
def _tokens(q, last, west, north, hands, tokens, raws, lengths):
    """Symbols of a block that is not empty: table entries, and the raw bits behind each. Returns how many."""
    count, position, larger = 0, 0, 0
    while position <= last:
        run = 0
        while q[position + run] == 0:
            run += 1
        level = _level(west, north, hands, position)
        context = (BAND[position] * LEVELS + level) * 2 + larger
        base = RUN_BASE + context * RUN_SYMBOLS
        lengths[count] = 0
        raws[count] = 0
        if run > MAX_RUN:
            tokens[count] = base + SKIP
            count += 1
            position += MAX_RUN + 1
            continue
        value = np.int64(q[position + run])
        a = abs(value)
        tokens[count] = base + 1 + 3 * run + min(a, 3) - 1
        position += run + 1
        if a >= 3:
            count += 1
            excess = a - 3
            base = SIZE_BASE + (BAND[position - 1] * LEVELS + level) * SIZE_SYMBOLS
            if excess < SIZE_DIRECT:
                tokens[count] = base + excess
                lengths[count] = 0
                raws[count] = 0
            else:
                excess -= SIZE_DIRECT
                b = 0
                while excess >= (4 << b) - 2:
                    b += 1
                tokens[count] = base + SIZE_DIRECT + b
                lengths[count] = b + 1
                raws[count] = excess - ((2 << b) - 2)
        raws[count] = raws[count] << 1 | (value < 0)
        lengths[count] += 1
        count += 1
        larger = np.int64(a > 1)
    if last < 63:
        level = _level(west, north, hands, position)
        tokens[count] = RUN_BASE + ((BAND[position] * LEVELS + level) * 2 + larger) * RUN_SYMBOLS
        lengths[count] = 0
        raws[count] = 0
        count += 1
    return count


@njit
def _empty_run(coefficients, step, thresholds, keep, n, total, q, large):
    """How many blocks from the empty block `n` on one symbol can take: log2, 0 to 4."""
    run = 1
    while run < 1 << EMPTY_RUNS and n + run < total:
        _, last = _quantise(coefficients[n + run], step, thresholds, keep[n + run], q, large)
        if last >= 0:
            break
        run += 1
    log2 = 0
    while 2 << log2 <= run:
        log2 += 1
    return log2


@njit(nogil=True, cache=CACHE)
def code_refinement(coefficients, step, thresholds, keep, rows, columns, begin, words, masks, out, limit):
    """Quantise and code blocks from `begin` until the grid ends or `limit` bytes are full.

    Args:
        coefficients: int16 or int32 (rows * columns, 64) in sixteenths, scan order.
        step: in sixteenths.
        thresholds: int64 (64,) in sixteenths, ascending, the first at least 1: see _quantise.
        keep: uint8 (rows * columns,) coefficients of each block that may be sent, 64 for all.
        rows, columns: the section's grid.
        words: uint16 (SET_SYMBOLS,) table set.
        masks: uint64 (rows * columns,) scratch.
        out: uint8 (>= limit + SLACK,).

    Returns:
        (block behind the last one coded, bytes used).
    """
    pos, acc, fill = 0, 0, 0
    total = rows * columns
    q = np.empty(64, np.int32)
    spare = np.empty(64, np.int32)
    large = np.empty(64, np.uint8)
    tokens = np.empty(MAX_TOKENS, np.int64)
    raws = np.empty(MAX_TOKENS, np.int64)
    lengths = np.empty(MAX_TOKENS, np.int64)
    n = begin
    row, column, width = _locate(begin, rows, columns)
    while n < total:
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        mask, last = _quantise(coefficients[n], step, thresholds, keep[n], q, large)
        masks[n] = mask
        west, north, hands = _around(masks, n, begin, row, column, width)
        run = 1
        if last < 0:
            level = _level(west, north, hands, 0)
            symbol = np.int64(0)
            if level == 0:
                log2 = _empty_run(coefficients, step, thresholds, keep, n, total, spare, large)
                if log2 > 0:
                    symbol = np.int64(SKIP + log2)
                    run = 1 << log2
                    masks[n + 1 : n + run] = 0
            word = np.int64(words[RUN_BASE + level * 2 * RUN_SYMBOLS + symbol])
            pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
        else:
            count = _tokens(q, last, west, north, hands, tokens, raws, lengths)
            for i in range(count):
                word = np.int64(words[tokens[i]])
                pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
                if lengths[i] > 0:
                    pos, acc, fill = _put(out, pos, acc, fill, raws[i], lengths[i])
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        n += run
        column += run
        if column >= width:
            row, column, width = _locate(min(n, total - 1), rows, columns)
    return n, _pad(out, pos, acc, fill)


@njit(nogil=True, cache=CACHE)
def count_refinement(coefficients, step, thresholds, rows, columns, begin, end, masks, counts):
    """Count the symbols of blocks `begin` to `end` as one section would hold them.

    Args:
        counts: int64 (SET_SYMBOLS,), added to.

    Returns:
        (raw bits, squared error of the coefficients in 1/256).
    """
    q = np.empty(64, np.int32)
    tokens = np.empty(MAX_TOKENS, np.int64)
    raws = np.empty(MAX_TOKENS, np.int64)
    lengths = np.empty(MAX_TOKENS, np.int64)
    large = np.empty(64, np.uint8)
    keep = np.full(rows * columns, 64, np.uint8)
    raw, error = 0, 0.0
    n, skipped = begin, begin
    while n < end:
        mask, last = _quantise(coefficients[n], step, thresholds, 64, q, large)
        masks[n] = mask
        for p in range(64):
            d = np.float64(np.int64(coefficients[n, p]) - np.int64(q[p]) * step)
            error += d * d
        if n >= skipped:
            row, column, width = _locate(n, rows, columns)
            west, north, hands = _around(masks, n, begin, row, column, width)
            if last < 0:
                level = _level(west, north, hands, 0)
                symbol = np.int64(0)
                if level == 0:
                    log2 = _empty_run(coefficients, step, thresholds, keep, n, end, q, large)
                    if log2 > 0:
                        symbol = np.int64(SKIP + log2)
                        skipped = n + (1 << log2)
                counts[RUN_BASE + level * 2 * RUN_SYMBOLS + symbol] += 1
            else:
                count = _tokens(q, last, west, north, hands, tokens, raws, lengths)
                for i in range(count):
                    counts[tokens[i]] += 1
                    raw += lengths[i]
        n += 1
    return raw, error


@njit
def _get_block(data, bit, lookup, west, north, hands, q):
    """Parse the block at `bit`; return (bit or negative status, mask, empty blocks log2 or -1)."""
    position, larger = 0, 0
    mask = np.uint64(0)
    while position < 64:
        level = _level(west, north, hands, position)
        context = (BAND[position] * LEVELS + level) * 2 + larger
        word = np.int64(lookup[context, _peek(data, bit, MAX_LENGTH)])
        if word == 0:
            return BAD_CODE, mask, -1
        bit += word & 15
        symbol = word >> 4
        if symbol == 0:
            return bit, mask, -1 if position else 0
        if symbol >= SKIP:
            if symbol > SKIP:
                return (bit, mask, symbol - SKIP) if position == 0 else (BAD_CODE, mask, -1)
            position += MAX_RUN + 1
            continue
        position += (symbol - 1) // 3
        if position > 63:
            return OUT_OF_RANGE, mask, -1
        a = (symbol - 1) % 3 + 1
        if a == 3:
            word = np.int64(lookup[SIZE_ROW + BAND[position] * LEVELS + level, _peek(data, bit, MAX_LENGTH)])
            if word == 0:
                return BAD_CODE, mask, -1
            bit += word & 15
            a += word >> 4
            if a >= 3 + SIZE_DIRECT:
                b = a - 3 - SIZE_DIRECT
                a = 3 + SIZE_DIRECT + ((2 << b) - 2) + _peek(data, bit, b + 1)
                bit += b + 1
        q[position] = -a if _peek(data, bit, 1) else a
        bit += 1
        mask |= np.uint64(1) << np.uint64(position)
        position += 1
        larger = np.int64(a > 1)
    return (bit if position == 64 else OUT_OF_RANGE), mask, -1


@njit(nogil=True, cache=CACHE)
def parse_refinement(data, rows, columns, begin, lookup, masks, q, filled):
    """Inverse of code_refinement.

    Args:
        data: uint8 section payload behind its own header.
        lookup: uint16 (contexts, 2^MAX_LENGTH) of `symbol << 4 | length`, 0 where no code word matches.
        q: int32 (n, 64), zeros: the blocks that are not empty, of which there are at most one to two bits.
        filled: int32 (n,) which those are, counted from `begin`.

    Returns:
        (the block behind the last one or a negative status, how many rows of `q` are used).
    """
    total = rows * columns
    bits = 8 * len(data)
    bit = 0
    count = 0
    n = begin
    while n < total and not _is_padding(data, bit):
        if count == len(q):
            return OVERRUN, count
        row, column, width = _locate(n, rows, columns)
        west, north, hands = _around(masks, n, begin, row, column, width)
        bit, mask, log2 = _get_block(data, bit, lookup, west, north, hands, q[count])
        if bit < 0:
            return bit, count
        if bit > bits:
            return OVERRUN, count
        masks[n] = mask
        if mask != 0:
            filled[count] = n - begin
            count += 1
        if log2 > 0:
            if n + (1 << log2) > total:
                return TOO_MANY_BLOCKS, count
            masks[n : n + (1 << log2)] = 0
            n += (1 << log2) - 1
        n += 1
    if n == total and not _is_padding(data, bit):
        return TOO_MANY_BLOCKS, count
    return n, count
