"""The kernels of layers 2 to 15 against their twins, small, with the JIT and without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard.kernels import lossless, refine, refine_code
from onboard.kernels import refine_parse as parser
from onboard.kernels.transform import BASIS, SCAN, add_inverse
from onboard.layer_header import LAYER_STEPS
from onboard.planes import phase_order
from onboard.reference import value_limit, work_kind
from onboard.refiner import DEAD_ZONE, WIDEST_DEAD_ZONE, zone
from onboard.tables import lossless_codes, refinement_codes, refinement_parser
from tests import reference_layers as twin
from tests.pictures import deep, gradient, noise, texture

KEEP_ALL = 64


Planes = tuple[np.ndarray, np.ndarray]  # source and reference


def code_all(
    planes: Planes,
    step: int,
    rows: int,
    columns: int,
    begin: int,
    limit: int,
    table_set: int,
    dead_zone: int = DEAD_ZONE,
) -> tuple[int, bytes]:
    order = phase_order(rows, columns, 0, 0)
    keep = np.full(rows * columns, KEEP_ALL, np.uint8)
    out = np.empty(limit + refine_code.SLACK, np.uint8)
    end, used = refine_code.code_refinement(
        *planes, order, columns, work_kind(8), LAYER_STEPS[step], zone(step, dead_zone), keep, rows, columns, begin,
        rows * columns, refinement_codes().words[table_set], out, limit,
    )  # fmt: skip
    return end, out[:used].tobytes()


def parse_all(payload: bytes, rows: int, columns: int, begin: int, table_set: int) -> tuple[int, np.ndarray]:
    """(block behind the last one or status, coefficients of every block from `begin` on).

    It is parsed beside another section and itself, which must not make a difference.
    """
    both = [payload, b"\x5a\x12", payload]
    most = 4 * len(payload) + 8 + parser.ROOM
    sections = np.zeros((3, parser.FIELDS), np.int64)
    at = 0
    for i, (section, one) in enumerate(zip(sections, both, strict=True)):
        section[: parser.END] = 8 * at, 8 * (at + len(one)), rows, columns, begin, most * i, most * (i + 1), most * i
        at += len(one) + parser.PADDING
    data = np.frombuffer(b"".join(one + b"\xff" * parser.PADDING for one in both), np.uint8)
    room = [np.empty(3 * most, np.int32) for _ in range(3)]
    parser.parse_refinement(data, sections.reshape(-1), *refinement_parser(table_set), *room)
    found = []
    for i in (0, 2):
        end, used, many = sections[i, parser.END : parser.FILLED + 1].tolist()
        coefficients, filled, ends = (a[most * i : most * (i + 1)] for a in room)
        q = np.zeros((rows * columns - begin, 64), np.int32)
        assert used == (ends[many - 1] if many else 0)
        for block, start, stop in zip(filled[:many], [0, *ends[: many - 1]], ends[:many], strict=False):
            q[block - begin, coefficients[start:stop] & 63] = coefficients[start:stop] >> 6
        found.append((end, q))
    assert found[0][0] == found[1][0] and (found[0][1] == found[1][1]).all()
    return found[0]


def packed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients, ends) as add_inverse takes them, of int (n, 64)."""
    block, place = np.nonzero(values)
    ends = np.bincount(block, minlength=len(values)).cumsum()
    return (64 * values[block, place] + place).astype(np.int32), ends.astype(np.int32)


def busy(seed: int, rows: int, columns: int, density: float, size: float) -> Planes:
    """A plane over a flat reference whose coefficients thin out along the scan, some blocks without any."""
    reference = np.full((8 * rows, 8 * columns), 128, np.uint8)
    plane = reference.copy()
    values = sparse(seed, rows * columns, density, size)
    blocks = np.arange(rows * columns, dtype=np.int32)
    add_inverse(*packed(values), 1, blocks, columns, value_limit(8), 255, work_kind(8), plane)
    plane.setflags(write=False)
    reference.setflags(write=False)
    return plane, reference


def coefficients_of(planes: Planes, rows: int, columns: int) -> np.ndarray:
    """int16 (blocks, 64) in phase order."""
    found = np.empty((rows * columns, 64), np.int16)
    refine_code.forward(*planes, phase_order(rows, columns, 0, 0), columns, work_kind(8), found)
    return found


