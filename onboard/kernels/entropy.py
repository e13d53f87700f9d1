"""Entropy coding of the two base layers: symbols, contexts, static canonical Huffman codes. FORMAT.md section 5.

All arrays are in phase order (FORMAT.md section 3). A table set is one flat uint16 array of words
`code << 4 | length`; `*_BASE` say where each kind of symbol begins in it.

Coder and parser share the context functions, which are the definition. Most blocks lie inside a stripe with all their
neighbours in the section; for those the loops below state the same rule again in a form that is faster.

The busiest loops neither slice arrays nor hand them to functions: numba would count references there, with atomic
instructions. Bounds: a code word has at most 12 bits and raw bits at most 10 plus a sign, so an item of at most 31 bits
joins fewer than 32 pending ones in `acc`, an int64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

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
SLACK = 192  # bytes a coder may write past its limit before it steps back: a run of eight blocks has at most 1340 bits

BAD_CODE = -1
OVERRUN = -2
OUT_OF_RANGE = -3
TOO_MANY_BLOCKS = -4

_STRIPE = 32
_MAGNITUDE_CAP = 31
_BATCH = 8 * _STRIPE  # blocks whose first latents are predicted together
_RING = 128  # blocks that code_rest has looked at and not coded yet, at most; a power of two
_AHEAD = 16  # blocks of the longest run of quads
_BYTES = (1 << 40) - 1  # masks a byte offset, which tells the compiler that it is not negative

# Number of levels not above a total; totals beyond the table count like its last.
_FIRST_LEVEL = np.searchsorted(FIRST_LEVELS, np.arange(FIRST_LEVELS[-1] + 1), side="right")
_QUAD_LEVEL = np.searchsorted(QUAD_LEVELS, np.arange(QUAD_LEVELS[-1] + 1), side="right")


@njit
def _pad(out, pos, acc, fill):
    """Write the pending bits and fill the last byte with ones; return the byte count."""
    while fill > 0:
        missing = max(8 - fill, 0)
        out[pos] = ((acc << missing | ((1 << missing) - 1)) >> max(fill - 8, 0)) & 255
        pos += 1
        fill -= 8
    return pos


@njit
def _window(data, byte):
    """64 bits from byte offset `byte`, as int64; ones beyond the end."""
    window = np.int64(0)
    if byte + 8 <= len(data):
        byte &= _BYTES
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


@njit
def _locate(n, rows, columns):
    """Block `n` of the phase order -> row, column within its stripe, width of that stripe."""
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    return inside // width, inside % width, width


@njit
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
    return prediction, _FIRST_LEVEL[min(total, len(_FIRST_LEVEL) - 1)]


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


@njit
def _foretell(q, size, start, stop, width, residual, context):
    """_first_context, residual and size of the blocks of whole rows of a stripe, `start` to `stop` - 1.

    The row above the first of them, and the block before that, are in the section: only the blocks at both ends of a
    row lack neighbours. They are treated like the others first and put right after.
    """
    many = stop - start
    here, sizes, north, west = q[start:stop], size[start:stop], q[start - width :], q[start - 1 :]
    north_west, north_east = q[start - width - 1 :], q[start - width + 1 :]
    for x in range(many):
        w, n, nw = np.int32(west[x]), np.int32(north[x]), np.int32(north_west[x])
        r = np.int32(here[x] - max(min(w, n), min(max(w, n), np.int32(w + n - nw))))
        residual[x] = r
        sizes[x] = min(abs(r), np.int32(_MAGNITUDE_CAP))
    for x in range(0, many, width):
        residual[x] = here[x] - north[x]
        sizes[x] = min(abs(residual[x]), _MAGNITUDE_CAP)
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
        context[x] = _FIRST_LEVEL[min(total, len(_FIRST_LEVEL) - 1)]
    for x in range(width - 1, many, width):
        n, nw = np.int64(north[x]), np.int64(north_west[x])
        total = 6 * (abs(west[x] - nw) + abs(n - nw) + size_west[x] + size_north[x]) // 4
        context[x] = _FIRST_LEVEL[min(total, len(_FIRST_LEVEL) - 1)]


@njit
def _find_symbols(residual, context, width, many, symbols, runs):
    """Symbol, not yet that of a large residual, and number of blocks it takes (as _zero_run), for whole rows."""
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
    symbols, runs = np.empty(_BATCH, np.int32), np.empty(_BATCH, np.int32)
    free = 8 * limit  # bits
    row, column, width = _locate(begin, rows, columns)
    n = begin
    while n < total:
        start = n - column
        if row > 0 and width > 1 and start - width > begin:
            many = min(_BATCH // width, rows - row)
            stop = start + many * width
            _foretell(q, size, start, stop, width, residual, context)
        else:
            many = 1
            stop = start + width
            for x in range(column, width):
                prediction, context[x] = _first_context(q, size, start + x, begin, row, x, width)
                residual[x] = q[start + x] - prediction
                size[start + x] = min(abs(residual[x]), _MAGNITUDE_CAP)
        _find_symbols(residual, context, width, stop - start, symbols, runs)
        x = column
        while x < stop - start:
            r, symbol = np.int64(residual[x]), np.int64(symbols[x])
            if abs(r) <= FIRST_DIRECT:
                word = np.int64(words[FIRST_BASE + symbol])
                value, length = word >> 4, word & 15
            else:
                excess = abs(r) - FIRST_DIRECT - 1
                b = _bucket(excess)
                word = np.int64(words[FIRST_BASE + symbol - r + FIRST_DIRECT + 1 + b])
                value = (word >> 4) << (b + 2) | (excess - ((2 << b) - 2)) << 1 | (r < 0)
                length = (word & 15) + b + 2
            free -= length
            if free < 0:
                return start + x, _pad(out, pos, acc, fill)
            acc, fill = acc << length | value, fill + length
            if fill >= 32:
                fill -= 32
                at = pos & _BYTES
                out[at], out[at + 1] = (acc >> (fill + 24)) & 255, (acc >> (fill + 16)) & 255
                out[at + 2], out[at + 3] = (acc >> (fill + 8)) & 255, (acc >> fill) & 255
                pos += 4
                acc &= (1 << fill) - 1
            x += runs[x]
        n = stop
        column = 0
        row += many
        if row == rows and n < total:
            row, column, width = _locate(n, rows, columns)
    return n, _pad(out, pos, acc, fill)


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
    row, column, width = _locate(begin, rows, columns)
    n = begin
    zeros = 0  # blocks of a run that are still to come: their residual is zero
    value, magnitude = np.int64(0), np.int64(0)  # of the block before
    while n < total:
        if row > 0 and 0 < column < width - 1 and n - width > begin:
            # _first_context with all neighbours in the section
            at = n - width
            north, north_west, north_east = np.int64(q[at]), np.int64(q[at - 1]), np.int64(q[at + 1])
            activity = magnitude + size[at] + size[at + 1]
            activity += abs(north - north_east) + abs(value - north_west) + abs(north - north_west)
            context = _FIRST_LEVEL[min(activity, len(_FIRST_LEVEL) - 1)]
            prediction = max(min(value, north), min(max(value, north), value + north - north_west))
        else:
            prediction, context = _first_context(q, size, n, begin, row, column, width)
        r = np.int64(0)
        if zeros > 0:
            zeros -= 1
        else:
            if bits - bit < 8 and _is_padding(data, bit):
                return n
            if bit - base > 32:
                base = bit & ~7
                if base + 64 <= bits:
                    byte, window = (base >> 3) & _BYTES, np.int64(0)
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
        value, magnitude = prediction + r, min(abs(r), _MAGNITUDE_CAP)
        if abs(value) > MAX_FIRST:
            return OUT_OF_RANGE
        q[n], size[n] = value, magnitude
        n += 1
        column += 1
        if column == width:
            column = 0
            row += 1
            if row == rows and n < total:
                row, column, width = _locate(n, rows, columns)
    return n if _is_padding(data, bit) else TOO_MANY_BLOCKS


@njit
def _active(count, n, begin, row, column, width):
    """Activity of the west and the north neighbour of block `n`: 0 outside the section, else 0 for group 1 and
    1 + number of non-zero latents for group 2."""
    west = np.int64(count[n - 1]) if column > 0 and n - 1 >= begin else 0
    north = np.int64(count[n - width]) if row > 0 and n - width >= begin else 0
    return west, north


@njit
def _quad_context(count, n, end, begin, rows, columns):
    """Context of the sign bits of blocks n .. end - 1 (at most four). Blocks of the quad itself are not known yet."""
    row, column, width = _locate(n, rows, columns)
    west, activity = _active(count, n, begin, row, column, width)
    for i in range(n + 1, end):
        row, column, width = _locate(i, rows, columns)
        if row > 0 and begin <= i - width < n:  # in a stripe of 1 to 3 blocks the north may lie in this very quad
            activity += np.int64(count[i - width])
    return _quad_level(west, activity)


@njit
def _quad_level(west, north):
    """Context of sign bits from the activities of the block before and of those above."""
    return 2 * _QUAD_LEVEL[min(2 * west + north, len(_QUAD_LEVEL) - 1)] + (west > 0)


@njit
def _mask_context(count, n, begin, rows, columns):
    """Context of the mask of block `n`."""
    row, column, width = _locate(n, rows, columns)
    west, north = _active(count, n, begin, row, column, width)
    return np.int64(west + north >= MASK_LEVEL)


@njit
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


@njit
def _size_context(unit, nonzero, ones, coded):
    """Context of a latent's size: `coded` sizes of the block's `nonzero` came before, `ones` of them were 1."""
    if ones == nonzero - 1 and coded == ones:
        return SIZE_FORCED
    return 4 * (unit > 1) + min(nonzero, 6) // 2


@njit
def _size_context(unit, nonzero, ones, coded):
    """Context of a latent's size: `coded` sizes of the block's `nonzero` came before, `ones` of them were 1."""
    if ones == nonzero - 1 and coded == ones:
        return SIZE_FORCED
    return 4 * (unit > 1) + min(nonzero, 6) // 2


@njit
def _summarise(group, q, begin, end, symbol, signs, nonzero, large, count):
    """Symbols of kind MASK, sign bits and number of non-zero latents, activities of blocks begin .. end - 1."""
    many = end - begin
    for b in range(many):
        symbol[b], signs[b], nonzero[b], large[b] = 0, 0, 0, 0
    for u in range(UNITS):
        values = q[begin:end, u]
        for b in range(many):
            v = values[b]
            coded = np.int16(v != 0)
            symbol[b] = np.int16(symbol[b] | np.int16(coded << u))
            signs[b] = np.int16(signs[b] + (signs[b] if v != 0 else 0) + np.int16(v < 0))
            nonzero[b] = np.int16(nonzero[b] + coded)
            large[b] = np.int16(large[b] | np.int16(abs(v) > 1))
    members, counts = group[begin:end], count[begin:end]
    for b in range(many):
        symbol[b] = np.int16(symbol[b] | np.int16(128 * (large[b] < np.int16(nonzero[b] > 0))))
        counts[b] = np.int16(1 + nonzero[b]) * np.int16(members[b])


@njit
def _put_sizes(q, i, out, pos, acc, fill, words, nonzero):
    """Sizes and signs of latents 2 to 8 of block `i`, of which `nonzero` are not zero and not all of size 1."""
    ones, coded = 0, 0
    for u in range(UNITS):
        v = np.int64(q[i, u])
        if v != 0:
            at = SIZE_BASE + _size_context(u, nonzero, ones, coded) * SIZE_SYMBOLS
            coded += 1
            ones += abs(v) == 1
            excess = abs(v) - 1
            if excess >= SIZE_DIRECT:
                excess -= SIZE_DIRECT
                b = _bucket(excess)
                word = np.int64(words[at + SIZE_DIRECT + b])
                value, length = (word >> 4) << (b + 1) | (excess - ((2 << b) - 2)), (word & 15) + b + 1
            else:
                word = np.int64(words[at + excess])
                value, length = word >> 4, word & 15
            acc, fill = acc << (length + 1) | value << 1 | (v < 0), fill + length + 1
            if fill >= 32:
                fill -= 32
                at = pos & _BYTES
                out[at], out[at + 1] = (acc >> (fill + 24)) & 255, (acc >> (fill + 16)) & 255
                out[at + 2], out[at + 3] = (acc >> (fill + 8)) & 255, (acc >> fill) & 255
                pos += 4
                acc &= (1 << fill) - 1
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
    large = np.empty(_RING // 2, np.int16)
    ready = begin  # block behind the last one that is in them
    row, column, width = _locate(begin, rows, columns)
    n = begin
    while n < total:
        while ready < min(n + _AHEAD, total):
            end = min(ready + _RING // 2, total)
            at = (ready - begin) % _RING
            _summarise(group, q, ready, end, masks[at:], signs[at:], nonzero[at:], large, count)
            ready = end
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        end = min(n + 4, total)
        known = row > 0 and n - width >= begin
        if known and column + 4 <= width:
            west = np.int64(count[n - 1]) if column > 0 else 0
            at = n - width
            context = _quad_level(west, np.int64(count[at]) + count[at + 1] + count[at + 2] + count[at + 3])
            symbol = np.int64(group[n]) << 3 | group[n + 1] << 2 | group[n + 2] << 1 | group[n + 3]
        else:
            context = _quad_context(count, n, end, begin, rows, columns)
            symbol = _signs(group, n, end)
        many = end - n if symbol else 1
        if symbol == 0 or symbol == 15:
            run = _equal_quads(group, n, total, symbol, context)
            if run > 1:
                end = n + 4 * run
                many = 8 if symbol else 1
                symbol = QUAD_ONES if symbol == 15 else (QUAD_ZEROS if run == 2 else QUAD_ZEROS4)
        word = np.int64(words[QUAD_BASE + context * QUAD_SYMBOLS + symbol])
        value, length = word >> 4, word & 15
        known &= column + many <= width
        for i in range(n, n + many):
            at = (i - begin) % _RING
            mask, coded, member = np.int64(masks[at]), np.int64(nonzero[at]), np.int64(group[i])
            if known:
                around = np.int64(count[i - width]) + (np.int64(count[i - 1]) if column + i > n else 0)
                context = np.int64(around >= MASK_LEVEL)
            else:
                context = _mask_context(count, i, begin, rows, columns)
            # A block of group 1 adds no bits; a branch on that would often be foretold wrong.
            word = np.int64(words[MASK_BASE + context * MASK_SYMBOLS + mask]) & -member
            with_sizes = 0 < mask * member < 128
            more = 0 if with_sizes else coded & -member
            value = (value << (word & 15) | word >> 4) << more | (np.int64(signs[at]) if more else 0)
            length += (word & 15) + more
            acc, fill = acc << length | value, fill + length
            value, length = 0, 0
            if fill >= 32:
                fill -= 32
                at = pos & _BYTES
                out[at], out[at + 1] = (acc >> (fill + 24)) & 255, (acc >> (fill + 16)) & 255
                out[at + 2], out[at + 3] = (acc >> (fill + 8)) & 255, (acc >> fill) & 255
                pos += 4
                acc &= (1 << fill) - 1
            if with_sizes:
                pos, acc, fill = _put_sizes(q, i, out, pos, acc, fill, words, coded)
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        column += end - n
        n = end
        if column >= width and n < total:
            row, column, width = _locate(n, rows, columns)
    return n, _pad(out, pos, acc, fill)


@njit
def _get_sizes(data, bit, lookup, mask, nonzero, q, i):
    """Parse sizes and signs of latents 2 to 8 of block `i` into q; return bit offset or negative status."""
    ones, coded = 0, 0
    for u in range(UNITS):
        q[i, u] = 0
        if mask >> u & 1:
            window, at = _window(data, bit >> 3), bit & 7
            row = SIZE_ROW + _size_context(u, nonzero, ones, coded)
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
    row, column, width = _locate(begin, rows, columns)
    n = begin
    left, pattern = 0, 0  # blocks to come of the quad or run that was read last, and their sign bits
    known = False
    while n < total:
        if bit - base > 32:
            base = bit & ~7
            if base + 64 <= bits:
                byte, window = (base >> 3) & _BYTES, np.int64(0)
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
                context = _quad_level(west, np.int64(count[at]) + count[at + 1] + count[at + 2] + count[at + 3])
            else:
                context = _quad_context(count, n, n + left, begin, rows, columns)
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
                context = _mask_context(count, n, begin, rows, columns)
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
                row, column, width = _locate(n, rows, columns)
    return n if _is_padding(data, bit) else TOO_MANY_BLOCKS
