"""The coder of the refinement layers: transform, quantisation and symbols in one pass. FORMAT.md section 11.5.

Blocks are taken 32 at a time: their coefficients never leave the first-level cache, and every loop over them is a
vector one. What the parser must share, the contexts, comes from kernels.refine.

Bounds: those of the transform are kernels.transform's. Two code words have at most 22 bits and 20 raw bits behind them,
so an item of at most 42 bits joins fewer than 8 pending ones in `acc`, a uint64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import prefetch, trailing_zeros
from onboard.kernels.refine import (
    BAND,
    EMPTY_RUNS,
    LEVELS,
    MAX_RUN,
    RUN_BASE,
    RUN_SYMBOLS,
    SIZE_BASE,
    SIZE_DIRECT,
    SIZE_SYMBOLS,
    SKIP,
    around,
    level_at,
    locate,
)
from onboard.kernels.transform import FORWARD_SHIFT, SCAN

SLACK = 520  # bytes a coder may write past its limit: a block's 64 coefficients of two words, 20 raw bits each

_BATCH = 32  # blocks that are transformed together
_RING = 2 * _BATCH  # blocks whose coefficients are at hand
_AHEAD = 1 << EMPTY_RUNS  # blocks of the longest run
_BYTES = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative
_COLUMN_MAJOR = np.array([8 * (s & 7) + (s >> 3) for s in SCAN], np.int64)  # scan position -> row of a batch
_BAND_ENTRY = RUN_BASE + BAND * (LEVELS * 2 * RUN_SYMBOLS)
_BAND_SIZES = SIZE_BASE + BAND * (LEVELS * SIZE_SYMBOLS)
_BATCH_ROW = _BATCH * _COLUMN_MAJOR
_WORDS = (1 << 14) - 1  # masks an index of a word, likewise
_SCAN_OF = np.array([np.flatnonzero(i == _COLUMN_MAJOR)[0] for i in range(64)], np.uint64)


@njit(inline="always")
def _basis(x, t):
    """t = BASIS @ x, by the symmetries of the basis: a vector loop over all columns of a batch."""
    i = x.dtype.type
    for v in range(8 * _BATCH):
        a0, b0 = i(x[0, v] + x[7, v]), i(x[0, v] - x[7, v])
        a1, b1 = i(x[1, v] + x[6, v]), i(x[1, v] - x[6, v])
        a2, b2 = i(x[2, v] + x[5, v]), i(x[2, v] - x[5, v])
        a3, b3 = i(x[3, v] + x[4, v]), i(x[3, v] - x[4, v])
        s0, s1, d0, d1 = i(a0 + a3), i(a1 + a2), i(a0 - a3), i(a1 - a2)
        t[0, v] = i(64) * i(s0 + s1)
        t[4, v] = i(64) * i(s0 - s1)
        t[2, v] = i(i(83) * d0) + i(i(36) * d1)
        t[6, v] = i(i(36) * d0) - i(i(83) * d1)
        t[1, v] = i(i(i(89) * b0) + i(i(75) * b1)) + i(i(i(50) * b2) + i(i(18) * b3))
        t[3, v] = i(i(i(75) * b0) - i(i(18) * b1)) - i(i(i(89) * b2) + i(i(50) * b3))
        t[5, v] = i(i(i(50) * b0) - i(i(89) * b1)) + i(i(i(18) * b2) + i(i(75) * b3))
        t[7, v] = i(i(i(18) * b0) - i(i(50) * b1)) + i(i(i(75) * b2) - i(i(89) * b3))


@njit(inline="always")
def _transform(plane, reference, blocks, columns, n, many, x, t):
    """Coefficients of blocks n .. n + many - 1, before their last shift: t[column, 32 * row + block]."""
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
        at = 8 * b
        if top + 8 <= height and most > 0:
            for i in range(8):
                y, z = (top + i) & _BYTES, left & _BYTES
                for v in range(8 * run):
                    x[i, at + v] = kind(plane[y, z + v]) - kind(reference[y, z + v])
        else:
            run = 1
            for i in range(8):
                y = min(top + i, height - 1)
                for j in range(8):
                    z = min(left + j, width - 1)
                    x[i, at + j] = kind(plane[y, z]) - kind(reference[y, z])
        b += run
    if n + 2 * _BATCH <= len(blocks):  # most batches are narrow: the memory would be waited for at each of their rows
        block = np.int64(blocks[n + _BATCH])
        top, left = 8 * (block // columns), 8 * (block % columns)
        if top + 8 <= height and left + 8 * _BATCH <= width:
            for i in range(8):
                for v in range(0, 8 * _BATCH, 64):
                    prefetch(plane, top + i, left + v)
                    prefetch(reference, top + i, left + v)
    _basis(x, t)
    for k in range(8):
        for b in range(_BATCH):
            for j in range(8):
                x[j, _BATCH * k + b] = t[k, 8 * b + j]
    _basis(x, t)


@kernel
def forward(plane, reference, blocks, columns, work, out):
    """Coefficients of `plane - reference` for some blocks.

    Args:
        plane, reference: uint8 or uint16 (height, width); behind the edges the last row and column repeat.
        blocks: int32 (n,) raster indices in the block grid.
        columns: of the grid.
        work: (2, 8, 256) scratch, int32 up to 8 bits a sample, else int64.
        out: int16 or int32 (n, 64), scan order.
    """
    x, t = np.zeros((8, 8 * _BATCH), work.dtype), np.empty((8, 8 * _BATCH), work.dtype)
    half = 1 << (FORWARD_SHIFT - 1)
    for n in range(0, len(blocks), _BATCH):
        many = min(_BATCH, len(blocks) - n)
        _transform(plane, reference, blocks, columns, n, many, x, t)
        for s in range(64):
            column, row = _COLUMN_MAJOR[s] >> 3, _COLUMN_MAJOR[s] & 7
            for b in range(many):
                out[n + b, s] = (t[column, _BATCH * row + b] + half) >> FORWARD_SHIFT


@njit(inline="always")
def _prepare(x, t, many, slot, least, surely, coefficients, candidate, live):
    """Round the coefficients of a batch and tell which may become something else than 0, and which blocks are empty.

    A coefficient below `least` becomes 0. The first other one of a block decides whether it is empty: it stays 0
    unless it reaches surely[p], for nothing but zeros come before it.
    """
    kind = x.dtype.type
    half, shift = kind(1 << (FORWARD_SHIFT - 1)), kind(FORWARD_SHIFT)
    at = _BATCH * slot
    for m in range(8):
        for v in range(8 * _BATCH):
            coefficients[slot, 8 * _BATCH * m + v] = kind(t[m, v] + half) >> shift
    some = np.zeros(_BATCH, np.uint64)
    found = np.zeros(_BATCH, np.uint64)
    for i in range(64):
        bit, enough = np.uint64(1) << _SCAN_OF[i], surely[_SCAN_OF[i]]
        for b in range(_BATCH):
            a = abs(kind(coefficients[slot, _BATCH * i + b]))
            some[b] |= bit if a >= least else np.uint64(0)
            found[b] |= bit if a >= enough else np.uint64(0)
    for b in range(many):
        candidate[at + b], live[at + b] = some[b], found[b]


@njit(inline="always")
def _quantise(a, step, reciprocal):
    """(a + step // 3) // step, exactly: a below 2^23, a step of 16 to 1004120 and its reciprocal ceil(2^43 / step).

    With n = a + step // 3, the product stays below 2^63, for n * 2^43 / 16 does. It is above n * 2^43 / step by less
    than n, and n * step is below 2^43 for n < 2^23 + 2^18.4 and a step < 2^19.94: too little for the next magnitude.
    """
    return ((a + step // 3) * reciprocal) >> 43


@njit(inline="always")
def _entry(position, level, larger):
    """Where the words of a RUN context begin."""
    return (np.int64(_BAND_ENTRY[position & 127]) + level * (2 * RUN_SYMBOLS) + larger * RUN_SYMBOLS) & _WORDS


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
def _empty_run(live, n, begin, end):
    """How many blocks from the empty block `n` on one symbol can take: log2, 0 to 4."""
    run = 1
    while run < _AHEAD and n + run < end and live[(n + run - begin) % _RING] == 0:
        run += 1
    log2 = 0
    while 2 << log2 <= run:
        log2 += 1
    return log2


@njit(inline="always")
def _surely(step, thresholds, surely):
    """What a coefficient needs at each position to be something else than 0 behind nothing but zeros."""
    for p in range(64):
        surely[p] = min(thresholds[p], 2 * step - step // 3, 1 << 30)


@njit(inline="always")
def _put(out, pos, acc, fill, value, length):
    """Append `length` (<= 43) bits of `value` to the `fill` (<= 7) ones on top of `acc`; whole bytes are written."""
    acc |= np.uint64(value) << np.uint64(64 - fill - length)
    fill += length
    at = pos & _BYTES
    for i in range(8):
        out[at + i] = np.uint8(acc >> np.uint64(56 - 8 * i))
    pos += fill >> 3
    return pos, acc << np.uint64(fill & 56), fill & 7


@njit(inline="always")
def _pad(out, pos, acc, fill):
    """Fill the last byte with ones; return the byte count."""
    if fill > 0:
        out[pos] = np.uint8(np.int64(acc >> np.uint64(56)) | 255 >> fill)
        pos += 1
    return pos


@kernel
def code_refinement(
    plane, reference, blocks, span, work, step, thresholds, keep, rows, columns, begin, words, masks, out, limit
):
    """Transform, quantise and code blocks from `begin` until the grid ends or `limit` bytes are full.

    Args:
        plane, reference, work: as in forward.
        blocks: int32 (rows * columns,) raster indices of the section's grid in a block grid of `span` columns.
        step: in sixteenths.
        thresholds: int64 (64,) in sixteenths, ascending, the first at least 1: a coefficient that would become 1 is
            kept only from thresholds[zeros before it] on: the longer the run, the dearer.
        keep: uint8 (rows * columns,) coefficients of each block that may be sent, 64 for all.
        rows, columns: the section's grid.
        words: uint16 (SET_SYMBOLS,) table set.
        masks: uint64 (rows * columns,) scratch.
        out: uint8 (>= limit + SLACK,).

    Returns:
        (block behind the last one coded, bytes used).
    """
    pos, acc, fill = 0, np.uint64(0), 0
    total = rows * columns
    x, t = np.zeros((8, 8 * _BATCH), work.dtype), np.empty((8, 8 * _BATCH), work.dtype)
    coefficients = np.empty((2, 64 * _BATCH), np.int32)
    flat = coefficients.reshape(2 * 64 * _BATCH)
    candidate, live = np.zeros(_RING, np.uint64), np.zeros(_RING, np.uint64)
    surely = np.empty(64, x.dtype)
    _surely(step, thresholds, surely)
    least = x.dtype.type(min(thresholds[0], 1 << 30))
    reciprocal = ((np.int64(1) << 43) + step - 1) // step
    ready = begin
    n = begin
    row, column, width = locate(begin, rows, columns)
    while n < total:
        while ready < min(n + _AHEAD, total):
            many = min(_BATCH, total - ready)
            _transform(plane, reference, blocks, span, ready, many, x, t)
            slot = (ready - begin) // _BATCH & 1
            _prepare(x, t, many, slot, least, surely, coefficients, candidate, live)
            for b in range(many):
                if keep[ready + b] < 64:
                    few = np.uint64((np.int64(1) << np.int64(keep[ready + b])) - 1)
                    candidate[_BATCH * slot + b] &= few
                    live[_BATCH * slot + b] &= few
            ready += many
        kept_pos, kept_acc, kept_fill = pos, acc, fill
        lane = (n - begin) % _RING
        west, north, hands = around(masks, n, begin, row, column, width)
        run = 1
        mask = np.uint64(0)
        position, larger = 0, 0
        if live[lane] == 0:
            level = level_at(west, north, hands, 0)
            symbol = np.int64(0)
            if level == 0:
                log2 = _empty_run(live, n, begin, total)
                if log2 > 0:
                    symbol = np.int64(SKIP + log2)
                    run = 1 << log2
                    masks[n + 1 : n + run] = 0
            word = np.int64(words[_entry(0, level, 0) + symbol])
            pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
            position = 64
        base = 64 * _BATCH * (lane // _BATCH) + lane % _BATCH
        left = candidate[lane] if live[lane] else np.uint64(0)
        while left != 0:
            p = trailing_zeros(left)
            left &= np.uint64(left - np.uint64(1))
            value = np.int64(flat[(base + _BATCH_ROW[p]) & _BYTES])
            a = abs(value)
            q = _quantise(a, step, reciprocal)
            if q <= 1 and a < thresholds[(p - position) & 63]:
                continue
            while p - position > MAX_RUN:
                word = np.int64(words[_entry(position, level_at(west, north, hands, position), larger) + SKIP])
                pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
                position += MAX_RUN + 1
            level = level_at(west, north, hands, position)
            entry = _entry(position, level, larger) + 3 * (p - position)
            negative = np.int64(value < 0)
            if q < 3:
                larger = np.int64(q > 1)
                word = np.int64(words[(entry + 1 + larger) & _WORDS])
                pos, acc, fill = _put(out, pos, acc, fill, (word >> 4) << 1 | negative, (word & 15) + 1)
            else:
                larger = 1
                word = np.int64(words[(entry + 3) & _WORDS])
                symbol, raw, length = _size_symbol(q)
                more = np.int64(words[(np.int64(_BAND_SIZES[p]) + level * SIZE_SYMBOLS + symbol) & _WORDS])
                raw |= (more >> 4) << length
                length += more & 15
                raw = raw << 1 | negative | (word >> 4) << (length + 1)
                pos, acc, fill = _put(out, pos, acc, fill, raw, length + 1 + (word & 15))
            mask |= np.uint64(1) << np.uint64(p)
            position = p + 1
        masks[n] = mask
        if position < 64:
            word = np.int64(words[_entry(position, level_at(west, north, hands, position), larger)])
            pos, acc, fill = _put(out, pos, acc, fill, word >> 4, word & 15)
        if 8 * pos + fill > 8 * limit:
            return n, _pad(out, kept_pos, kept_acc, kept_fill)
        n += run
        column += run
        if column >= width:
            row, column, width = locate(min(n, total - 1), rows, columns)
    return n, _pad(out, pos, acc, fill)


@kernel
def count_refinement(plane, reference, blocks, span, work, step, thresholds, rows, columns, begin, end, masks, counts):
    """Count the symbols of blocks `begin` to `end` as one section would hold them; arguments as in code_refinement.

    Args:
        counts: int64 (SET_SYMBOLS,), added to.

    Returns:
        (raw bits, squared error of the coefficients in 1/256).
    """
    x, t = np.zeros((8, 8 * _BATCH), work.dtype), np.empty((8, 8 * _BATCH), work.dtype)
    coefficients = np.empty((2, 64 * _BATCH), np.int32)
    flat = coefficients.reshape(2 * 64 * _BATCH)
    candidate, live = np.zeros(_RING, np.uint64), np.zeros(_RING, np.uint64)
    surely = np.empty(64, x.dtype)
    _surely(step, thresholds, surely)
    least = x.dtype.type(min(thresholds[0], 1 << 30))
    reciprocal = ((np.int64(1) << 43) + step - 1) // step
    raw, error = 0, 0.0
    ready = begin
    n = begin
    while n < end:
        while ready < min(n + _AHEAD, end):
            many = min(_BATCH, end - ready)
            _transform(plane, reference, blocks, span, ready, many, x, t)
            slot = (ready - begin) // _BATCH & 1
            _prepare(x, t, many, slot, least, surely, coefficients, candidate, live)
            energy = np.int64(0)  # 2048 squares below 2^46
            for i in range(64):
                for b in range(many):
                    a = np.int64(coefficients[slot, _BATCH * i + b])
                    energy += a * a
            error += np.float64(energy)
            ready += many
        lane = (n - begin) % _RING
        row, column, width = locate(n, rows, columns)
        west, north, hands = around(masks, n, begin, row, column, width)
        run = 1
        mask = np.uint64(0)
        position, larger = 0, 0
        if live[lane] == 0:
            level = level_at(west, north, hands, 0)
            symbol = np.int64(0)
            if level == 0:
                log2 = _empty_run(live, n, begin, end)
                if log2 > 0:
                    symbol = np.int64(SKIP + log2)
                    run = 1 << log2
                    masks[n + 1 : n + run] = 0
            counts[_entry(0, level, 0) + symbol] += 1
            position = 64
        base = 64 * _BATCH * (lane // _BATCH) + lane % _BATCH
        left = candidate[lane] if live[lane] else np.uint64(0)
        while left != 0:
            p = trailing_zeros(left)
            left &= np.uint64(left - np.uint64(1))
            a = abs(np.int64(flat[base + _BATCH * _COLUMN_MAJOR[p]]))
            q = _quantise(a, step, reciprocal)
            if q <= 1 and a < thresholds[p - position]:
                continue
            q = max(q, 1)
            while p - position > MAX_RUN:
                counts[_entry(position, level_at(west, north, hands, position), larger) + SKIP] += 1
                position += MAX_RUN + 1
            level = level_at(west, north, hands, position)
            counts[_entry(position, level, larger) + 3 * (p - position) + min(q, 3)] += 1
            raw += 1
            if q >= 3:
                symbol, _, length = _size_symbol(q)
                counts[np.int64(_BAND_SIZES[p]) + level * SIZE_SYMBOLS + symbol] += 1
                raw += length
            error += np.float64((a - q * step) * (a - q * step) - a * a)
            mask |= np.uint64(1) << np.uint64(p)
            position = p + 1
            larger = np.int64(q > 1)
        masks[n] = mask
        if position < 64:
            counts[_entry(position, level_at(west, north, hands, position), larger)] += 1
        n += run
    return raw, error
