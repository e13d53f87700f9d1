"""Raster order to phase order and back (FORMAT.md section 3).

Where a phase's blocks are in raster order is told by `grid` = (raster index of its first block, distance of its rows,
distance of its columns, rows, columns), the distances in raster order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import copy_32

_STRIPE = 32
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@kernel
def gather(values, grid, out):
    """Values of the blocks of one interleave phase, in phase order: by stripes, row by row.

    Args:
        values: (blocks,) raster order, in C order.
        grid: of the phase.
        out: (rows * columns,) of the same type, in C order.
    """
    begin, down, across, rows, columns = grid
    for row in range(rows):  # so that all is read in order, which takes half the time of reading stripe by stripe
        at = (begin + row * down) & _OFFSET
        for stripe in range(0, columns, _STRIPE):
            width = min(_STRIPE, columns - stripe)
            to = (stripe * rows + row * width) & _OFFSET
            if width == _STRIPE and across == 1:
                copy_32(values, at, out, to)
            elif across == 1:
                for x in range(width):
                    out[to + x] = values[at + x]
            else:
                for x in range(width):
                    out[to + x] = values[at + 2 * x]
            at += width * across


@njit(inline="always")
def _run(n, end, grid):
    """Blocks from block `n` of the phase to the end of its row in the stripe, at most to `end`: how many, and the
    raster index of the first."""
    begin, down, across, rows, columns = grid
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    row, column = inside // width, inside % width
    return min(width - column, end - n), begin + row * down + (stripe * _STRIPE + column) * across


@njit(inline="always")
def _dequantised(q, step):
    v = np.int32(np.int32(q) * np.int32(step))
    return min(max(v, np.int32(-32768)), np.int32(32767))


@njit(inline="always")
def _place_first(q, n, run, at, across, step, index, first, kept):
    """place_first() of one run."""
    for x in range(run):
        to = at + across * x
        better = kept[to] > index
        first[to] = _dequantised(q[n + x], step) if better else first[to]
        kept[to] = index if better else kept[to]


@kernel
def place_first(q, begin, end, grid, step, index, first, kept):
    """Dequantise first latents `begin` to `end` - 1 of a phase; put those that improve on what is kept in raster order.

    Args:
        q: int16 (phase blocks,).
        grid: of the phase; step: below 2^13.
        index: of the packet; kept: uint8 (blocks,) that of the copy at hand. The lower one stays.
        first: int16 (blocks,), clamped to int16.
    """
    index = np.uint8(index)
    across = grid[2]
    n = begin
    while n < end:
        run, at = _run(n, end, grid)
        n, at = n & _OFFSET, at & _OFFSET
        if run == _STRIPE and across == 1:  # numbers that the compiler knows make SIMD code
            _place_first(q, n, _STRIPE, at, 1, step, index, first, kept)
        else:
            _place_first(q, n, run, at, across, step, index, first, kept)
        n += run


@kernel
def place_rest(q, group, begin, end, grid, steps, index, rest, group_out, kept):
    """Dequantise latents 2 to 8 of blocks `begin` to `end` - 1 of a phase; put those that improve in raster order.

    Args:
        q: int16 (phase blocks, 8) from parse_rest; group: uint8 (phase blocks,).
        grid, index, kept: as in place_first; steps: int32 (8,).
        rest: int16 (blocks, 8), clamped to int16; group_out: uint8 (blocks,).
    """
    across = grid[2]
    factors = np.zeros((_STRIPE, 8), np.int32)
    for x in range(_STRIPE):
        for k in range(7):
            factors[x, k] = steps[k + 1]
    values, factor, placed = q.reshape(8 * len(q)), factors.reshape(8 * _STRIPE), rest.reshape(8 * len(rest))
    n = begin
    while n < end:
        run, at = _run(n, end, grid)
        n, at = n & _OFFSET, at & _OFFSET
        better = 0
        for x in range(run):
            better += kept[at + across * x] > index
        if better == run and across == 1:
            for i in range(8 * run):
                placed[8 * at + i] = _dequantised(values[8 * n + i], factor[i])
            for x in range(run):
                group_out[at + x] = group[n + x]
                kept[at + x] = index
        elif better > 0:
            for x in range(run):
                to = at + across * x
                if kept[to] > index:
                    for k in range(8):
                        rest[to, k] = _dequantised(q[n + x, k], factor[k])
                    group_out[to] = group[n + x]
                    kept[to] = index
        n += run
