"""Code lengths from counts: optimal, bounded, and always a code."""

from __future__ import annotations

import heapq
from collections import Counter
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard.encoder import PlaneSymbols
from onboard.huffman import canonical_codes, code_words, lookup_tables
from onboard.kernels.entropy import MAX_LENGTH, MAX_REST, SET_SYMBOLS
from tests import reference
from training.codes import code_lengths, contexts, count_symbols, entropy_bits, package_merge

WEIGHTS = st.integers(1, 1000) | st.integers(1, 10**9)


def cost(weights, lengths) -> int:
    return sum(int(w) * int(n) for w, n in zip(weights, lengths, strict=True))


def huffman_cost(weights) -> int:
    """Bits of an optimal code of any length: the sum of all merges (Huffman 1952)."""
    heap, total = list(weights), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def least_cost(weights, limit: int) -> int:
    """Bits of an optimal code with words of at most `limit` bits, by trying them all."""
    ordered = sorted(weights, reverse=True)  # the heavier, the shorter
    return min(
        cost(ordered, lengths)
        for lengths in combinations_with_replacement(range(1, limit + 1), len(weights))
        if sum(Fraction(1, 2**n) for n in lengths) <= 1
    )


@given(st.lists(WEIGHTS, min_size=2, max_size=40))
def test_without_a_limit_package_merge_is_as_good_as_huffman(weights):
    lengths = package_merge(np.array(weights), limit=len(weights))
    assert sum(Fraction(1, 2 ** int(n)) for n in lengths) == 1
    assert cost(weights, lengths) == huffman_cost(weights)


@given(st.integers(2, 5), st.lists(WEIGHTS, min_size=2, max_size=6))
def test_with_a_limit_package_merge_is_as_good_as_trying_everything(limit, weights):
    weights = weights[: 1 << limit]
    lengths = package_merge(np.array(weights), limit=limit)
    assert lengths.max() <= limit
    assert sum(Fraction(1, 2 ** int(n)) for n in lengths) == 1
    assert cost(weights, lengths) == least_cost(weights, limit)


def test_a_limit_shortens_the_longest_words():
    fibonacci = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55]
    assert sorted(package_merge(np.array(fibonacci), limit=20)) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert package_merge(np.array(fibonacci), limit=4).max() == 4
    assert package_merge(np.ones(16), limit=4).tolist() == [4] * 16


@pytest.mark.parametrize("name", ["none", "one symbol", "steep", "random", "huge"])
def test_code_lengths_of_any_counts_make_codes(name):
    rng = np.random.default_rng(21)
    counts = {
        "none": np.zeros(SET_SYMBOLS, np.int64),
        "one symbol": np.eye(1, SET_SYMBOLS, 8, dtype=np.int64)[0] * 10**9,
        "steep": 2 ** (np.arange(SET_SYMBOLS, dtype=np.int64) % 40),
        "random": rng.integers(0, 1000, SET_SYMBOLS),
        "huge": rng.integers(0, 2**50, SET_SYMBOLS),
    }[name]
    lengths = code_lengths(counts)
    assert lengths.dtype == np.uint8 and lengths.max() <= MAX_LENGTH
    for row in contexts():
        canonical_codes(lengths[row])
        reference.canonical_code(lengths[row])
    assert code_words(lengths).any() and lookup_tables(lengths).any()


def test_contexts_share_out_the_table_set():
    covered = np.zeros(SET_SYMBOLS, int)
    for row in contexts():
        covered[row] += 1
    assert (covered == 1).all()


def test_every_symbol_that_the_coders_may_write_gets_a_word():
    """Code everything there is, in one-block and whole-plane sections; a symbol without a word raises KeyError."""
    codes = reference.Codes(code_lengths(np.zeros(SET_SYMBOLS, np.int64)))
    rng = np.random.default_rng(22)
    for level in (0, 1, 3, 30, 1023):
        q = rng.integers(-level, level + 1, 6 * 40)
        assert reference.code_first(q, 6, 40, 0, codes, 10**6)[0] == 240
        rest = np.clip(rng.integers(-level, level + 1, (240, 7)), -MAX_REST, MAX_REST)
        for share in (0, 0.3, 1):
            group = rng.random(240) < share
            assert reference.code_rest(group, rest, 6, 40, 0, codes, 10**6)[0] == 240


class Counting(reference.Codes):
    """Codes that count what is written with them."""

    def write(self, kind: int, context: int, symbol: int) -> str:
        self.counted[kind, context, symbol] += 1
        return super().write(kind, context, symbol)


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 2), (7, 33), (5, 40), (9, 71)])
@pytest.mark.parametrize("level", [0, 1, 12, 300])
def test_symbols_are_counted_as_they_are_coded(rows, columns, level):
    rng = np.random.default_rng(rows * columns + level)
    blocks = rows * columns
    first = np.repeat(rng.integers(-level, level + 1, blocks), rng.integers(1, 4, blocks))[:blocks].astype(np.int16)
    group = np.repeat(rng.random(blocks) < 0.4, rng.integers(1, 9, blocks))[:blocks].astype(np.uint8)
    rest = (rng.integers(-level, level + 1, (blocks, 7)) * (rng.random((blocks, 7)) < 0.5)).astype(np.int16)
    counts = np.zeros(SET_SYMBOLS, np.int64)
    count_symbols(PlaneSymbols(rows, columns, first, group, rest), counts, section=blocks)

    order = reference.phase_order(rows, columns, 0, 0)
    codes = Counting(code_lengths(np.zeros(SET_SYMBOLS, np.int64)))
    codes.counted = Counter()
    reference.code_first(first[order], rows, columns, 0, codes, 10**6)
    reference.code_rest(group[order], rest[order], rows, columns, 0, codes, 10**6)
    expected = [
        codes.counted[kind, context, symbol]
        for kind, (many, symbols) in enumerate(reference.KINDS)
        for context in range(many)
        for symbol in range(symbols)
    ]
    assert counts.tolist() == expected


def test_codes_come_close_to_the_entropy_of_their_counts():
    counts = np.random.default_rng(23).integers(1, 5000, SET_SYMBOLS)
    bits = cost(counts, code_lengths(counts))
    unused = code_lengths(counts) == 0
    assert entropy_bits(np.where(unused, 0, counts)) <= bits <= 1.03 * entropy_bits(np.where(unused, 0, counts))
