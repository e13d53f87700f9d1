"""Entropy coding of the two base layers: symbols, contexts, static canonical Huffman codes. FORMAT.md section 5.

All arrays are in phase order (FORMAT.md section 3). A table set is one flat uint16 array of words
`code << 4 | length`; `*_BASE` say where each kind of symbol begins in it. Coder and parser share the context
functions, so they cannot drift apart.

Bounds: a code word has at most 12 bits, raw bits at most 10 plus a sign, so `acc` below stays under 2^31.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE

MAX_LENGTH = 12  # bits of a code word

FIRST_DIRECT = 8  # residuals -8..8 have symbols of their own
FIRST_BUCKETS = 10  # then |r| from 9 in buckets of 2, 4, 8, ... values
FIRST_PAIR = 2 * FIRST_DIRECT + 1 + FIRST_BUCKETS  # contexts 0 and 1: this residual and the next are zero
FIRST_FOUR = FIRST_PAIR + 1  # context 0: this residual and the next three are zero
FIRST_SYMBOLS = FIRST_FOUR + 1
FIRST_LEVELS = (1, 2, 4, 6, 10, 16, 24, 36)
FIRST_ALONE = len(FIRST_LEVELS) + 1  # no neighbour in the section
FIRST_CONTEXTS = FIRST_ALONE + 1

QUAD_ZEROS = 16  # this quad and the next are all group 1
QUAD_ONES = 17  # this quad and the next are all group 2
QUAD_ZEROS4 = 18  # context 0: this quad and the next three are all group 1
QUAD_SYMBOLS = 19
QUAD_LEVELS = (1, 3, 6, 10, 15, 20, 26, 32)
QUAD_CONTEXTS = 2 * (len(QUAD_LEVELS) + 1)

UNITS = 7  # latents 2 to 8
MASK_SYMBOLS = 256
MASK_LEVEL = 6
MASK_CONTEXTS = 2

SIZE_DIRECT = 9  # |q| 1..9
SIZE_BUCKETS = 9
SIZE_SYMBOLS = SIZE_DIRECT + SIZE_BUCKETS
SIZE_FORCED = 8  # the last chance of a block whose latents are not all of size 1
SIZE_CONTEXTS = 9

FIRST_BASE = 0
QUAD_BASE = FIRST_BASE + FIRST_CONTEXTS * FIRST_SYMBOLS
MASK_BASE = QUAD_BASE + QUAD_CONTEXTS * QUAD_SYMBOLS
SIZE_BASE = MASK_BASE + MASK_CONTEXTS * MASK_SYMBOLS
SET_SYMBOLS = SIZE_BASE + SIZE_CONTEXTS * SIZE_SYMBOLS

# (base, contexts, symbols per context) of the four kinds, in table order
KINDS = (
    (FIRST_BASE, FIRST_CONTEXTS, FIRST_SYMBOLS),
    (QUAD_BASE, QUAD_CONTEXTS, QUAD_SYMBOLS),
    (MASK_BASE, MASK_CONTEXTS, MASK_SYMBOLS),
    (SIZE_BASE, SIZE_CONTEXTS, SIZE_SYMBOLS),
)
SET_CONTEXTS = sum(kind[1] for kind in KINDS)
FIRST_ROW = 0
QUAD_ROW = FIRST_ROW + FIRST_CONTEXTS
MASK_ROW = QUAD_ROW + QUAD_CONTEXTS
SIZE_ROW = MASK_ROW + MASK_CONTEXTS

MAX_FIRST = 1023  # |quantised first latent|
MAX_REST = 1031  # |quantised latent 2 to 8|, what the buckets reach
SLACK = 64  # bytes a coder may write past its limit before it steps back: one quad symbol and one block, 178 bits

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4

_STRIPE = 32
_MAGNITUDE_CAP = 31


@njit(inline="always")
def _put(out, pos, acc, fill, value, length):
    """Append `length` (<= 23) bits of `value`; `acc` keeps fewer than 8 pending bits."""
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
    """`count` (<= 12) bits from bit offset `bit`; ones beyond the end."""
    byte = bit >> 3
    window = 0
    for i in range(3):
        window = (window << 8) | (np.int64(data[byte + i]) if byte + i < len(data) else 255)
    return (window >> (24 - (bit & 7) - count)) & ((1 << count) - 1)


@njit(inline="always")
def _is_padding(data, bit):
    """True when fewer than 8 bits are left and all are ones."""
    left = 8 * len(data) - bit
    return left < 8 and _peek(data, bit, 7) >> (7 - left) == (1 << left) - 1


@njit(inline="always")
def _locate(n, rows, columns):
    """Block `n` of the phase order -> row, column within its stripe, width of that stripe."""
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    return inside // width, inside % width, width


@njit(inline="always")
def _bucket(excess):
    """Value past the direct range (>= 0) -> bucket b (2 << b values from (2 << b) - 2)."""
    b = 0
    while excess >= (4 << b) - 2:
        b += 1
    return b


@njit
def _first_context(q, size, n, begin, row, column, width):
    """Prediction of a first latent and its context, from the neighbours that are in the section."""
    west = column > 0 and n - 1 >= begin
    north = row > 0 and n - width >= begin
    if not west and not north:
        return 0, FIRST_ALONE
    if not north:
        prediction = np.int64(q[n - 1])
        total = 6 * np.int64(size[n - 1])
    else:
        qn = np.int64(q[n - width])
        total = np.int64(size[n - width])
        terms = 1
        if column + 1 < width:
            total += size[n - width + 1] + abs(qn - q[n - width + 1])
            terms += 2
        if not west:
            prediction = qn
        else:
            qw = np.int64(q[n - 1])
            prediction = qw
            total += size[n - 1]
            terms += 1
            if n - width - 1 >= begin:
                qnw = np.int64(q[n - width - 1])
                total += abs(qw - qnw) + abs(qn - qnw)
                terms += 2
                if qnw >= max(qw, qn):
                    prediction = min(qw, qn)
                elif qnw <= min(qw, qn):
                    prediction = max(qw, qn)
                else:
                    prediction = qw + qn - qnw
        total = 6 * total // terms
    context = 0
    for level in FIRST_LEVELS:
        if total >= level:
            context += 1
    return prediction, context


@njit
def _zero_run(q, size, n, begin, row, column, width, context):
    """How many residuals from block `n` on, a zero one, a run symbol can take together: 1, 2 or 4."""
    longest = 4 if context == 0 else (2 if context == 1 else 1)
    run = 1
    while run < longest and column + run < width:
        after, _ = _first_context(q, size, n + run, begin, row, column + run, width)
        if q[n + run] != after:
            break
        size[n + run] = 0
        run += 1
    return 2 if run == 3 else run


@njit(nogil=True, cache=CACHE)
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
    row, column, width = _locate(begin, rows, columns)
    n = begin
    while n < total:
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        prediction, context = _first_context(q, size, n, begin, row, column, width)
        r = np.int64(q[n]) - prediction
        size[n] = min(abs(r), _MAGNITUDE_CAP)
        run = _zero_run(q, size, n, begin, row, column, width, context) if r == 0 else 1
        if run > 1:
            symbol = FIRST_FOUR if run == 4 else FIRST_PAIR
        elif abs(r) <= FIRST_DIRECT:
            symbol = r + FIRST_DIRECT
        else:
            excess = abs(r) - FIRST_DIRECT - 1
            b = _bucket(excess)
            symbol = 2 * FIRST_DIRECT + 1 + b
        word = np.int64(words[FIRST_BASE + context * FIRST_SYMBOLS + symbol])
        pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
        if abs(r) > FIRST_DIRECT:
            raw = (excess - ((2 << b) - 2)) << 1 | (r < 0)
            pos, acc, fill = _put(out, pos, acc, fill, raw, b + 2)
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        n += run
        column += run
        if column >= width:
            column = 0
            row += 1
            if row == rows:
                row, column, width = _locate(min(n, total - 1), rows, columns)
    return n, _pad(out, pos, acc, fill)


@njit(nogil=True, cache=CACHE)
def parse_first(data, rows, columns, begin, lookup, size, q):
    """Inverse of code_first: fill `q` from block `begin`; return the block behind the last one, or a negative status.

    Args:
        data: uint8 section payload.
        lookup: uint16 (SET_CONTEXTS, 4096) of `symbol << 4 | length`, 0 where no code word matches.
        size, q: as in code_first.
    """
    total = rows * columns
    bits = 8 * len(data)
    bit = 0
    n = begin
    while n < total and not _is_padding(data, bit):
        row, column, width = _locate(n, rows, columns)
        prediction, context = _first_context(q, size, n, begin, row, column, width)
        word = np.int64(lookup[FIRST_ROW + context, _peek(data, bit, MAX_LENGTH)])
        if word == 0:
            return BAD_CODE
        bit += word & 15
        symbol = word >> 4
        r = np.int64(0)
        if symbol >= FIRST_PAIR:
            run = 2 if symbol == FIRST_PAIR else 4
            if column + run > width:
                return TOO_MANY_BLOCKS
            for _ in range(run - 1):
                q[n], size[n] = prediction, 0
                n += 1
                column += 1
                prediction, context = _first_context(q, size, n, begin, row, column, width)
        elif symbol <= 2 * FIRST_DIRECT:
            r = symbol - FIRST_DIRECT
        else:
            b = symbol - 2 * FIRST_DIRECT - 1
            raw = _peek(data, bit, b + 2)
            bit += b + 2
            r = FIRST_DIRECT + 1 + ((2 << b) - 2) + (raw >> 1)
            if raw & 1:
                r = -r
        if bit > bits:
            return OVERRUN
        value = prediction + r
        if abs(value) > MAX_FIRST:
            return OUT_OF_RANGE
        q[n], size[n] = value, min(abs(r), _MAGNITUDE_CAP)
        n += 1
    if n == total and not _is_padding(data, bit):
        return TOO_MANY_BLOCKS
    return n


@njit(inline="always")
def _active(count, n, begin, row, column, width):
    """Activity of the west and the north neighbour of block `n`: 0 outside the section, else 0 for group 1 and
    1 + number of non-zero latents for group 2."""
    west = np.int64(count[n - 1]) if column > 0 and n - 1 >= begin else 0
    north = np.int64(count[n - width]) if row > 0 and n - width >= begin else 0
    return west, north


@njit
def _quad_context(count, n, end, begin, rows, columns):
    """Context of the sign bits of blocks n .. end - 1 (at most four)."""
    row, column, width = _locate(n, rows, columns)
    west, activity = _active(count, n, begin, row, column, width)
    for i in range(n + 1, end):
        row, column, width = _locate(i, rows, columns)
        if row > 0 and begin <= i - width < n:  # in a stripe of 1 to 3 blocks the north may lie in this very quad
            activity += np.int64(count[i - width])
    activity += 2 * west
    context = 0
    for level in QUAD_LEVELS:
        if activity >= level:
            context += 1
    return 2 * context + (west > 0)


@njit(inline="always")
def _signs(group, n, end):
    """Sign bits of up to four blocks as a symbol, the first block in the highest bit; absent blocks are 0."""
    s = 0
    for i in range(n, end):
        s |= np.int64(group[i]) << (3 - (i - n))
    return s


@njit
def _equal_quads(group, n, total, symbol, context):
    """How many quads from block `n` on, all with sign bits `symbol` (0 or 15), one symbol can take: 1, 2 or 4."""
    longest = 4 if symbol == 0 and context == 0 else 2
    run = 1
    while run < longest and n + 4 * run + 4 <= total and _signs(group, n + 4 * run, n + 4 * run + 4) == symbol:
        run += 1
    return 2 if run == 3 else run


@njit(inline="always")
def _size_context(unit, nonzero, ones, coded):
    """Context of a latent's size: `coded` sizes of the block's `nonzero` came before, `ones` of them were 1."""
    if ones == nonzero - 1 and coded == ones:
        return SIZE_FORCED
    return 4 * (unit > 1) + min(nonzero, 6) // 2


@njit
def _put_block(q, out, pos, acc, fill, words, context):
    """Code latents 2 to 8 of one block; return the bit state and the number of non-zero latents."""
    mask, nonzero, largest = 0, 0, 0
    for u in range(UNITS):
        a = abs(np.int64(q[u]))
        if a > 0:
            mask |= 1 << u
            nonzero += 1
            largest = max(largest, a)
    symbol = mask + 128 if largest == 1 else mask
    word = np.int64(words[MASK_BASE + context * MASK_SYMBOLS + symbol])
    pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
    ones, coded = 0, 0
    for u in range(UNITS):
        if q[u] != 0:
            if largest > 1:
                context = _size_context(u, nonzero, ones, coded)
                coded += 1
                ones += abs(q[u]) == 1
                excess = abs(np.int64(q[u])) - 1
                b = -1
                if excess >= SIZE_DIRECT:
                    excess -= SIZE_DIRECT
                    b = _bucket(excess)
                    symbol = SIZE_DIRECT + b
                else:
                    symbol = excess
                word = np.int64(words[SIZE_BASE + context * SIZE_SYMBOLS + symbol])
                pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
                if b >= 0:
                    pos, acc, fill = _put(out, pos, acc, fill, excess - ((2 << b) - 2), b + 1)
            pos, acc, fill = _put(out, pos, acc, fill, np.int64(q[u] < 0), 1)
    return pos, acc, fill, nonzero


@njit(nogil=True, cache=CACHE)
def code_rest(group, q, rows, columns, begin, words, count, out, limit):
    """Code sign bits and latents 2 to 8 from block `begin` (a multiple of four) on.

    Args:
        group: uint8 (rows * columns,), 1 for group 2.
        q: int16 (rows * columns, 7) quantised, |q| <= MAX_REST; read for group 2 only.
        count: uint8 (rows * columns,) scratch.
        out, limit, words, rows, columns, begin: as in code_first.

    Returns:
        (block behind the last one coded, bytes used). The block is a multiple of four or the plane's end.
    """
    pos, acc, fill = 0, 0, 0
    total = rows * columns
    n = begin
    while n < total:
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        end = min(n + 4, total)
        context = _quad_context(count, n, end, begin, rows, columns)
        symbol = _signs(group, n, end)
        if symbol == 0 or symbol == 15:
            run = _equal_quads(group, n, total, symbol, context)
            if run > 1:
                end = n + 4 * run
                symbol = QUAD_ONES if symbol == 15 else (QUAD_ZEROS if run == 2 else QUAD_ZEROS4)
        word = np.int64(words[QUAD_BASE + context * QUAD_SYMBOLS + symbol])
        pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
        for i in range(n, end):
            count[i] = 0
            if group[i]:
                row, column, width = _locate(i, rows, columns)
                west, north = _active(count, i, begin, row, column, width)
                context = np.int64(west + north >= MASK_LEVEL)
                pos, acc, fill, nonzero = _put_block(q[i], out, pos, acc, fill, words, context)
                count[i] = 1 + nonzero
            if 8 * pos + fill > 8 * limit:
                return n, _pad(out, kept_pos, kept_acc, kept_fill)
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        n = end
    return n, _pad(out, pos, acc, fill)


@njit
def _get_block(data, bit, lookup, context, q):
    """Parse latents 2 to 8 of one block into q; return (bit offset or negative status, non-zero latents)."""
    word = np.int64(lookup[MASK_ROW + context, _peek(data, bit, MAX_LENGTH)])
    if word == 0:
        return BAD_CODE, 0
    bit += word & 15
    mask = word >> 4 & 127
    all_ones = word >> 4 >= 128
    nonzero, ones, coded = 0, 0, 0
    for u in range(UNITS):
        nonzero += mask >> u & 1
    for u in range(UNITS):
        q[u] = 0
        if mask >> u & 1:
            a = 1
            if not all_ones:
                row = SIZE_ROW + _size_context(u, nonzero, ones, coded)
                word = np.int64(lookup[row, _peek(data, bit, MAX_LENGTH)])
                if word == 0:
                    return BAD_CODE, 0
                bit += word & 15
                a = 1 + (word >> 4)
                if a > SIZE_DIRECT:
                    b = a - 1 - SIZE_DIRECT
                    a = 1 + SIZE_DIRECT + ((2 << b) - 2) + _peek(data, bit, b + 1)
                    bit += b + 1
                coded += 1
                ones += a == 1
            q[u] = -a if _peek(data, bit, 1) else a
            bit += 1
    return bit, nonzero


@njit(nogil=True, cache=CACHE)
def parse_rest(data, rows, columns, begin, lookup, count, group, q):
    """Inverse of code_rest: fill `group` and `q`; return the block behind the last one, or a negative status."""
    total = rows * columns
    bits = 8 * len(data)
    bit = 0
    n = begin
    while n < total and not _is_padding(data, bit):
        end = min(n + 4, total)
        context = _quad_context(count, n, end, begin, rows, columns)
        word = np.int64(lookup[QUAD_ROW + context, _peek(data, bit, MAX_LENGTH)])
        if word == 0:
            return BAD_CODE
        bit += word & 15
        symbol = word >> 4
        if symbol >= QUAD_ZEROS:
            end = n + (16 if symbol == QUAD_ZEROS4 else 8)
            if end > total:
                return TOO_MANY_BLOCKS
            symbol = 15 if symbol == QUAD_ONES else 0
        elif symbol & ((1 << (4 - (end - n))) - 1):
            return TOO_MANY_BLOCKS
        for i in range(n, end):
            group[i] = symbol >> (3 - ((i - n) & 3)) & 1
            count[i] = 0
            if group[i]:
                row, column, width = _locate(i, rows, columns)
                west, north = _active(count, i, begin, row, column, width)
                context = np.int64(west + north >= MASK_LEVEL)
                bit, nonzero = _get_block(data, bit, lookup, context, q[i])
                if bit < 0:
                    return bit
                count[i] = 1 + nonzero
            if bit > bits:
                return OVERRUN
        n = end
    if n == total and not _is_padding(data, bit):
        return TOO_MANY_BLOCKS
    return n
