"""Canonical codes and the tables built from them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard.errors import ModelError
from onboard.huffman import canonical_codes, code_words, lookup_tables
from onboard.kernels.entropy import BRIEF, MAX_LENGTH, SET_CONTEXTS, SET_SYMBOLS
from tests import reference
from training.codes import code_lengths


@st.composite
def whole_codes(draw) -> list[int]:
    """Lengths of a code that leaves just the all-ones word: a tree grown leaf by leaf, less one of its deepest."""
    leaves = [1, 1]
    for choice in draw(st.lists(st.integers(0, 10**6), max_size=60)):
        shallow = [i for i, length in enumerate(leaves) if length < MAX_LENGTH]
        at = shallow[choice % len(shallow)]
        leaves[at] += 1
        leaves.append(leaves[at])
    leaves.remove(max(leaves))
    return draw(st.permutations(leaves + [0] * draw(st.integers(0, 5))))


@given(whole_codes())
def test_codes_are_those_of_the_twin(lengths):
    codes = canonical_codes(np.array(lengths, np.uint8))
    found = {s: format(int(codes[s]), f"0{n}b") for s, n in enumerate(lengths) if n}
    assert found == reference.canonical_code(lengths)


@given(whole_codes())
def test_no_word_begins_another_and_none_begins_the_padding(lengths):
    words = sorted([*reference.canonical_code(lengths).values(), "1" * max(lengths)])
    assert all(not b.startswith(a) for a, b in pairwise(words))
    assert sum(Fraction(1, 2 ** len(word)) for word in words) == 1


@given(whole_codes(), st.data())
def test_a_code_with_one_length_changed_is_refused(lengths, data):
    at = data.draw(st.integers(0, len(lengths) - 1), "symbol")
    lengths[at] = data.draw(st.sampled_from([n for n in range(14) if n != lengths[at]]), "length")
    try:
        reference.canonical_code(lengths)
    except ValueError:
        with pytest.raises(ModelError):
            canonical_codes(np.array(lengths, np.uint8))
    else:  # the deepest leaf gone, or split: still a code
        canonical_codes(np.array(lengths, np.uint8))


@pytest.mark.parametrize(
    "lengths",
    [
        [],
        [0, 0, 0],
        [1, 1],  # whole: no word left to pad with
        [1, 2, 2],
        [1, 1, 2],  # over-subscribed
        [2, 2],  # two words left
        [1, 3],
        [2] * 5,
        [*range(1, 13), 12],
        [*range(1, 14)],  # 13 bits
        [15],
    ],
)
def test_lengths_that_make_no_code_are_refused(lengths):
    with pytest.raises(ModelError):
        canonical_codes(np.array(lengths, np.uint8))


def test_the_smallest_and_the_longest_code_are_accepted():
    assert canonical_codes(np.array([0, 1, 0])).tolist() == [0, 0, 0]
    codes = canonical_codes(np.arange(1, 13, dtype=np.uint8))
    assert codes.tolist() == [2**n - 2 for n in range(1, 13)]


def test_short_words_come_first_and_words_of_one_length_ascend_with_the_symbol():
    assert canonical_codes(np.array([3, 1, 3, 0, 3])).tolist() == [0b100, 0b0, 0b101, 0, 0b110]


@pytest.fixture(scope="module")
def lengths() -> np.ndarray:
    return code_lengths(np.random.default_rng(11).permutation(SET_SYMBOLS) ** 2)


def test_a_table_set_holds_the_code_of_every_context(lengths):
    words = code_words(lengths)
    assert words.dtype == np.uint16 and words.shape == (SET_SYMBOLS,)
    at = 0
    for kind, (contexts, symbols) in zip(reference.Codes(lengths).of, reference.KINDS, strict=True):
        for context in range(contexts):
            expected = [int(kind[context].get(s, "0"), 2) << 4 | int(lengths[at + s]) for s in range(symbols)]
            assert words[at : at + symbols].tolist() == expected
            at += symbols


def test_every_12_bits_look_up_the_symbol_they_begin_with(lengths):
    tables = lookup_tables(lengths)
    assert tables.dtype == np.uint16 and tables.shape == (SET_CONTEXTS, (1 << BRIEF) + 4096)
    brief, tables = tables[:, : 1 << BRIEF], tables[:, 1 << BRIEF :]
    assert np.array_equal(brief.repeat(4096 >> BRIEF, 1), np.where(tables & 15 <= BRIEF, tables, 0))
    contexts = [code for kind in reference.Codes(lengths).symbol_of for code in kind]
    for context, (table, code) in enumerate(zip(tables.tolist(), contexts, strict=True)):
        for bits in (*range(0, 4096, 97), 4094, 4095):
            text = format(bits, "012b")
            found = [
                symbol << 8 | (abs(symbol - 8) << 4 if context < 10 and symbol <= 16 else 0) | n
                for n in range(1, 13)
                if (symbol := code.get(text[:n])) is not None
            ]
            assert [table[bits]] == (found or [0])
        assert table[4095] == 0


@pytest.mark.parametrize("build", [code_words, lookup_tables])
def test_a_table_set_of_the_wrong_shape_or_with_a_bad_context_is_refused(build, lengths):
    with pytest.raises(ModelError, match="code lengths"):
        build(lengths[:-1])
    for at in (0, SET_SYMBOLS - 1):
        bad = lengths.copy()
        bad[at] = 1
        with pytest.raises(ModelError):
            build(bad)
