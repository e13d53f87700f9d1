"""Entropy coding of the two base layers: first latents, sign bits and latents 2 to 8 to bits. FORMAT.md section 5.

Bounds: a code word has at most 12 bits and raw bits at most 10 plus a sign, so an item of at most 31 bits joins fewer
than 8 pending ones in `acc`, an int64; of what lies above them nothing is ever looked at.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import trailing_zeros
from onboard.kernels.entropy import (
    BYTES,
    FIRST_BASE,
    FIRST_DIRECT,
    FIRST_LEVEL,
    FIRST_LEVELS,
    FIRST_PAIR,
    FIRST_SPLIT,
    FIRST_STRONG,
    FIRST_SYMBOLS,
    MAGNITUDE_CAP,
    MASK_BASE,
    MASK_LEVEL,
    MASK_SYMBOLS,
    QUAD_BASE,
    QUAD_ONES,
    QUAD_SYMBOLS,
    QUAD_ZEROS,
    QUAD_ZEROS4,
    SIZE_BASE,
    SIZE_DIRECT,
    SIZE_SYMBOLS,
    STRIPE,
    STRONG_LEAN,
    UNITS,
    bucket,
    equal_quads,
    first_context,
    locate,
    mask_context,
    quad_context,
    quad_level,
    sign_bits,
    size_context,
)

SLACK = 192  # bytes a coder may write past its limit: a run of eight blocks has at most 1340 bits, and _put writes 8

_BATCH = 16 * STRIPE  # blocks whose first latents are predicted together
_RING = 512  # blocks that code_rest has looked at and not coded yet, at most; a power of two
_AHEAD = 16  # blocks of the longest run of quads


@njit
def _pad(out, pos, acc, fill):
    """Write the pending bits, at most seven, and fill their byte with ones; return the byte count."""
    if fill > 0:
        missing = 8 - fill
        out[pos] = (acc << missing | ((1 << missing) - 1)) & 255
        pos += 1
    return pos


@njit(inline="always")
def _put(out, pos, acc, fill):
    """Write the `fill` lowest bits of `acc` from byte `pos` on, at most 56, and anything up to eight bytes."""
    word, at = (acc << 1) << (63 - fill), pos & BYTES
    for i in range(8):
        out[at + i] = word >> (56 - 8 * i) & 255


@njit
def _foretell(q, size, start, stop, width, residual, context, lean):
    """first_context and size of blocks, and residuals with the sign that is coded.

    The blocks are whole rows of a stripe, `start` to `stop` - 1.
    The row above the first of them, and the block before that, are in the section: only the blocks at both ends of a
    row lack neighbours. They are treated like the others first and put right after.
    """
    many = stop - start
    here, sizes, north, west = q[start:stop], size[start:stop], q[start - width :], q[start - 1 :]
    north_west, north_east = q[start - width - 1 :], q[start - width + 1 :]
    for x in range(many):
        w, n, nw, ne = np.int32(west[x]), np.int32(north[x]), np.int32(north_west[x]), np.int32(north_east[x])
        prediction = max(min(w, n), min(max(w, n), np.int32(w + n - nw)))
        r = np.int32(here[x] - prediction)
        lean[x] = np.int32(np.int32(2 * w) + np.int32(n + ne)) - np.int32(4 * prediction)
        residual[x] = r
        sizes[x] = min(abs(r), np.int32(MAGNITUDE_CAP))
    for x in range(0, many, width):
        residual[x] = here[x] - north[x]
        lean[x] = north_east[x] - north[x]
        sizes[x] = min(abs(residual[x]), MAGNITUDE_CAP)
    for x in range(width - 1, many, width):
        lean[x] += north[x] - north_east[x]
    size_west, size_north, size_north_east = size[start - 1 :], size[start - width :], size[start - width + 1 :]
    for x in range(many):
        w, n, nw, ne = np.int32(west[x]), np.int32(north[x]), np.int32(north_west[x]), np.int32(north_east[x])
        total = np.int32(abs(np.int32(n - ne)) + abs(np.int32(w - nw)) + abs(np.int32(n - nw)))
        total = np.int32(total + size_west[x] + size_north[x] + size_north_east[x])
        level = np.int32(0)
        for least in FIRST_LEVELS:
            level = np.int32(level + (total >= least))
        context[x] = level
    for x in range(0, many, width):
        total = 2 * (abs(np.int64(north[x]) - north_east[x]) + size_north[x] + size_north_east[x])
        context[x] = FIRST_LEVEL[min(total, len(FIRST_LEVEL) - 1)]
    for x in range(width - 1, many, width):
        n, nw = np.int64(north[x]), np.int64(north_west[x])
        total = 6 * (abs(west[x] - nw) + abs(n - nw) + size_west[x] + size_north[x]) // 4
        context[x] = FIRST_LEVEL[min(total, len(FIRST_LEVEL) - 1)]
    for x in range(many):
        residual[x] = np.int32(-residual[x]) if lean[x] < 0 else residual[x]
        strong = (context[x] == FIRST_SPLIT) & (abs(lean[x]) >= STRONG_LEAN)
        context[x] = np.int32(FIRST_STRONG) if strong else context[x]


@njit
def _find_symbols(residual, context, width, many, symbols, runs):
    """Symbol, not yet that of a large residual, and number of blocks it takes (as zero_run), for whole rows."""
    residual[many : many + 3] = 1
    for x in range(many):
        r, c = residual[x], context[x]
        pair = np.int32((r | residual[x + 1] | (c >> 1)) == 0)
        four = np.int32((r | residual[x + 1] | residual[x + 2] | residual[x + 3] | c) == 0)
        runs[x] = 1 + pair + 2 * four
        symbols[x] = c * FIRST_SYMBOLS + (FIRST_PAIR + four if pair else FIRST_DIRECT + r)
    for end in range(width, many + 1, width):
        for x in range(end - min(width, 3), end):
            if runs[x] > end - x:  # it may not go on behind the row
                runs[x] = 2 if end - x > 1 else 1
                symbols[x] = FIRST_PAIR if end - x > 1 else context[x] * FIRST_SYMBOLS + FIRST_DIRECT


@kernel
def code_first(q, rows, columns, begin, words, size, out, limit):
    """Code first latents from block `begin` until the plane ends or `limit` bytes are full.

    Args:
        q: int16 (rows * columns,) quantised first latents, |q| <= MAX_FIRST.
        rows, columns: phase grid, in blocks.
        begin: first block of the section.
        words: uint16 (SET_SYMBOLS,) table set.
        size: uint8 (rows * columns,) scratch.
        out: uint8 (>= limit + SLACK,).
        limit: most bytes to fill.

    Returns:
        (block behind the last one coded, bytes used).
    """
    pos, acc, fill = 0, 0, 0
    total = rows * columns
    residual, context = np.empty(_BATCH + 3, np.int32), np.empty(_BATCH, np.int32)
    lean, symbols, runs = np.empty(_BATCH, np.int32), np.empty(_BATCH, np.int32), np.empty(_BATCH, np.int32)
    free = 8 * limit  # bits
    row, column, width = locate(begin, rows, columns)
    n = begin
    while n < total:
        start = n - column
        if row > 0 and width > 1 and start - width > begin:
            many = min(_BATCH // width, rows - row)
            stop = start + many * width
            _foretell(q, size, start, stop, width, residual, context, lean)
        else:
            many = 1
            stop = start + width
            for x in range(column, width):
                prediction, context[x], lean[x] = first_context(q, size, start + x, begin, row, x, width)
                r = q[start + x] - prediction
                residual[x] = -r if lean[x] < 0 else r
                size[start + x] = min(abs(r), MAGNITUDE_CAP)
        _find_symbols(residual, context, width, stop - start, symbols, runs)
        x = column
        while x < stop - start:
            r, symbol = np.int64(residual[x]), np.int64(symbols[x])
            if abs(r) <= FIRST_DIRECT:
                word = np.int64(words[FIRST_BASE + symbol])
                value, length = word >> 4, word & 15
            else:
                excess = abs(r) - FIRST_DIRECT - 1
                b = bucket(excess)
                word = np.int64(words[FIRST_BASE + symbol - r + FIRST_DIRECT + 1 + b])
                value = (word >> 4) << (b + 2) | (excess - ((2 << b) - 2)) << 1 | (r < 0)
                length = (word & 15) + b + 2
            free -= length
            if free < 0:
                return start + x, _pad(out, pos, acc, fill)
            acc, fill = acc << length | value, fill + length
            _put(out, pos, acc, fill)
            pos, fill = pos + (fill >> 3), fill & 7
            x += runs[x]
        n = stop
        column = 0
        row += many
        if row == rows and n < total:
            row, column, width = locate(n, rows, columns)
    return n, _pad(out, pos, acc, fill)


@njit
def _summarise(group, q, begin, end, symbol, signs, nonzero, count):
    """Symbols of kind MASK, sign bits and number of non-zero latents, activities of blocks begin .. end - 1."""
    first = begin & BYTES
    for b in range(end - begin):
        mask, negative, coded, large = np.int16(0), np.int16(0), np.int16(0), np.int16(0)
        for u in range(UNITS):
            v = q[first + b, u]
            here = np.int16(v != 0)
            mask = np.int16(mask | np.int16(here << u))
            negative = np.int16(negative + (negative if v != 0 else 0) + np.int16(v < 0))
            coded = np.int16(coded + here)
            large = np.int16(large | np.int16(abs(v) > 1))
        symbol[b] = np.int16(mask | np.int16(128 * (large < np.int16(coded > 0))))
        signs[b], nonzero[b] = negative, coded
        count[first + b] = np.int16(1 + coded) * np.int16(group[first + b])


@njit(inline="always")
def _put_sizes(q, i, out, pos, acc, fill, words, nonzero):
    """Sizes and signs of latents 2 to 8 of block `i`, of which `nonzero` are not zero and not all of size 1."""
    ones, coded = 0, 0
    for u in range(UNITS):
        v = np.int64(q[i, u])
        if v != 0:
            at = SIZE_BASE + size_context(u, nonzero, ones, coded) * SIZE_SYMBOLS
            coded += 1
            ones += abs(v) == 1
            excess = abs(v) - 1
            if excess >= SIZE_DIRECT:
                excess -= SIZE_DIRECT
                b = bucket(excess)
                word = np.int64(words[at + SIZE_DIRECT + b])
                value, length = (word >> 4) << (b + 1) | (excess - ((2 << b) - 2)), (word & 15) + b + 1
            else:
                word = np.int64(words[at + excess])
                value, length = word >> 4, word & 15
            acc, fill = acc << (length + 1) | value << 1 | (v < 0), fill + length + 1
            _put(out, pos, acc, fill)
            pos, fill = pos + (fill >> 3), fill & 7
    return pos, acc, fill


@kernel
def code_rest(group, q, rows, columns, begin, words, count, out, limit):
    """Code sign bits and latents 2 to 8 from block `begin` (a multiple of four) on.

    Args:
        group: uint8 (rows * columns,), 1 for group 2.
        q: int16 (rows * columns, 7) quantised, |q| <= MAX_REST; read for group 2 only. Fastest in Fortran order.
        count: uint8 (rows * columns,) scratch.
        out, limit, words, rows, columns, begin: as in code_first.

    Returns:
        (block behind the last one coded, bytes used). The block is a multiple of four or the plane's end.
    """
    pos, acc, fill = 0, 0, 0
    total = rows * columns
    # of block i, at (i - begin) % _RING
    masks, signs, nonzero = np.empty(_RING, np.int16), np.empty(_RING, np.int16), np.empty(_RING, np.int16)
    ready = begin  # block behind the last one that is in them
    row, column, width = locate(begin, rows, columns)
    n = begin
    while n < total:
        while ready < min(n + _AHEAD, total):
            end = min(ready + _RING // 2, total)
            at = (ready - begin) % _RING
            _summarise(group, q, ready, end, masks[at:], signs[at:], nonzero[at:], count)
            ready = end
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        end = min(n + 4, total)
        known = row > 0 and n - width >= begin
        if known and column + 4 <= width:
            west = np.int64(count[n - 1]) if column > 0 else 0
            at = n - width
            context = quad_level(west, np.int64(count[at]) + count[at + 1] + count[at + 2] + count[at + 3])
            symbol = np.int64(group[n]) << 3 | group[n + 1] << 2 | group[n + 2] << 1 | group[n + 3]
        else:
            context = quad_context(count, n, end, begin, rows, columns)
            symbol = sign_bits(group, n, end)
        many = end - n
        members = symbol >> 3 | (symbol >> 1 & 2) | (symbol << 1 & 4) | (symbol << 3 & 8)  # block n in the lowest bit
        if symbol == 0 or symbol == 15:
            run = equal_quads(group, n, total, symbol, context)
            if run > 1:
                end = n + 4 * run
                many, members = 8, 17 * members  # of a run of zeros none matters
                symbol = QUAD_ONES if symbol == 15 else (QUAD_ZEROS if run == 2 else QUAD_ZEROS4)
        word = np.int64(words[QUAD_BASE + context * QUAD_SYMBOLS + symbol])
        value, length = word >> 4, word & 15
        acc, fill = acc << length | value, fill + length
        known &= column + many <= width
        while members != 0:
            i = n + trailing_zeros(np.uint64(members))
            members &= members - 1
            at = (i - begin) % _RING
            mask, coded = np.int64(masks[at]), np.int64(nonzero[at])
            if known:
                around = np.int64(count[i - width]) + (np.int64(count[i - 1]) if column + i > n else 0)
                context = np.int64(around >= MASK_LEVEL)
            else:
                context = mask_context(count, i, begin, rows, columns)
            word = np.int64(words[MASK_BASE + context * MASK_SYMBOLS + mask])
            with_sizes = 0 < mask < 128
            more = 0 if with_sizes else coded
            value = word >> 4 << more | (np.int64(signs[at]) if more else 0)
            length = (word & 15) + more
            acc, fill = acc << length | value, fill + length
            _put(out, pos, acc, fill)
            pos, fill = pos + (fill >> 3), fill & 7
            if with_sizes:
                pos, acc, fill = _put_sizes(q, i, out, pos, acc, fill, words, coded)
        _put(out, pos, acc, fill)
        pos, fill = pos + (fill >> 3), fill & 7
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        column += end - n
        n = end
        if column >= width and n < total:
            row, column, width = locate(n, rows, columns)
    return n, _pad(out, pos, acc, fill)
