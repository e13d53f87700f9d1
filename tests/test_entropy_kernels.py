"""Coders and parsers of layers 0 and 1 against their naive twins, with the JIT and with NUMBA_DISABLE_JIT=1."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onboard.huffman import code_words, lookup_tables
from onboard.kernels import entropy
from onboard.kernels.entropy_code import SLACK, code_first, code_rest
from onboard.kernels.entropy_parse import BAD_CODE, OUT_OF_RANGE, OVERRUN, TOO_MANY_BLOCKS, parse_first, parse_rest
from onboard.model import SETS, default_model
from tests import reference
from tests.test_kernels import COLUMNS, ROWS, SEEDS, dirty
from training.codes import code_lengths

pytestmark = pytest.mark.kernel

GUARD = 16
LEVELS = st.sampled_from((1, 2, 8, 60, 400, 1023))


@dataclass(frozen=True)
class Tables:
    """One table set as the coder, the parser and the twin want it."""

    words: np.ndarray
    lookup: np.ndarray
    codes: reference.Codes


@cache
def tables(which: int) -> Tables:
    """The shipped model's sets first; then sets made from random counts, each unlike the last."""
    if which < SETS:
        lengths = default_model().lengths[which]
    else:
        rng = np.random.default_rng(which)
        lengths = code_lengths(rng.permutation(entropy.SET_SYMBOLS) ** rng.choice((0, 1, 3), entropy.SET_SYMBOLS))
    return Tables(code_words(lengths), lookup_tables(lengths), reference.Codes(lengths))


TABLES = st.integers(0, SETS + 1).map(tables)


def some_first(rng: np.random.Generator, blocks: int, level: int) -> np.ndarray:
    """First latents: steps, flat stretches (which make runs) and jumps up to `level`."""
    q = np.repeat(rng.integers(-level, level + 1, blocks), rng.choice((1, 1, 2, 9), blocks))[:blocks]
    return np.clip(q + rng.integers(-1, 2, blocks) * (rng.random(blocks) < rng.choice((0, 0.4))), -1023, 1023).astype(
        np.int16
    )


