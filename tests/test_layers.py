"""Layers 2 to 15: kernels against their twins, round trips, order of packets, regions, losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onboard
from onboard.errors import BudgetError, InputError, NothingDecodableError
from onboard.image_io import write_bytes
from onboard.kernels import lossless, refine, refine_code
from onboard.kernels import refine_parse as parser
from onboard.kernels.transform import BASIS, SCAN, add_inverse
from onboard.layer_header import LAYER_STEPS, LayerHeader, unpack_header
from onboard.planes import phase_order
from onboard.reference import find_grid, phase_grid, value_limit, work_kind
from onboard.refiner import thresholds
from onboard.request import rectangles
from onboard.scan import scan
from onboard.tables import lossless_codes, pack_tables, parse_tables, refinement_codes, refinement_parser
from onboard.wire import pack
from tests import reference_layers as twin
from tests.pictures import checkerboard, colourful, deep, deep_colourful, gradient, noise, texture

KEEP_ALL = 64


Planes = tuple[np.ndarray, np.ndarray]  # source and reference


def code_all(
    planes: Planes, step: int, rows: int, columns: int, begin: int, limit: int, table_set: int
) -> tuple[int, bytes]:
    order = phase_order(rows, columns, 0, 0)
    keep = np.full(rows * columns, KEEP_ALL, np.uint8)
    out = np.empty(limit + refine_code.SLACK, np.uint8)
    end, used = refine_code.code_refinement(
        *planes, order, columns, work_kind(8), LAYER_STEPS[step], thresholds(step), keep, rows, columns, begin,
        refinement_codes().words[table_set], out, limit,
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


# --- kernels against their twins ------------------------------------------------------------------------------------


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
                plane, base, order, 1, wide, size, thresholds(step), keep, 1, 1, 0,
                refinement_codes().words[0], out, 100,
            )  # fmt: skip
            _, q = parse_all(out[:used].tobytes(), 1, 1, 0, 0)
            assert q[0, 0] == (128 * v + size // 3) // size and not q[0, 1:].any()


@pytest.mark.kernel
def test_counted_bits_are_coded_bits() -> None:
    planes = busy(3, 4, 50, 0.4, 900)
    counts = np.zeros(refine.SET_SYMBOLS, np.int64)
    raw, error, seen = refine_code.count_refinement(
        *planes, phase_order(4, 50, 0, 0), 50, work_kind(8), LAYER_STEPS[40], thresholds(40), 4, 50, 200, 1, counts
    )
    assert seen == 200
    _, payload = code_all(planes, 40, 4, 50, 0, 60000, 2)
    bits = int(refinement_codes().lengths[2].astype(int) @ counts) + raw
    assert -(-bits // 8) == len(payload)
    _, q = parse_all(payload, 4, 50, 0, 2)
    assert error == ((coefficients_of(planes, 4, 50).astype(float) - q * LAYER_STEPS[40]) ** 2).sum()


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


# --- small parts ----------------------------------------------------------------------------------------------------


def test_headers_come_back() -> None:
    for header in (LayerHeader(1, 3, 77), LayerHeader(15, 0, 255, 0, 32), LayerHeader(2, 5, 0, 31, 1)):
        assert unpack_header(header.pack() + b"abc", 14, 6) == (header, b"abc")


@pytest.mark.parametrize("payload", [b"", b"\x10", bytes((0x18, 0, 31, 1)), bytes((0x16, 0)), b"\x50\0"])
def test_bad_headers_are_malformed_sections(payload: bytes) -> None:
    with pytest.raises(onboard.OnboardError):
        unpack_header(payload, 3, 6)


def test_the_table_file_comes_back_and_corrupt_ones_are_refused() -> None:
    data = pack_tables((refinement_codes().lengths, lossless_codes().lengths))
    again = parse_tables(data)
    assert (again[0].lengths == refinement_codes().lengths).all()
    assert (again[1].lengths == lossless_codes().lengths).all()
    for broken in (data[:-1], b"X" + data[1:], data[:50] + b"\0" + data[51:]):
        with pytest.raises(onboard.OnboardError):
            parse_tables(broken)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2), st.data())
def test_a_region_section_finds_the_blocks_that_were_meant(rows: int, columns: int, interleave: int, data) -> None:  # type: ignore[no-untyped-def]
    phase = data.draw(st.integers(0, (1 << interleave) - 1))
    whole = phase_grid((rows, columns), interleave, phase)
    if not len(whole.order):
        return
    first = data.draw(st.integers(0, len(whole.order) - 1))
    grid, begin = find_grid((rows, columns), interleave, phase, first, None, None)
    assert grid.order[begin] == whole.order[first]
    width = min(32, whole.columns - 32 * (first // (32 * whole.rows)))
    column = (first - 32 * whole.rows * (first // (32 * whole.rows))) % width
    left = data.draw(st.integers(0, column))
    span = data.draw(st.integers(column - left + 1, width - left))
    grid, begin = find_grid((rows, columns), interleave, phase, first, left, span)
    assert grid.order[begin] == whole.order[first]
    assert all(whole.order[grid.number(i)] == grid.order[i] for i in range(len(grid.order)))


@given(st.integers(0, 2**32 - 1))
def test_rectangles_cover_every_cell_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.random((9, 13)) < rng.random()
    seen = np.zeros(grid.shape, int)
    for r in rectangles(grid):
        seen[r.top : r.bottom, r.left : r.right] += 1
    assert (seen == grid).all()


# --- whole streams --------------------------------------------------------------------------------------------------


def mean_square(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("make", [texture, colourful, deep, deep_colourful])
def test_more_bytes_make_a_better_picture_up_to_lossless(make) -> None:  # type: ignore[no-untyped-def]
    picture = make(120, 171)
    errors = []
    for bpp in (0.3, 1.0, 3.0):
        data = onboard.compress(picture, bpp=bpp)
        assert len(data) <= bpp * 120 * 171 / 8
        errors.append(mean_square(picture, onboard.decompress(data).image))
    assert errors[0] > errors[1] > errors[2]
    exact = onboard.decompress(onboard.compress(picture, lossless=True))
    assert (exact.image == picture).all() and exact.image.dtype == picture.dtype
    assert (exact.mask == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 9), (8, 264), (17, 257)])
@pytest.mark.parametrize("interleave", [1, 2, 4])
def test_any_size_and_interleave_is_lossless_and_refined(shape: tuple[int, int], interleave: int) -> None:
    picture = noise(*shape)
    data = onboard.compress(picture, lossless=True, interleave=interleave, packet_size=400)  # type: ignore[arg-type]
    assert (onboard.decompress(data).image == picture).all()
    base = onboard.compress(picture, quality=40, interleave=interleave, scale=2, packet_size=100)  # type: ignore[arg-type]
    more = onboard.refine(picture, base, bpp=100, packet_size=400)
    decoded = onboard.decompress(more + base)
    assert (decoded.mask == 3).all()
    assert mean_square(picture, decoded.image) < 3


@pytest.mark.parametrize("picture", [noise(40, 50), checkerboard(33, 40), np.zeros((20, 20), np.uint8)])
def test_hard_pictures_come_through(picture: np.ndarray) -> None:
    assert (onboard.decompress(onboard.compress(picture, lossless=True)).image == picture).all()
    wide = picture.astype(np.uint16) * 257
    assert (onboard.decompress(onboard.compress(wide, lossless=True)).image == wide).all()
    colour = np.stack([picture, picture[::-1], 255 - picture], -1)
    assert (onboard.decompress(onboard.compress(colour, lossless=True)).image == colour).all()
    deep_colour = colour.astype(np.uint16) * 97 + 5
    assert (onboard.decompress(onboard.compress(deep_colour, lossless=True)).image == deep_colour).all()


def test_the_order_of_packets_does_not_matter() -> None:
    picture = texture(96, 140)
    data = onboard.compress(picture, bpp=1.2, packet_size=90, interleave=2)
    packets = [pack(p) for p in scan(data)[0]]
    first = onboard.decompress(packets)
    rng = np.random.default_rng(5)
    for _ in range(5):
        rng.shuffle(packets)  # type: ignore[arg-type]
        again = onboard.decompress(packets + packets[:3])
        assert (again.image == first.image).all() and (again.mask == first.mask).all()


def test_a_refinement_without_its_base_is_kept_and_used_when_the_base_comes() -> None:
    picture = texture(96, 140)
    base = onboard.compress(picture, quality=40, packet_size=60)
    more = onboard.refine(picture, base, bpp=1)
    alone = onboard.decompress(more)
    assert alone.mask.max() == 0
    assert alone.report["layers"]["unused_sections"] == 1
    packets = [pack(p) for p in scan(base)[0]]
    some = onboard.decompress([*packets[:-3], more])
    assert 0 < (some.mask == 3).mean() < 1
    both = onboard.decompress(more + base)
    assert (both.mask == 3).all()
    where = some.mask.repeat(8, 0).repeat(8, 1)[:96, :140] == 3
    assert (some.image[where] == both.image[where]).all()


def test_a_refinement_is_not_applied_to_a_base_of_another_index() -> None:
    picture = texture(96, 140)
    coarse = onboard.compress(picture, quality=20, tag=5)
    fine = onboard.compress(picture, quality=60, tag=5)
    more = onboard.refine(picture, coarse, bpp=1)
    assert (onboard.decompress(coarse + more).mask == 3).all()
    assert (onboard.decompress(coarse + more + fine).mask == 2).all()


@pytest.mark.parametrize("scale", [1, 2, 8])
@pytest.mark.parametrize("make", [texture, colourful, deep, deep_colourful])
def test_a_region_is_sharp_in_the_coarse_picture(make, scale: int) -> None:  # type: ignore[no-untyped-def]
    picture = make(150, 330)
    base = onboard.compress(picture, quality=30, scale=scale)  # type: ignore[arg-type]
    region = (250, 33, 70, 41)
    more = onboard.refine(picture, base, budget=9000, regions=[region])
    assert len(more) <= 9000
    before, after = onboard.decompress(base), onboard.decompress(base + more)
    inside = np.s_[33:74, 250:320]
    assert mean_square(picture[inside], after.image[inside]) < mean_square(picture[inside], before.image[inside])
    assert (after.mask[33 // 8 : -(-74 // 8), 250 // 8 : 320 // 8] >= 3).all()
    assert (after.image[:, :200] == before.image[:, :200]).all()
    # the same samples, however the region was cut out
    whole = onboard.refine(picture, base, budget=200000)
    everywhere = onboard.decompress(base + whole)
    assert (everywhere.mask == 3).all()
    exact = onboard.decompress(base + onboard.refine(picture, base, lossless=True, regions=[region]))
    assert (exact.image[inside] == picture[inside]).all()
    assert set(np.unique(exact.mask)) == {2, 255}


def test_refinements_of_refinements_go_on_where_the_last_one_stopped() -> None:
    picture = texture(96, 140)
    sent = onboard.compress(picture, quality=30)
    errors = [mean_square(picture, onboard.decompress(sent).image)]
    for regions in ([(8, 8, 50, 50)], [(30, 30, 80, 60)], []):
        sent += onboard.refine(picture, sent, bpp=1.5, regions=regions)
        errors.append(mean_square(picture, onboard.decompress(sent).image))
    assert errors == sorted(errors, reverse=True)
    assert set(np.unique(onboard.decompress(sent).mask)) == {3, 4, 5}
    assert onboard.refine(picture, sent + onboard.refine(picture, sent, lossless=True), lossless=True) == b""


def test_only_the_region_of_the_picture_is_read() -> None:
    class Guarded(np.ndarray):
        seen: list = []  # noqa: RUF012

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            Guarded.seen.append(key)
            return np.asarray(self)[key]

    picture = texture(300, 400)
    base = onboard.compress(picture, quality=30)
    more = onboard.refine(picture.view(Guarded), base, budget=2000, regions=[(100, 100, 64, 64)])
    assert more == onboard.refine(picture, base, budget=2000, regions=[(100, 100, 64, 64)])
    assert Guarded.seen == [(slice(96, 168), slice(96, 168))]


def test_unusable_requests_are_errors_that_say_why() -> None:
    picture = texture(64, 80)
    base = onboard.compress(picture, quality=30)
    with pytest.raises(NothingDecodableError):
        onboard.refine(picture, b"", budget=100)
    with pytest.raises(InputError, match="80x64"):
        onboard.refine(picture[:60], base, budget=100)
    with pytest.raises(InputError, match="outside"):
        onboard.refine(picture, base, budget=100, regions=[(80, 0, 5, 5)])
    with pytest.raises(InputError, match="depth"):
        onboard.refine(picture.astype(np.uint16), base, budget=100)
    with pytest.raises(InputError, match="does not hold"):
        onboard.refine(picture, pack(scan(onboard.compress(picture, quality=60, packet_size=60))[0][0]), budget=1000)
    with pytest.raises(BudgetError):
        onboard.refine(picture, base, budget=20)
    with pytest.raises(InputError):
        onboard.refine(picture, base)
    with pytest.raises(InputError):
        onboard.compress(picture, lossless=True, budget=1000)
    with pytest.raises(InputError, match="300"):
        onboard.compress(noise(64, 80), lossless=True, packet_size=60)


def test_the_operators_loop_on_the_command_line(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    from onboard import cli
    from onboard.ground import cli as ground_cli
    from onboard.image_io import encode_picture, read_picture

    picture = texture(120, 160)
    source, preview, more, out = (str(tmp_path / n) for n in ("in.png", "p.obp", "r.obp", "out.png"))
    write_bytes(source, encode_picture(source, picture, {}))
    assert cli.main(["--preview", source, "--budget", "600", "-o", preview, "-q"]) == 0
    args = ["--refine", source, "--base", preview, "--roi", "40,40,48,32", "--budget", "3kB", "-o", more, "--json"]
    assert cli.main(args) == 0
    made = json.loads(capsys.readouterr().out)[0]
    assert made["bytes"] <= 3000 and made["regions"] == [[40, 40, 48, 32]]
    assert ground_cli.main([preview, more, "-o", out, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["pictures"][0]
    assert report["layers"]["blocks_by_mask"]["3"] == 24
    assert mean_square(picture[40:72, 40:88], read_picture(out)[40:72, 40:88]) < 30
    assert cli.main(["--lossless", source, "-o", more, "-q"]) == 0
    assert ground_cli.main([more, "-o", out, "-q"]) == 0
    assert (read_picture(out) == picture).all()
    assert cli.main(["--refine", source, "--budget", "3kB"]) == 2
    assert cli.main([source, "--roi", "1,2,3,4"]) == 2
