"""Raster order to phase order (FORMAT.md section 3)."""

from __future__ import annotations

from onboard.kernels import kernel

_STRIPE = 32
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@kernel
def gather(values, begin, down, across, rows, columns, out):
    """Values of the blocks of one interleave phase, in phase order: by stripes, row by row.

    Args:
        values: (blocks,) raster order.
        begin: raster index of the phase's first block.
        down: distance of its rows, in raster order; across: 1 or 2, that of its columns.
        rows, columns: of the phase.
        out: (rows * columns,).
    """
    n = 0
    for stripe in range(0, columns, _STRIPE):
        width = min(_STRIPE, columns - stripe)
        for row in range(rows):
            at, to = (begin + row * down + stripe * across) & _OFFSET, n & _OFFSET
            if across == 1:
                for x in range(width):
                    out[to + x] = values[at + x]
            else:
                for x in range(width):
                    out[to + x] = values[at + 2 * x]
            n += width