def some_rest(rng: np.random.Generator, blocks: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Sign bits in runs and latents 2 to 8, many of them small; those of group 1 are garbage that nobody may read."""
    share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    group = np.repeat(rng.random(blocks) < share, rng.choice((1, 4, 9), blocks))[:blocks].astype(np.uint8)
    q = rng.integers(-level, level + 1, (blocks, 7)) * (rng.random((blocks, 7)) < rng.choice((0.2, 0.7, 1.0)))
    small = rng.random(blocks) < 0.5
    q[small] = np.sign(q[small])
    q[rng.random((blocks, 7)) < 0.02] = entropy.MAX_REST
    q[group == 0] = 32767
    return group, q.astype(np.int16)


def coded(coder, sources, rows, columns, begin, table, limit, rng) -> tuple[int, bytes]:
    """Run a coder over dirty scratch; whatever it writes must stay within limit + SLACK."""
    out = np.full(limit + SLACK + GUARD, 0xA5, np.uint8)
    scratch = dirty(rng, rows * columns)
    end, used = coder(*sources, rows, columns, begin, table.words, scratch, out[: limit + SLACK], limit)
    assert used <= limit
    assert (out[limit + SLACK :] == 0xA5).all()
    return end, out[:used].tobytes()


def between(payload: bytes, filler: int) -> np.ndarray:
    """The payload as a view into a larger array, so that reading past it finds something."""
    whole = np.full(len(payload) + 2 * GUARD, filler, np.uint8)
    whole[GUARD : GUARD + len(payload)] = np.frombuffer(payload, np.uint8)
    return whole[GUARD : GUARD + len(payload)]


def parsed_first(payload, rows, columns, begin, table, rng) -> tuple[int, list[int]]:
    results = []
    for filler in (0x00, 0xFF, 0x5A):
        q = dirty(rng, rows * columns, dtype=np.int16)
        before = q.copy()
        end = parse_first(between(payload, filler), rows, columns, begin, table.lookup, dirty(rng, rows * columns), q)
        assert np.array_equal(q[:begin], before[:begin])
        if end >= 0:
            assert np.array_equal(q[end:], before[end:])
        results.append((int(end), q[begin:end].tolist() if end >= 0 else []))
    assert results[0] == results[1] == results[2]
    return results[0]


def parsed_rest(payload, rows, columns, begin, table, rng) -> tuple[int, list[tuple[int, list[int]]]]:
    results = []
    for filler in (0x00, 0xFF, 0x5A):
        group, q = dirty(rng, rows * columns), np.zeros((rows * columns, 8), np.int16)
        before = group.copy()
        scratch = dirty(rng, rows * columns)
        end = parse_rest(between(payload, filler), rows, columns, begin, table.lookup, scratch, group, q)
        assert np.array_equal(group[:begin], before[:begin]) and not q[:begin].any()
        if end >= 0:
            assert np.array_equal(group[end:], before[end:]) and not q[end:].any()
        found = (
            [(int(g), v) for g, v in zip(group[begin:end], q[begin:end, :7].tolist(), strict=True)] if end >= 0 else []
        )
        results.append((int(end), found))
    assert results[0] == results[1] == results[2]
    return results[0]


def test_constants_are_those_of_the_format():
    assert [kind[1:] for kind in entropy.KINDS] == list(reference.KINDS)
    assert entropy.SET_SYMBOLS == reference.SET_SYMBOLS
    assert entropy.FIRST_LEVELS == reference.FIRST_LEVELS
    assert entropy.QUAD_LEVELS == reference.QUAD_LEVELS
    assert (BAD_CODE, OVERRUN, OUT_OF_RANGE, TOO_MANY_BLOCKS) == (-1, -2, -3, -4)


def test_table_sets_fit_the_promise_to_microcontrollers():
    assert SETS * entropy.SET_SYMBOLS <= 4096
    assert entropy.MAX_LENGTH == 12


@pytest.mark.parametrize(
    "n, begin, expected",
    [
        (4, 0, (5, 3, -3)),  # no W: N stands for it
        (5, 0, (2, 8, 4)),  # a strong lean at level 2
        (6, 0, (1, 3, 7)),
        (7, 0, (7, 4, -2)),  # no NE
        (5, 1, (4, 0, -4)),  # no NW: the prediction is W
        (5, 4, (4, 0, 0)),  # W only
        (4, 1, (0, 9, 0)),
    ],
)
def test_prediction_context_and_lean_are_those_worked_out_by_hand(n, begin, expected):
    q, size = np.array([5, 2, 2, 7, 4, 1, 6, 6], np.int16), np.zeros(8, np.uint8)
    assert entropy.first_context(q, size, n, begin, n // 4, n % 4, 4) == expected
    known = {(0, i // 4, i % 4): reference.First(int(q[i]), 0) for i in range(begin, n)}
    prediction, context, sign = reference.first_context(known, (0, n // 4, n % 4))
    assert (prediction, context, sign) == (*expected[:2], -1 if expected[2] < 0 else 1)


@given(TABLES, ROWS, COLUMNS, LEVELS, SEEDS, st.data())
def test_first_latents_are_coded_as_the_twin_codes_them(table, rows, columns, level, seed, data):
    rng = np.random.default_rng(seed)
    total = rows * columns
    begin = data.draw(st.integers(0, total - 1), "begin")
    limit = data.draw(st.integers(0, 40) | st.just(2 * total + 8), "limit")
    q = some_first(rng, total, level)
    expected = reference.code_first(q, rows, columns, begin, table.codes, limit)
    assert coded(code_first, (q,), rows, columns, begin, table, limit, rng) == expected


@given(TABLES, ROWS, COLUMNS, LEVELS, SEEDS, st.data())
def test_first_latents_survive_coding_and_parsing(table, rows, columns, level, seed, data):
    rng = np.random.default_rng(seed)
    total = rows * columns
    begin = data.draw(st.integers(0, total - 1), "begin")
    limit = data.draw(st.integers(3, 40) | st.just(3 * total + 8), "limit")
    q = some_first(rng, total, level)
    end, payload = coded(code_first, (q,), rows, columns, begin, table, limit, rng)
    assert end > begin
    assert parsed_first(payload, rows, columns, begin, table, rng) == (end, q[begin:end].tolist())
    assert reference.parse_first(payload, rows, columns, begin, table.codes) == (end, q[begin:end].tolist())


@given(TABLES, st.integers(1, 3), st.integers(1, 5), st.data())
def test_any_first_latents_in_range_survive(table, rows, columns, data):
    total = rows * columns
    values = st.integers(-1023, 1023) | st.sampled_from((-1023, -1, 0, 0, 0, 1, 1023))
    q = np.array(data.draw(st.lists(values, min_size=total, max_size=total), "q"), np.int16)
    rng = np.random.default_rng(1)
    end, payload = coded(code_first, (q,), rows, columns, 0, table, 3 * total, rng)
    assert (end, payload) == reference.code_first(q, rows, columns, 0, table.codes, 3 * total)
    assert parsed_first(payload, rows, columns, 0, table, rng) == (total, q.tolist())


@given(TABLES, ROWS, COLUMNS, LEVELS, SEEDS, st.data())
def test_sign_bits_and_latents_are_coded_as_the_twin_codes_them(table, rows, columns, level, seed, data):
    rng = np.random.default_rng(seed)
    total = rows * columns
    begin = 4 * data.draw(st.integers(0, (total - 1) // 4), "quad")
    limit = data.draw(st.integers(0, 90) | st.just(25 * total), "limit")
    group, q = some_rest(rng, total, level)
    expected = reference.code_rest(group, q, rows, columns, begin, table.codes, limit)
    assert coded(code_rest, (group, q), rows, columns, begin, table, limit, rng) == expected


@given(TABLES, ROWS, COLUMNS, LEVELS, SEEDS, st.data())
def test_sign_bits_and_latents_survive_coding_and_parsing(table, rows, columns, level, seed, data):
    rng = np.random.default_rng(seed)
    total = rows * columns
    begin = 4 * data.draw(st.integers(0, (total - 1) // 4), "quad")
    limit = data.draw(st.integers(0, 90) | st.just(25 * total), "limit")
    group, q = some_rest(rng, total, level)
    end, payload = coded(code_rest, (group, q), rows, columns, begin, table, limit, rng)
    assert end % 4 == 0 or end == total
    q[group == 0] = 0
    expected = (end, [(int(g), v) for g, v in zip(group[begin:end], q[begin:end].tolist(), strict=True)])
    assert parsed_rest(payload, rows, columns, begin, table, rng) == expected
    assert reference.parse_rest(payload, rows, columns, begin, table.codes) == expected


@pytest.mark.parametrize("columns", [1, 2, 3, 33, 34, 35])
def test_blocks_of_the_same_quad_are_no_context_in_narrow_stripes(columns):
    """In a stripe of one to three columns a block's north neighbour may lie in its own quad: not known yet."""
    rows, table = 8, tables(0)
    total = rows * columns
    group, q = np.ones(total, np.uint8), np.full((total, 7), -2, np.int16)
    payloads = set()
    for filler in (0, 1, 8):
        scratch, out = np.full(total, filler, np.uint8), np.empty(25 * total + SLACK, np.uint8)
        end, used = code_rest(group, q, rows, columns, 0, table.words, scratch, out, 25 * total)
        assert end == total
        payloads.add(out[:used].tobytes())
    assert payloads == {reference.code_rest(group, q, rows, columns, 0, table.codes, 25 * total)[1]}
    for filler in (0, 1, 8):
        payload = np.frombuffer(max(payloads), np.uint8)
        scratch, got, back = np.full(total, filler, np.uint8), np.empty(total, np.uint8), np.zeros((total, 8), np.int16)
        assert parse_rest(payload, rows, columns, 0, table.lookup, scratch, got, back) == total
        assert np.array_equal(back[:, :7], q)


def test_the_largest_block_fits_the_slack():
    table = tables(0)
    group, q = np.ones(4, np.uint8), np.full((4, 7), -entropy.MAX_REST, np.int16)
    rng = np.random.default_rng(2)
    for limit in range(100):
        end, payload = coded(code_rest, (group, q), 1, 4, 0, table, limit, rng)
        assert (end, payload) == reference.code_rest(group, q, 1, 4, 0, table.codes, limit)


def test_a_coder_without_room_codes_nothing():
    table, rng = tables(0), np.random.default_rng(3)
    q = np.array([700, -700], np.int16)
    assert coded(code_first, (q,), 1, 2, 0, table, 0, rng) == (0, b"")
    group, rest = np.ones(2, np.uint8), np.full((2, 7), 500, np.int16)
    assert coded(code_rest, (group, rest), 1, 2, 0, table, 0, rng) == (0, b"")


@pytest.mark.parametrize("begin", [0, 4, 60])
def test_an_empty_section_holds_no_blocks(begin):
    table, rng = tables(0), np.random.default_rng(3)
    assert parsed_first(b"", 2, 40, begin, table, rng) == (begin, [])
    assert parsed_rest(b"", 2, 40, begin, table, rng) == (begin, [])


def test_a_flat_plane_costs_a_quarter_of_a_symbol_per_block():
    table, rng = tables(0), np.random.default_rng(4)
    q, rows, columns = np.zeros(8 * 96, np.int16), 8, 96
    end, payload = coded(code_first, (q,), rows, columns, 0, table, 500, rng)
    assert end == len(q) and len(payload) < len(q) / 8
    group, rest = np.zeros(len(q), np.uint8), np.zeros((len(q), 7), np.int16)
    end, payload = coded(code_rest, (group, rest), rows, columns, 0, table, 500, rng)
    assert end == len(q) and len(payload) < len(q) / 16


@given(TABLES, ROWS, COLUMNS, st.binary(max_size=60), SEEDS, st.data())
def test_hostile_first_latents_parse_as_the_twin_parses_them(table, rows, columns, payload, seed, data):
    begin = data.draw(st.integers(0, rows * columns - 1), "begin")
    expected = reference.parse_first(payload, rows, columns, begin, table.codes)
    assert parsed_first(payload, rows, columns, begin, table, np.random.default_rng(seed)) == expected


@given(TABLES, ROWS, COLUMNS, st.binary(max_size=60), SEEDS, st.data())
@example(tables(0), 1, 1, b"", 0, None)
def test_hostile_sign_bits_and_latents_parse_as_the_twin_parses_them(table, rows, columns, payload, seed, data):
    begin = 4 * data.draw(st.integers(0, (rows * columns - 1) // 4), "quad") if data else 0
    expected = reference.parse_rest(payload, rows, columns, begin, table.codes)
    assert parsed_rest(payload, rows, columns, begin, table, np.random.default_rng(seed)) == expected


@given(st.sampled_from((0, 1)), SEEDS, st.data())
def test_damaged_sections_parse_as_the_twin_parses_them(layer, seed, data):
    """Cut short, or with a few bits flipped: mostly plausible, so it gets far before it goes wrong."""
    table, rows, columns = tables(data.draw(st.integers(0, SETS - 1))), 5, 37
    rng = np.random.default_rng(seed)
    if layer:
        _, payload = reference.code_rest(*some_rest(rng, rows * columns, 4), rows, columns, 0, table.codes, 200)
    else:
        _, payload = reference.code_first(some_first(rng, rows * columns, 9), rows, columns, 0, table.codes, 200)
    damaged = bytearray(payload[: data.draw(st.integers(1, len(payload)), "length")])
    for at in data.draw(st.lists(st.integers(0, 8 * len(damaged) - 1), max_size=3), "flips"):
        damaged[at // 8] ^= 1 << at % 8
    damaged += data.draw(st.sampled_from((b"", b"\x00", b"\xff", b"\x01\x02")), "tail")
    twin, kernel = (reference.parse_rest, parsed_rest) if layer else (reference.parse_first, parsed_first)
    expected = twin(bytes(damaged), rows, columns, 0, table.codes)
    assert kernel(bytes(damaged), rows, columns, 0, table, rng) == expected


FIRST, QUAD, MASK, SIZE = reference.FIRST_KIND, reference.QUAD_KIND, reference.MASK_KIND, reference.SIZE_KIND

# (what, rows, columns, (kind, context, symbol) or literal bits ..., status)
HOSTILE_FIRST = [
    ("the word of all ones", 2, 2, ["1" * 16], BAD_CODE),
    ("a second byte of padding", 2, 2, [(FIRST, 9, 8), "1" * 16], BAD_CODE),
    ("raw bits behind the end", 2, 2, [(FIRST, 9, 26)], OVERRUN),
    ("a first latent of 2054", 1, 1, [(FIRST, 9, 26), "1" * 10 + "0"], OUT_OF_RANGE),
    ("a first latent of -1024", 1, 1, [(FIRST, 9, 25), format(1024 - 519, "09b") + "1"], OUT_OF_RANGE),
    ("a pair across the end of the row", 2, 2, [(FIRST, 9, 8), (FIRST, 0, 27), "0" * 16], TOO_MANY_BLOCKS),
    ("a four across the end of the row", 2, 4, [(FIRST, 9, 8), (FIRST, 0, 28), "0" * 16], TOO_MANY_BLOCKS),
    ("bits behind the last block", 1, 1, [(FIRST, 9, 9), "0" * 16], TOO_MANY_BLOCKS),
    ("padding of zeros", 1, 1, [(FIRST, 9, 9), "0"], TOO_MANY_BLOCKS),
]
HOSTILE_REST = [
    ("the word of all ones", 2, 2, ["1" * 16], BAD_CODE),
    ("a bad mask", 2, 2, [(QUAD, 0, 8), "1" * 24], BAD_CODE),
    ("a bad size", 2, 2, [(QUAD, 0, 8), (MASK, 0, 3), "1" * 24], BAD_CODE),
    ("raw bits behind the end", 2, 2, [(QUAD, 0, 8), (MASK, 0, 1), (SIZE, 8, 17)], OVERRUN),
    ("a sign bit outside the plane", 1, 3, [(QUAD, 0, 1)], TOO_MANY_BLOCKS),
    ("a sign bit outside the last quad", 3, 2, [(QUAD, 0, 0), (QUAD, 0, 2)], TOO_MANY_BLOCKS),
    ("two quads where there is one", 2, 2, [(QUAD, 0, 16)], TOO_MANY_BLOCKS),
    ("four quads where there are three", 3, 4, [(QUAD, 0, 18)], TOO_MANY_BLOCKS),
    ("two quads of ones where there is a half", 1, 6, [(QUAD, 0, 17), "0" * 40], TOO_MANY_BLOCKS),
    ("bits behind the last block", 2, 2, [(QUAD, 0, 0), "0" * 12], TOO_MANY_BLOCKS),
]


def _payload(codes: reference.Codes, parts: list, aligned: bool) -> bytes:
    text = "".join(part if isinstance(part, str) else codes.write(*part) for part in parts)
    return reference.bytes_of(text.ljust(-(-len(text) // 8) * 8, "0") if aligned else text)


@pytest.mark.parametrize("what, rows, columns, parts, status", HOSTILE_FIRST, ids=[h[0] for h in HOSTILE_FIRST])
def test_a_section_of_first_latents_is_refused_for(what, rows, columns, parts, status):
    table, rng = tables(0), np.random.default_rng(1)
    payload = _payload(table.codes, parts, aligned=parts[-1] == "0")
    assert parsed_first(payload, rows, columns, 0, table, rng) == (status, [])
    assert reference.parse_first(payload, rows, columns, 0, table.codes) == (status, [])


@pytest.mark.parametrize("what, rows, columns, parts, status", HOSTILE_REST, ids=[h[0] for h in HOSTILE_REST])
def test_a_section_of_sign_bits_and_latents_is_refused_for(what, rows, columns, parts, status):
    table, rng = tables(0), np.random.default_rng(1)
    payload = _payload(table.codes, parts, aligned=False)
    assert parsed_rest(payload, rows, columns, 0, table, rng) == (status, [])
    assert reference.parse_rest(payload, rows, columns, 0, table.codes) == (status, [])
