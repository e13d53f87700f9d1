"""The coder of the refinement layers: transform, quantisation and symbols in one pass. FORMAT.md section 11.5.

Blocks are taken BATCH at a time, one a lane: element `i` of block `b` is at `BATCH * i + b`. So their coefficients
never leave the first-level cache, and every loop over them is a vector one. One walk through the symbols codes or
counts them, so the two cannot drift apart. What the parser must share, the contexts, comes from kernels.refine.

Bounds: those of the transform are kernels.transform's. A magnitude is below 2^15 up to 8 bits, below 2^23 else, and a
symbol, even of a run of 63, below 2^13, so infos fit the dtype of the transform. A code word has at most 11 bits, at
most 20 raw ones and a sign are behind two of them, and fewer than 8 pend in `acc`, a uint64. Indices in the walk are
unsigned: positions and runs are below 64, so words are looked up in their set only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import prefetch, trailing_zeros
from onboard.kernels.refine import (
    BAND,
    EMPTY_RUNS,
    LEVEL_OF,
    LEVELS,
    MAX_RUN,
    RUN_BASE,
    RUN_SYMBOLS,
    SIZE_BASE,
    SIZE_DIRECT,
    SIZE_SYMBOLS,
    SKIP,
    at_hand,
    locate,
    significant,
)
from onboard.kernels.transform import BATCH, FORWARD_SHIFT, LANES

SLACK = 520  # bytes a coder may write past its limit: a block's 64 coefficients of two words, 20 raw bits each

_RING = 2 * BATCH  # blocks whose coefficients are at hand
_AHEAD = 1 << EMPTY_RUNS  # blocks of the longest run
_MASKS = 4 * BATCH  # blocks whose masks are at hand: the north one is at most 32 back, BATCH + _AHEAD are ahead
_LOW = (1 << 32) - 1
# A magnitude and a third of a step are below 2^23.1, a step from 2^4 to 2^20: 1 / step to so many bits divides exactly.
_INVERSE_SHIFT = 44
ZONE = 3072  # thresholds are in 1/ZONE sixteenths
_BYTES = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative
# Where the words of a context begin is the sum of one number by its band and one by its level.
_BAND_RUNS, _LEVEL_RUNS = RUN_BASE + BAND * (LEVELS * 2 * RUN_SYMBOLS), LEVEL_OF * (2 * RUN_SYMBOLS)
_BAND_SIZES, _LEVEL_SIZES = SIZE_BASE + BAND * (LEVELS * SIZE_SYMBOLS), LEVEL_OF * SIZE_SYMBOLS


@njit(inline="always")
def _basis(x, at, stride, many):
    """x = BASIS @ x for `many` columns, in place; the rows begin at `at` and are `stride` apart."""
    i = x.dtype.type
    for v in range(at, at + many):
        x0, x1, x2, x3 = x[v], x[v + stride], x[v + 2 * stride], x[v + 3 * stride]
        x7, x6, x5, x4 = x[v + 7 * stride], x[v + 6 * stride], x[v + 5 * stride], x[v + 4 * stride]
        a0, a1, a2, a3 = i(x0 + x7), i(x1 + x6), i(x2 + x5), i(x3 + x4)
        b0, b1, b2, b3 = i(x0 - x7), i(x1 - x6), i(x2 - x5), i(x3 - x4)
        s0, s1, d0, d1 = i(a0 + a3), i(a1 + a2), i(a0 - a3), i(a1 - a2)
        x[v] = i(64) * i(s0 + s1)
        x[v + 4 * stride] = i(64) * i(s0 - s1)
        x[v + 2 * stride] = i(i(83) * d0) + i(i(36) * d1)
        x[v + 6 * stride] = i(i(36) * d0) - i(i(83) * d1)
        x[v + stride] = i(i(i(89) * b0) + i(i(75) * b1)) + i(i(i(50) * b2) + i(i(18) * b3))
        x[v + 3 * stride] = i(i(i(75) * b0) - i(i(18) * b1)) - i(i(i(89) * b2) + i(i(50) * b3))
        x[v + 5 * stride] = i(i(i(50) * b0) - i(i(89) * b1)) + i(i(i(18) * b2) + i(i(75) * b3))
        x[v + 7 * stride] = i(i(i(18) * b0) - i(i(50) * b1)) + i(i(i(75) * b2) - i(i(89) * b3))


@njit(inline="always")
def _unzip(x, t):
    """t = every other element of x, then the others. Three times, with rows of samples, that makes lanes of them."""
    for v in range(32 * BATCH):
        t[v], t[v + 32 * BATCH] = x[2 * v], x[2 * v + 1]


@njit
def _transform(plane, reference, blocks, columns, n, many, x, t):
    """Coefficients of blocks n .. n + many - 1 before their last shift, in lanes: those of LANES in x."""
    height, width = plane.shape
    kind = x.dtype.type
    b = 0
    while b < many:
        block = np.int64(blocks[n + b])
        top, left = 8 * (block // columns), 8 * (block % columns)
        run = 1  # blocks side by side are loaded together
        most = min(many - b, (width - left) // 8)
        while run < most and blocks[n + b + run] == block + run:
            run += 1
        at = 8 * b & (8 * BATCH - 1)
        if top + 8 <= height and most > 0:
            for i in range(8):
                y, z = (top + i) & _BYTES, left & _BYTES
                for v in range(8 * run):
                    t[8 * BATCH * i + at + v] = kind(plane[y, z + v]) - kind(reference[y, z + v])
        else:
            run = 1
            for i in range(8):
                y = min(top + i, height - 1)
                for j in range(8):
                    z = min(left + j, width - 1)
                    t[8 * BATCH * i + at + j] = kind(plane[y, z]) - kind(reference[y, z])
        b += run
    if n + 2 * BATCH <= len(blocks):  # most batches are narrow: the memory would be waited for at each of their rows
        block = np.int64(blocks[n + BATCH])
        top, left = 8 * (block // columns), 8 * (block % columns)
        if top + 8 <= height and left + 8 * BATCH <= width:
            for i in range(8):
                for v in range(0, 8 * BATCH, 64):
                    prefetch(plane, top + i, left + v)
                    prefetch(reference, top + i, left + v)
    _unzip(t, x)
    _unzip(x, t)
    _unzip(t, x)
    for j in range(8):
        _basis(x, 8 * BATCH * j, BATCH, BATCH)
    _basis(x, 0, 8 * BATCH, 8 * BATCH)


@kernel
def forward(plane, reference, blocks, columns, work, out):
    """Coefficients of `plane - reference` for some blocks.

    Args:
        plane, reference: uint8 or uint16 (height, width); behind the edges the last row and column repeat.
        blocks: int32 (n,) raster indices in the block grid.
        columns: of the grid.
        work: empty, of the dtype to compute with: int32 up to 8 bits a sample, else int64.
        out: int16 or int32 (n, 64), scan order.
    """
    x, t = np.empty(64 * BATCH, work.dtype), np.zeros(64 * BATCH, work.dtype)
    half = 1 << (FORWARD_SHIFT - 1)
    for n in range(0, len(blocks), BATCH):
        many = min(BATCH, len(blocks) - n)
        _transform(plane, reference, blocks, columns, n, many, x, t)
        for s in range(64):
            for b in range(many):
                out[n + b, s] = (x[LANES[s] + b] + half) >> FORWARD_SHIFT


@njit
def _select(x, many, step, zone, lanes, infos, masks):
    """Which coefficients of the first `many` blocks in `x` are kept, and what coding needs of each, in scan order.

    An info is `magnitude << 16 | symbol << 3 | larger << 2 | more << 1 | negative`: `larger` for what is quantised to
    more than 1, `more` to more than 2, and the RUN symbol, were the context's level 0 and a run of any length.
    """
    kind = x.dtype.type
    half, shift = kind(1 << (FORWARD_SHIFT - 1)), kind(FORWARD_SHIFT)
    two, three = kind(2 * step - step // 3), kind(3 * step - step // 3)
    top = np.int64(1) << np.int64(8 * x.itemsize - 2)  # more than any coefficient has
    first, rise, last = kind(min(zone[0], top)), kind(min(zone[1], top)), kind(min(zone[2], top))
    for b in range(BATCH):
        lanes[b], lanes[BATCH + b] = kind(_BAND_RUNS[0] + 1), first
        lanes[2 * BATCH + b] = lanes[3 * BATCH + b] = kind(0)
    for s in range(64):
        bit, word, at = kind(1) << kind(s & 31), (2 + (s >> 5)) * BATCH, LANES[s] & (64 * BATCH - 1)
        behind = kind(_BAND_RUNS[s + 1] + 1)
        for b in range(BATCH):
            c = kind(x[at + b] + half) >> shift
            a = abs(kind(c))
            larger, more = kind(a >= two), kind(a >= three)
            symbol, limit = lanes[b], lanes[BATCH + b]
            low = kind(larger << kind(2)) | kind(more << kind(1)) | kind(c < kind(0))
            infos[BATCH * s + b] = kind(a << kind(16)) | kind(kind(symbol + larger + more) << kind(3)) | low
            kept = kind(kind(a + kind(1)) * kind(ZONE)) > limit
            lanes[b] = kind(behind + larger * kind(RUN_SYMBOLS)) if kept else kind(symbol + kind(3))
            lanes[BATCH + b] = first if kept else min(kind(limit + rise), last)
            lanes[word + b] |= bit if kept else kind(0)
    for b in range(many):
        low, high = np.uint64(lanes[2 * BATCH + b]) & np.uint64(_LOW), np.uint64(lanes[3 * BATCH + b]) & np.uint64(_LOW)
        masks[b] = high << np.uint64(32) | low


@njit(inline="always")
def _size_symbol(q):
    """(symbol, raw bits, how many) of a magnitude from 3 on."""
    excess = q - 3
    if excess < SIZE_DIRECT:
        return excess, np.int64(0), np.int64(0)
    excess -= SIZE_DIRECT
    b = np.int64(0)
    while excess >= (4 << b) - 2:
        b += 1
    return SIZE_DIRECT + b, excess - ((2 << b) - 2), b + 1


@njit(inline="always")
def _empty_run(n, end, masks):
    """How many blocks from the empty block `n` on, counted from the first, one symbol can take: log2, 0 to 4."""
    run = 1
    while run < _AHEAD and n + run < end and masks[(n + run) & (_MASKS - 1)] == 0:
        run += 1
    log2 = 0
    while 2 << log2 <= run:
        log2 += 1
    return log2


@njit(inline="always")
def _say(symbol, bits, many, state, words, out, counts, counting):
    """Code, or count, a symbol with `many` raw bits behind it; `state` is (bytes or raw bits, acc, fill)."""
    pos, acc, fill = state
    if counting:
        counts[np.uint64(symbol)] += 1
        return pos + many, acc, fill
    word = np.int64(words[np.uint64(symbol)])
    length = (word & 15) + many
    acc = acc << np.uint64(length) | np.uint64((word >> 4) << many | bits)
    fill += length
    whole, at = acc << np.uint64(64 - fill), np.uint64(pos)
    for j in range(8):
        out[at + np.uint64(j)] = np.uint8(whole >> np.uint64(56 - 8 * j))
    return pos + (fill >> 3), acc, fill & 7


@njit(inline="always")
def _walk(
    plane, reference, blocks, span, work, step, zone, keep, rows, columns, begin, end,
    words, out, limit, counts, counting,
):  # fmt: skip
    """Code blocks `begin` to `end` of a section until `limit` bytes are full, or count their symbols.

    Returns:
        (block behind the last one, bytes or raw bits, squared error of the coefficients in 1/256 when counting).
    """
    x, t = np.empty(64 * BATCH, work.dtype), np.zeros(64 * BATCH, work.dtype)
    infos, lanes = np.empty(64 * _RING, work.dtype), np.empty(4 * BATCH, work.dtype)
    masks = np.zeros(_MASKS, np.uint64)  # of the coefficients that are kept
    third, inverse = np.int64(step // 3), np.uint64((1 << _INVERSE_SHIFT) // step + 1)
    state = (0, np.uint64(0), 0)  # `fill` bits, fewer than 8, pend at the lower end of `acc`
    error = 0.0
    ready = n = begin
    row, column, width = locate(begin, rows, columns)
    while n < end:
        while ready < min(n + _AHEAD, end):
            many = min(BATCH, end - ready)
            _transform(plane, reference, blocks, span, ready, many, x, t)
            half, place = 64 * ((ready - begin) & (_RING - 1)), (ready - begin) & (_MASKS - 1)
            _select(x, many, step, zone, lanes, infos[half : half + 64 * BATCH], masks[place : place + BATCH])
            if counting:
                energy = np.int64(0)  # 2048 squares below 2^46
                for i in range(half, half + 64 * BATCH, BATCH):
                    for b in range(many):
                        a = np.int64(infos[i + b]) >> 16
                        energy += a * a
                error += np.float64(energy)
            else:
                for b in range(many):
                    if keep[ready + b] < 64:
                        masks[place + b] &= np.uint64((np.int64(1) << np.int64(keep[ready + b])) - 1)
            ready += many
        before = state
        lane = n - begin
        at = 64 * (lane & BATCH) + (lane & (BATCH - 1))
        has_west, has_north = at_hand(n, begin, row, column, width)
        west = masks[(lane - 1) & (_MASKS - 1)] if has_west else np.uint64(0)
        north = masks[(lane - width) & (_MASKS - 1)] if has_north else np.uint64(0)
        hands = np.int64(has_west) + np.int64(has_north)
        position, saved, info = 0, 0, np.int64(0)
        mask = masks[lane & (_MASKS - 1)]
        left = mask
        while left != 0:
            p = trailing_zeros(left)
            left &= np.uint64(left - np.uint64(1))
            larger = RUN_SYMBOLS * (info >> 2 & 1)
            info = np.int64(infos[np.uint64(at + BATCH * p)])
            symbol = info >> 3 & 8191
            if p - position > MAX_RUN:
                while p - position > MAX_RUN:
                    around_it = significant(west, north, hands, np.uint64(position))
                    symbol = np.int64(_BAND_RUNS[np.uint64(position)]) + np.int64(_LEVEL_RUNS[around_it]) + larger
                    state = _say(symbol + SKIP, 0, 0, state, words, out, counts, counting)
                    position += MAX_RUN + 1
                symbol = np.int64(_BAND_RUNS[np.uint64(position)]) + larger
                symbol += 3 * (p - position) + 1 + (info >> 2 & 1) + (info >> 1 & 1)
            around_it = significant(west, north, hands, np.uint64(position))
            symbol += np.int64(_LEVEL_RUNS[around_it])
            bits, many = info & 1, 1
            q = 1 + (info >> 2 & 1)
            if info & 2 != 0:
                q = np.int64(np.uint64((info >> 16) + third) * inverse >> np.uint64(_INVERSE_SHIFT))
                value, raw, length = _size_symbol(q)
                value += np.int64(_BAND_SIZES[p]) + np.int64(_LEVEL_SIZES[around_it])
                bits, many = raw << 1 | bits, length + 1
                if counting:
                    counts[np.uint64(value)] += 1
                else:  # both words are written together
                    word = np.int64(words[np.uint64(value)])
                    bits, many = (word >> 4) << many | bits, (word & 15) + many
            state = _say(symbol, bits, many, state, words, out, counts, counting)
            if counting:
                a = info >> 16
                saved += a * a - (a - q * step) * (a - q * step)
            position = p + 1
        run = 1
        if position < 64:
            around_it = significant(west, north, hands, np.uint64(position))
            symbol = np.int64(_BAND_RUNS[np.uint64(position)]) + np.int64(_LEVEL_RUNS[around_it])
            symbol += RUN_SYMBOLS * (info >> 2 & 1)
            if mask == 0 and LEVEL_OF[around_it] == 0:
                log2 = _empty_run(lane, end - begin, masks)
                if log2 > 0:
                    symbol += SKIP + log2
                    run = 1 << log2
            state = _say(symbol, 0, 0, state, words, out, counts, counting)
        error -= np.float64(saved)
        if not counting and 8 * state[0] + state[2] > 8 * limit:
            state = before
            break
        n += run
        column += run
        if column >= width:
            row, column, width = locate(min(n, rows * columns - 1), rows, columns)
    pos, acc, fill = state
    if fill > 0:
        out[pos] = np.uint8((np.int64(acc & np.uint64(127)) << (8 - fill) | 255 >> fill) & 255)
        pos += 1
    return n, pos, error


@kernel
def code_refinement(
    plane, reference, blocks, span, work, step, zone, keep, rows, columns, begin, end, words, out, limit
):  # fmt: skip
    """Transform, quantise and code blocks `begin` to `end` of the grid until `limit` bytes are full.

    Args:
        plane, reference, work: as in forward.
        blocks: int32 (rows * columns,) raster indices of the section's grid in a block grid of `span` columns.
        step: in sixteenths.
        zone: int64 (3,) first, rise, last: a coefficient is kept from min(first + rise * zeros before it, last) on, in
            1/ZONE sixteenths and rounded down: the longer the run, the dearer. All are below 5/3 steps.
        keep: uint8 (rows * columns,) coefficients of each block that may be sent, 64 for all.
        rows, columns: the section's grid.
        words: uint16 (SET_SYMBOLS,) table set.
        out: uint8 (>= limit + SLACK,).

    Returns:
        (block behind the last one coded, bytes used).
    """
    counts = np.empty(0, np.int64)
    done, used, _ = _walk(
        plane, reference, blocks, span, work, step, zone, keep, rows, columns, begin, end,
        words, out, limit, counts, False,
    )  # fmt: skip
    return done, used


@kernel
def count_refinement(plane, reference, blocks, span, work, step, zone, rows, columns, piece, stride, counts, tally):
    """Count the symbols of every `stride`-th piece of `piece` blocks as sections would hold them.

    Args:
        plane ... columns: as in code_refinement.
        counts: int64 (parts, SET_SYMBOLS), added to; part `i` is for pieces that begin in the i-th part of the grid.
        tally: int64 (parts, 2), added to: raw bits, blocks counted.

    Returns:
        squared error of the coefficients in 1/256.
    """
    nothing, words = np.empty(0, np.uint8), np.empty(0, np.uint16)
    error = 0.0
    for begin in range(0, rows * columns, piece * stride):
        end = min(begin + piece, rows * columns)
        part = begin * len(counts) // (rows * columns)
        _, raw, wrong = _walk(
            plane, reference, blocks, span, work, step, zone, nothing, rows, columns, begin, end,
            words, nothing, 0, counts[part], True,
        )  # fmt: skip
        tally[part, 0] += raw
        tally[part, 1] += end - begin
        error += wrong
    return error
