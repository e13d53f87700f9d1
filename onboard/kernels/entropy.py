"""Entropy coding of the two base layers, what coder and parser share: symbols, contexts, prediction of first latents.

FORMAT.md section 5. The coder is in entropy_code, the parser in entropy_parse.

All arrays are in phase order (FORMAT.md section 3). A table set is one flat uint16 array of words
`code << 4 | length`; `*_BASE` say where each kind of symbol begins in it.

The context functions are the definition. Most blocks lie inside a stripe with all their neighbours in the section; for
those the loops of coder and parser state the same rule again in a form that is faster.

The busiest loops neither slice arrays nor hand them to functions: numba would count references there, with atomic
instructions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

MAX_LENGTH = 12  # bits of a code word
BRIEF = 9  # parsers look up words of at most that many bits in tables that stay in the first-level cache

FIRST_DIRECT = 8  # residuals -8..8 have symbols of their own
FIRST_BUCKETS = 10  # then |r| from 9 in buckets of 2, 4, 8, ... values
FIRST_PAIR = 2 * FIRST_DIRECT + 1 + FIRST_BUCKETS  # contexts 0 and 1: this residual and the next are zero
FIRST_FOUR = FIRST_PAIR + 1  # context 0: this residual and the next three are zero
FIRST_SYMBOLS = FIRST_FOUR + 1
FIRST_LEVELS = (1, 2, 6, 10, 16, 24, 36)
FIRST_SPLIT = 2  # the level whose contexts are two, for a weak and for a strong lean
STRONG_LEAN = 3
FIRST_STRONG = len(FIRST_LEVELS) + 1  # the second of these contexts
FIRST_ALONE = FIRST_STRONG + 1  # no neighbour in the section
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

STRIPE = 32
MAGNITUDE_CAP = 31
BYTES = (1 << 40) - 1  # masks a byte offset, which tells the compiler that it is not negative

# Number of levels not above a total; totals beyond the table count like its last. FIRST_CONTEXT holds the contexts that
# follow, for a weak lean in the low four bits, for a strong one in the next.
FIRST_LEVEL = np.searchsorted(FIRST_LEVELS, np.arange(FIRST_LEVELS[-1] + 1), side="right")
FIRST_CONTEXT = FIRST_LEVEL | np.where(FIRST_LEVEL == FIRST_SPLIT, FIRST_STRONG, FIRST_LEVEL) << 4
QUAD_LEVEL = np.searchsorted(QUAD_LEVELS, np.arange(QUAD_LEVELS[-1] + 1), side="right")


@njit
def locate(n, rows, columns):
    """Block `n` of the phase order -> row, column within its stripe, width of that stripe."""
    stripe = n // (STRIPE * rows)
    width = min(STRIPE, columns - stripe * STRIPE)
    inside = n - stripe * STRIPE * rows
    return inside // width, inside % width, width


@njit
def bucket(excess):
    """Value past the direct range (>= 0) -> bucket b (2 << b values from (2 << b) - 2)."""
    b = 0
    while excess >= (4 << b) - 2:
        b += 1
    return b


@njit
def first_context(q, size, n, begin, row, column, width):
    """Prediction of a first latent, its context and its lean, from the neighbours that are in the section.

    The lean is negative when the residual changes its sign before it is coded. Bound: the prediction lies between
    neighbours, so |lean| <= 8 * MAX_FIRST < 2^13.
    """
    west = column > 0 and n - 1 >= begin
    north = row > 0 and n - width >= begin
    if not west and not north:
        return 0, FIRST_ALONE, 0
    if not north:
        total = 6 * np.int64(size[n - 1])
        return np.int64(q[n - 1]), FIRST_LEVEL[min(total, len(FIRST_LEVEL) - 1)], 0
    qn = np.int64(q[n - width])
    total = np.int64(size[n - width])
    terms = 1
    qw = qne = prediction = qn
    if column + 1 < width:
        qne = np.int64(q[n - width + 1])
        total += size[n - width + 1] + abs(qn - qne)
        terms += 2
    if west:
        qw = prediction = np.int64(q[n - 1])
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
    lean = 2 * qw + qn + qne - 4 * prediction
    contexts = FIRST_CONTEXT[min(6 * total // terms, len(FIRST_LEVEL) - 1)]
    return prediction, contexts >> 4 * np.int64(abs(lean) >= STRONG_LEAN) & 15, lean


@njit
def zero_run(q, size, n, begin, row, column, width, context):
    """How many residuals from block `n` on, a zero one, a run symbol can take together: 1, 2 or 4."""
    longest = 4 if context == 0 else (2 if context == 1 else 1)
    run = 1
    while run < longest and column + run < width:
        after, _, _ = first_context(q, size, n + run, begin, row, column + run, width)
        if q[n + run] != after:
            break
        size[n + run] = 0
        run += 1
    return 2 if run == 3 else run


@njit
def active(count, n, begin, row, column, width):
    """Activity of the west and the north neighbour of block `n`: 0 outside the section, else 0 for group 1 and
    1 + number of non-zero latents for group 2."""
    west = np.int64(count[n - 1]) if column > 0 and n - 1 >= begin else 0
    north = np.int64(count[n - width]) if row > 0 and n - width >= begin else 0
    return west, north


@njit
def quad_context(count, n, end, begin, rows, columns):
    """Context of the sign bits of blocks n .. end - 1 (at most four). Blocks of the quad itself are not known yet."""
    row, column, width = locate(n, rows, columns)
    west, activity = active(count, n, begin, row, column, width)
    for i in range(n + 1, end):
        row, column, width = locate(i, rows, columns)
        if row > 0 and begin <= i - width < n:  # in a stripe of 1 to 3 blocks the north may lie in this very quad
            activity += np.int64(count[i - width])
    return quad_level(west, activity)


@njit
def quad_level(west, north):
    """Context of sign bits from the activities of the block before and of those above."""
    return 2 * QUAD_LEVEL[min(2 * west + north, len(QUAD_LEVEL) - 1)] + (west > 0)


@njit
def mask_context(count, n, begin, rows, columns):
    """Context of the mask of block `n`."""
    row, column, width = locate(n, rows, columns)
    west, north = active(count, n, begin, row, column, width)
    return np.int64(west + north >= MASK_LEVEL)


@njit
def sign_bits(group, n, end):
    """Sign bits of up to four blocks as a symbol, the first block in the highest bit; absent blocks are 0."""
    s = 0
    for i in range(n, end):
        s |= np.int64(group[i]) << (3 - (i - n))
    return s


@njit
def equal_quads(group, n, total, symbol, context):
    """How many quads from block `n` on, all with sign bits `symbol` (0 or 15), one symbol can take: 1, 2 or 4."""
    longest = 4 if symbol == 0 and context == 0 else 2
    run = 1
    while run < longest and n + 4 * run + 4 <= total and sign_bits(group, n + 4 * run, n + 4 * run + 4) == symbol:
        run += 1
    return 2 if run == 3 else run


@njit
def size_context(unit, nonzero, ones, coded):
    """Context of a latent's size: `coded` sizes of the block's `nonzero` came before, `ones` of them were 1."""
    if ones == nonzero - 1 and coded == ones:
        return SIZE_FORCED
    return 4 * (unit > 1) + min(nonzero, 6) // 2
