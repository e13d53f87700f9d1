"""Symbol statistics and the code lengths made from them."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.encoder import PlaneSymbols
from onboard.kernels.entropy import (
    FIRST_BASE,
    FIRST_DIRECT,
    FIRST_FOUR,
    FIRST_PAIR,
    FIRST_SYMBOLS,
    KINDS,
    MASK_BASE,
    MASK_LEVEL,
    MASK_SYMBOLS,
    MAX_LENGTH,
    QUAD_BASE,
    QUAD_ONES,
    QUAD_SYMBOLS,
    QUAD_ZEROS,
    QUAD_ZEROS4,
    SET_SYMBOLS,
    SIZE_BASE,
    SIZE_DIRECT,
    SIZE_FORCED,
    SIZE_SYMBOLS,
    active,
    bucket,
    equal_quads,
    first_context,
    locate,
    quad_context,
    sign_bits,
    size_context,
    zero_run,
)
from onboard.planes import phase_order

SECTION_BLOCKS = 512  # a 200-byte packet holds about that many
SMOOTHING = 0.02  # of a count for every symbol that may occur

_BAD = np.zeros(SET_SYMBOLS, bool)
_BAD[[FIRST_BASE + c * FIRST_SYMBOLS + FIRST_PAIR for c in range(2, KINDS[0][1])]] = True  # runs exist in few contexts
_BAD[[FIRST_BASE + c * FIRST_SYMBOLS + FIRST_FOUR for c in range(1, KINDS[0][1])]] = True
_BAD[[QUAD_BASE + c * QUAD_SYMBOLS + QUAD_ZEROS4 for c in range(1, KINDS[1][1])]] = True
_BAD[SIZE_BASE + SIZE_FORCED * SIZE_SYMBOLS] = True  # a forced size is not 1
_BAD[[MASK_BASE + c * MASK_SYMBOLS + 128 for c in range(KINDS[2][1])]] = True  # "all ones" of an empty mask


@njit
def _count_first(q, rows, columns, begin, stop, counts):
    size = np.empty(len(q), np.uint8)
    n = begin
    while n < stop:
        row, column, width = locate(n, rows, columns)
        prediction, context, lean = first_context(q, size, n, begin, row, column, width)
        r = np.int64(q[n]) - prediction
        size[n] = min(abs(r), 31)
        symbol = FIRST_DIRECT + (-r if lean < 0 else r)
        if r == 0:
            run = min(zero_run(q, size, n, begin, row, column, width, context), stop - n)
            if run > 1:
                symbol = np.int64(FIRST_FOUR if run == 4 else FIRST_PAIR)
                n += 3 if run == 4 else 1
        if abs(r) > FIRST_DIRECT:
            symbol = 2 * FIRST_DIRECT + 1 + bucket(abs(r) - FIRST_DIRECT - 1)
        counts[FIRST_BASE + context * FIRST_SYMBOLS + symbol] += 1
        n += 1


@njit
def _count_rest(group, q, rows, columns, begin, stop, counts):
    count = np.zeros(len(group), np.uint8)
    n = begin
    while n < stop:
        end = min(n + 4, stop)
        context = quad_context(count, n, end, begin, rows, columns)
        symbol = sign_bits(group, n, end)
        if symbol == 0 or symbol == 15:  # noqa: PLR1714 - numba is slow at sets
            run = equal_quads(group, n, stop, symbol, context)
            if run > 1:
                end = n + 4 * run
                symbol = QUAD_ONES if symbol == 15 else (QUAD_ZEROS if run == 2 else QUAD_ZEROS4)
        counts[QUAD_BASE + context * QUAD_SYMBOLS + symbol] += 1
        for i in range(n, end):
            if group[i]:
                row, column, width = locate(i, rows, columns)
                west, north = active(count, i, begin, row, column, width)
                mask, nonzero, largest = 0, 0, 0
                for u in range(7):
                    a = abs(np.int64(q[i, u]))
                    mask |= np.int64(a > 0) << u
                    nonzero += a > 0
                    largest = max(largest, a)
                symbol = mask + 128 if largest == 1 else mask
                counts[MASK_BASE + np.int64(west + north >= MASK_LEVEL) * MASK_SYMBOLS + symbol] += 1
                count[i] = 1 + nonzero
                if largest > 1:
                    ones, coded = 0, 0
                    for u in range(7):
                        if q[i, u] != 0:
                            context = size_context(u, nonzero, ones, coded)
                            coded += 1
                            ones += abs(q[i, u]) == 1
                            symbol = abs(np.int64(q[i, u])) - 1
                            if symbol >= SIZE_DIRECT:
                                symbol = SIZE_DIRECT + bucket(symbol - SIZE_DIRECT)
                            counts[SIZE_BASE + context * SIZE_SYMBOLS + symbol] += 1
        n = end


def count_symbols(symbols: PlaneSymbols, counts: np.ndarray, section: int = SECTION_BLOCKS) -> None:
    """Add the symbols of a plane, cut in sections of `section` blocks, to int64 (SET_SYMBOLS,) counts."""
    order = phase_order(symbols.rows, symbols.columns, 0, 0)
    total = len(order)
    first, group, rest = symbols.first[order], symbols.group[order], symbols.rest[order]
    for begin in range(0, total, section):
        stop = min(begin + section, total)
        _count_first(first, symbols.rows, symbols.columns, begin, stop, counts)
        _count_rest(group, rest, symbols.rows, symbols.columns, begin, stop, counts)


def package_merge(weights: np.ndarray, limit: int = MAX_LENGTH) -> np.ndarray:
    """Optimal code lengths of at most `limit` bits (Larmore and Hirschberg 1990), uint8, for positive weights."""
    leaves = sorted((float(w), (i,)) for i, w in enumerate(weights))
    level: list[tuple[float, tuple[int, ...]]] = []
    for _ in range(limit):
        pairs = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = sorted(leaves + pairs, key=lambda item: item[0])
    lengths = np.zeros(len(weights), np.uint8)
    for _, members in level[: 2 * len(weights) - 2]:
        np.add.at(lengths, list(members), 1)
    return lengths


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Code lengths of a whole table set; every context keeps one word of its longest length for padding."""
    lengths = np.zeros(SET_SYMBOLS, np.uint8)
    for row in contexts():
        may_occur = np.flatnonzero(~_BAD[row])
        weights = counts[row][may_occur] + SMOOTHING
        padded = package_merge(np.append(weights, 0.0))  # the last, lightest leaf is the all-ones word
        lengths[row.start + may_occur] = padded[:-1]
    return lengths


def contexts() -> list[slice]:
    """One slice per context of a table set."""
    return [slice(base + c * n, base + (c + 1) * n) for base, many, n in KINDS for c in range(many)]


def entropy_bits(counts: np.ndarray) -> float:
    """Ideal bits of the counted symbols, each context with its own distribution."""
    total = 0.0
    for row in contexts():
        c = counts[row][counts[row] > 0].astype(float)
        total -= float((c * np.log2(c / c.sum())).sum()) if len(c) else 0.0
    return total