def sparse(seed: int, blocks: int, density: float, size: float, kind: type = np.int16) -> np.ndarray:
    """Coefficients that thin out along the scan, some blocks without any."""
    rng = np.random.default_rng(seed)
    c = rng.laplace(0, size, (blocks, 64)) * np.exp(-np.arange(64) / 12)
    c[rng.random(blocks) > density] = 0
    limits = np.iinfo(kind)
    return np.clip(np.rint(c), limits.min + 1, limits.max).astype(kind)


@pytest.mark.kernel
def test_the_scan_and_the_basis_are_those_of_the_format() -> None:
    assert [(int(s) // 8, int(s) % 8) for s in SCAN] == twin.scan()
    assert BASIS.tolist() == [list(row) for row in twin.T]
    gram = BASIS.astype(int) @ BASIS.astype(int).T
    assert np.abs(gram - np.eye(8, dtype=int) * (1 << 15)).max() <= 50  # 0.15 %


def test_the_steps_are_those_of_the_format() -> None:
    assert [twin.layer_step(i) for i in range(len(LAYER_STEPS))] == list(LAYER_STEPS)
    from importlib.resources import files

    text = (files("onboard") / "FORMAT.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| 240 |") and str(LAYER_STEPS[255]) in line]
    assert [int(v) for v in rows[0].split("|")[2:-1]] == list(LAYER_STEPS[240:])


@pytest.mark.kernel
@pytest.mark.parametrize("depth", [8, 12, 16])
def test_the_transform_matches_its_twin(depth: int) -> None:
    kind = np.uint8 if depth == 8 else np.uint16
    rng = np.random.default_rng(depth)
    plane = rng.integers(0, 1 << depth, (13, 21)).astype(kind)
    plane[:8, :8] = (1 << depth) - 1
    base = rng.integers(0, 1 << depth, plane.shape).astype(kind)
    base[:8, :8] = 0
    blocks = np.array([5, 0, 2, 1, 4], np.int32)
    c = np.empty((5, 64), np.int16 if depth == 8 else np.int32)
    refine_code.forward(plane, base, blocks, 3, work_kind(depth), c)
    padded = np.pad(plane.astype(int) - base, ((0, 3), (0, 3)), mode="edge")
    for row, block in zip(c, blocks, strict=True):
        y, x = 8 * (block // 3), 8 * (block % 3)
        assert row.tolist() == twin.coefficients(padded[y : y + 8, x : x + 8].tolist())
    values = rng.integers(-40, 41, (5, 64)).astype(np.int32)
    values[0] = 1 << 19
    ours = base.copy()
    add_inverse(
        *packed(values), LAYER_STEPS[70], blocks, 3, value_limit(depth), (1 << depth) - 1, work_kind(depth), ours
    )
    expected = np.pad(base.astype(int), ((0, 3), (0, 3)))
    for q, block in zip(values, blocks, strict=True):
        y, x = 8 * (block // 3), 8 * (block % 3)
        expected[y : y + 8, x : x + 8] += twin.residual(q.tolist(), LAYER_STEPS[70], depth)
    assert (ours == np.clip(expected[:13, :21], 0, (1 << depth) - 1)).all()


@pytest.mark.kernel
@pytest.mark.parametrize("table_set", range(6))
def test_coded_refinements_parse_alike_in_kernel_and_twin(table_set: int) -> None:
    rows, columns = 3, 37
    planes = busy(table_set, rows, columns, 0.6, 3000)
    c = coefficients_of(planes, rows, columns)
    tables = twin.shipped_tables()[0][table_set]
    for begin, limit in ((0, 60), (5, 400), (40, 60000)):
        end, payload = code_all(planes, 40, rows, columns, begin, limit, table_set)
        assert len(payload) <= limit
        stop, q = parse_all(payload, rows, columns, begin, table_set)
        assert stop == end
        expected = twin.parse_refinement(payload, rows, columns, begin, tables)
        assert expected is not None
        assert q[: end - begin].tolist() == expected
        error = np.abs(q[: end - begin] * LAYER_STEPS[40] - c[begin:end].astype(int))
        assert error.max() <= LAYER_STEPS[40]


@pytest.mark.kernel
@pytest.mark.parametrize("dead_zone", [DEAD_ZONE, WIDEST_DEAD_ZONE])
def test_coefficients_are_quantised_as_by_the_twin(dead_zone: int) -> None:
    planes = busy(9, 3, 37, 0.8, 2000)
    c = coefficients_of(planes, 3, 37).tolist()
    for step in (0, 40, 95):
        end, payload = code_all(planes, step, 3, 37, 0, 60000, 0, dead_zone)
        assert end == 3 * 37
        _, q = parse_all(payload, 3, 37, 0, 0)
        assert q.tolist() == [twin.quantised(block, LAYER_STEPS[step], dead_zone) for block in c]


@pytest.mark.kernel
@given(st.binary(max_size=40), st.integers(0, 5), st.integers(0, 30))
def test_any_bytes_parse_alike_or_are_refused_alike(payload: bytes, table_set: int, begin: int) -> None:
    expected = twin.parse_refinement(payload, 2, 34, begin, twin.shipped_tables()[0][table_set])
    end, q = parse_all(payload, 2, 34, begin, table_set)
    if expected is None:
        assert end < 0
    else:
        assert q[: end - begin].tolist() == expected


@pytest.mark.kernel
def test_large_magnitudes_are_quantised_exactly_up_to_the_coarsest_step() -> None:
    order, keep = phase_order(1, 1, 0, 0), np.full(1, KEEP_ALL, np.uint8)
    base, wide = np.zeros((8, 8), np.uint16), np.empty((2, 8, 256), np.int64)
    out = np.empty(100 + refine_code.SLACK, np.uint8)
    for step in (0, 40, 100, 190, 200, 218, 236, 255):
        size = LAYER_STEPS[step]
        most = (128 * 65535 + size // 3) // size  # a flat residual `v` has one coefficient, 128 v
        least = -((size // 3 - most * size) // 128)  # the least `v` of that magnitude
        for v in {least - 1, min(least, 65535), 65535}:
            plane = np.full((8, 8), v, np.uint16)
            _, used = refine_code.code_refinement(
                plane, base, order, 1, wide, size, zone(step), keep, 1, 1, 0, 1,
                refinement_codes().words[0], out, 100,
            )  # fmt: skip
            _, q = parse_all(out[:used].tobytes(), 1, 1, 0, 0)
            assert q[0, 0] == (128 * v + size // 3) // size and not q[0, 1:].any()


@pytest.mark.kernel
def test_counted_bits_are_coded_bits() -> None:
    planes = busy(3, 4, 50, 0.4, 900)
    counts, tally = np.zeros((1, refine.SET_SYMBOLS), np.int64), np.zeros((1, 2), np.int64)
    error = refine_code.count_refinement(
        *planes, phase_order(4, 50, 0, 0), 50, work_kind(8), LAYER_STEPS[40], zone(40), 4, 50, 200, 1, counts, tally
    )
    assert tally[0, 1] == 200
    _, payload = code_all(planes, 40, 4, 50, 0, 60000, 2)
    bits = int(refinement_codes().lengths[2].astype(int) @ counts[0]) + int(tally[0, 0])
    assert -(-bits // 8) == len(payload)
    _, q = parse_all(payload, 4, 50, 0, 2)
    assert error == ((coefficients_of(planes, 4, 50).astype(float) - q * LAYER_STEPS[40]) ** 2).sum()


@pytest.mark.kernel
def test_pieces_are_counted_where_they_begin() -> None:
    planes = busy(5, 8, 40, 0.4, 900)

    def count(parts: int, piece: int, stride: int) -> tuple[np.ndarray, np.ndarray, float]:
        counts, tally = np.zeros((parts, refine.SET_SYMBOLS), np.int64), np.zeros((parts, 2), np.int64)
        error = refine_code.count_refinement(
            *planes, phase_order(8, 40, 0, 0), 40, work_kind(8), LAYER_STEPS[40], zone(40), 8, 40, piece, stride,
            counts, tally,
        )  # fmt: skip
        return counts, tally, error

    counts, tally, error = count(4, 30, 1)
    assert tally[:, 1].tolist() == [90, 90, 60, 80]  # pieces begin at 0, 30, 60; 90 to 150; 180, 210; 240 to 300
    one, whole, same = count(1, 30, 1)
    assert (counts.sum(0) == one[0]).all() and tally[:, 0].sum() == whole[0, 0] and error == same
    assert count(4, 30, 3)[1][:, 1].tolist() == [30, 30, 30, 30]


def test_blocks_with_nothing_to_say_cost_next_to_nothing() -> None:
    nothing = (np.full((256, 256), 7, np.uint8),) * 2
    sizes = [len(code_all(nothing, 40, 32, 32, 0, 60000, table_set)[1]) for table_set in range(6)]
    assert 8 * min(sizes) < 0.15 * 32 * 32  # bits a block


@pytest.mark.kernel
@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("make", [texture, noise, gradient, lambda h, w: np.full((h, w), 9, np.uint8), deep])
def test_lossless_sections_parse_alike_in_kernel_and_twin(make, joined: bool) -> None:  # type: ignore[no-untyped-def]
    plane = make(16, 8 * 34)
    depth = 8 if plane.itemsize == 1 else 12
    order = phase_order(2, 34, 0, 0)
    words, tables = lossless_codes().words[1], twin.shipped_tables()[1][1]
    for begin, limit in ((0, 700), (3, 60000)):
        out = np.empty(limit + lossless.SLACK, np.uint8)
        counts = np.zeros(lossless.SET_SYMBOLS, np.int64)
        end, used = lossless.code_lossless(
            plane, 1 << (depth - 1), order[begin:], 2, 34, joined, begin, words, np.empty(68, np.uint8), out, limit,
            counts,
        )  # fmt: skip
        assert end > begin and used <= limit
        ours = np.zeros_like(plane)
        stop = lossless.parse_lossless(
            out[:used], 1 << (depth - 1), order[begin:], 2, 34, joined, begin, lossless_codes().lookup(1),
            np.empty(68, np.uint8), ours,
        )  # fmt: skip
        assert stop == end
        expected = twin.parse_lossless(out[:used].tobytes(), depth, 2, 34, joined, begin, tables)
        assert expected is not None and len(expected) == end - begin
        for block, samples in zip(order[begin:end], expected, strict=True):
            y, x = 8 * (block // 34), 8 * (block % 34)
            assert (ours[y : y + 8, x : x + 8] == plane[y : y + 8, x : x + 8]).all()
            assert samples == plane[y : y + 8, x : x + 8].tolist()


@pytest.mark.kernel
@given(st.binary(max_size=60), st.integers(0, 30))
def test_any_bytes_are_the_same_lossless_blocks_or_refused_alike(payload: bytes, begin: int) -> None:
    expected = twin.parse_lossless(payload, 8, 2, 34, True, begin, twin.shipped_tables()[1][0])
    plane = np.zeros((16, 8 * 34), np.uint8)
    order = phase_order(2, 34, 0, 0)
    end = lossless.parse_lossless(
        np.frombuffer(payload, np.uint8), 128, order[begin:], 2, 34, True, begin, lossless_codes().lookup(0),
        np.empty(68, np.uint8), plane,
    )  # fmt: skip
    assert (expected is None) == (end < 0)
    if expected is not None:
        for block, samples in zip(order[begin:end], expected, strict=True):
            y, x = 8 * (block // 34), 8 * (block % 34)
            assert samples == plane[y : y + 8, x : x + 8].tolist()


@pytest.mark.kernel
@pytest.mark.parametrize("wanted", [0, 2])
def test_a_section_claims_the_blocks_that_its_twin_claims(wanted: int) -> None:
    rng = np.random.default_rng(wanted)
    blocks = rng.permutation(40)[:25].astype(np.int32)
    exact, reached = rng.random(40) < 0.7, rng.choice([0, 2, 3], 40).astype(np.uint8)
    expected_reached = reached.tolist()
    expected = twin.claim(blocks.tolist(), exact.tolist(), wanted, 4, expected_reached)
    usable = np.zeros(40, np.uint8)
    assert refine.claim(blocks, exact, wanted, 4, reached, usable) == len(expected)
    assert reached.tolist() == expected_reached
    assert np.flatnonzero(usable).tolist() == sorted(expected)
