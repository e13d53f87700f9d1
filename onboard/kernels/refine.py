"""What coder and parser of the refinement layers share: symbols and contexts. FORMAT.md section 11.5.

All arrays are in the order of the section's own grid (FORMAT.md section 11.2). A table set is one flat uint16 array
of words `code << 4 | length`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel
from onboard.kernels.bits import ones

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

RUN_BASE = 0
SIZE_BASE = RUN_BASE + RUN_CONTEXTS * RUN_SYMBOLS
SET_SYMBOLS = SIZE_BASE + SIZE_CONTEXTS * SIZE_SYMBOLS
SIZE_ROW = RUN_CONTEXTS
KINDS = ((RUN_BASE, RUN_CONTEXTS, RUN_SYMBOLS), (SIZE_BASE, SIZE_CONTEXTS, SIZE_SYMBOLS))

# By 256 * blocks at hand + significant coefficients in them: those in one block count twice.
LEVEL_OF = np.array(
    [ALONE] * 256 + [LEVEL[min(2 * n, 128)] for n in range(256)] + [LEVEL[min(n, 128)] for n in range(512)], np.int32
)
_STRIPE = 32


@njit(inline="always")
def locate(n, rows, columns):
    """Block `n` of the grid -> row, column within its stripe, width of that stripe."""
    stripe = n // (_STRIPE * rows)
    width = min(_STRIPE, columns - stripe * _STRIPE)
    inside = n - stripe * _STRIPE * rows
    return inside // width, inside % width, width


@njit(inline="always")
def at_hand(n, begin, row, column, width):
    """Whether the west and the north block of block `n` are in the section."""
    return column > 0 and n - 1 >= begin, row > 0 and n - width >= begin


@njit(inline="always")
def significant(west, north, hands, position):
    """How many coefficients from `position` on are significant in the blocks at hand: a uint64, index of LEVEL_OF."""
    return np.uint64(hands << 8) | np.uint64(ones(west >> position) + ones(north >> position))


@kernel
def claim(blocks, exact, wanted, layer, reached, usable):
    """Let a layer be applied to those blocks of a section to which it can be.

    Args:
        blocks: int32 (n,) raster indices.
        exact: bool (blocks of the plane,) whether what the layer refers to is what the encoder had.
        wanted: what `reached` must say of a block.
        reached: uint8 (blocks of the plane,) highest layer applied, in and out.
        usable: uint8 (blocks of the plane,) out, set for the section's blocks only.

    Returns:
        how many blocks it is applied to.
    """
    count = 0
    for m in blocks:
        use = exact[m] and reached[m] == wanted
        usable[m] = use
        if use:
            reached[m] = layer
            count += 1
    return count
