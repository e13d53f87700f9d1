"""The arithmetic of board and ground against its naive twins, with the JIT and with NUMBA_DISABLE_JIT=1: all small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onboard.kernels.analyse import NORM_SHIFT, analyse, quantise_first, quantise_rest
from onboard.kernels.enlarge import double
from onboard.kernels.foretell import foretell
from onboard.kernels.neighbours import decode_neighbours
from onboard.kernels.order import gather, place_first, place_rest
from onboard.kernels.predict import add_prediction, predict
from onboard.kernels.sample import box_average, rgb_to_luma, rgb_to_ycc420, ycc_to_rgb
from onboard.kernels.soften import soften
from onboard.kernels.synthesise import pull, push, relax, synthesise
from onboard.planes import COLOUR, ENLARGER, phase_order, phases, raster_grid
from tests import pictures, reference

pytestmark = pytest.mark.kernel

SEEDS = st.integers(0, 2**32 - 1)
ROWS = st.integers(1, 9)
COLUMNS = st.one_of(st.integers(1, 9), st.sampled_from((31, 32, 33, 34, 35, 65, 67)))


def dirty(rng: np.random.Generator, *shape: int, dtype: type = np.uint8) -> np.ndarray:
    """Memory as np.empty gives it on a bad day."""
    return rng.integers(0, 200, shape).astype(dtype)


# --- the board's arithmetic -----------------------------------------------------------------------------------------

PLANES = {
    "one white sample": np.full((1, 1), 255, np.uint8),
    "one row": pictures.gradient(1, 19),
    "one column": pictures.gradient(21, 1),
    "black": np.zeros((9, 7), np.uint8),
    "white": np.full((8, 16), 255, np.uint8),
    "middle grey": np.full((10, 10), 128, np.uint8),
    "noise": pictures.noise(17, 25),
    "texture": pictures.texture(24, 31),
    "checkerboard": pictures.checkerboard(16, 23),
}


@pytest.mark.parametrize("floor", [-(2**31), 0, 70_000, 2**30])
@pytest.mark.parametrize("name", PLANES)
def test_analyse_agrees_with_its_twin(model, name, floor):
    plane = PLANES[name]
    blocks = -(-plane.shape[0] // 8) * -(-plane.shape[1] // 8)
    residual, latents = np.full(2 + blocks, -7, np.int32), np.full((2 + blocks, 8), 12345, np.int16)
    analyse(plane, *model.encoder_arrays, model.norm, floor, 2, residual, latents)
    assert (residual[:2] == -7).all() and (latents[:2] == 12345).all()
    residual, latents = residual[2:], latents[2:]
    left, expected = reference.analyse(
        plane.tolist(), model.weights.tolist(), model.multiplier, model.shift, model.norm
    )
    assert residual.tolist() == left
    for n in range(blocks):
        known = 8 if left[n] > floor else 1  # the others are of no meaning
        assert latents[n, :known].tolist() == expected[n][:known]


@given(SEEDS, st.integers(1, 20), st.integers(1, 20))
def test_analyse_agrees_with_its_twin_for_any_weights(seed, height, width):
    rng = np.random.default_rng(seed)
    plane = rng.choice((0, 255, 255, 7), (height, width)).astype(np.uint8)
    weights = rng.choice((-127, 127, 127, 1), (8, 64)).astype(np.int16)
    multiplier, shift = rng.integers(1, 4096, 8), rng.integers(17, 24, 8)
    square = int((weights[0].astype(int) ** 2).sum())
    norm = ((1 << NORM_SHIFT) + square // 2) // square
    blocks = -(-height // 8) * -(-width // 8)
    residual, latents = np.empty(blocks, np.int32), np.empty((blocks, 8), np.int16)
    analyse(plane, weights, multiplier, shift, norm, -(2**31), 0, residual, latents)
    assert (residual.tolist(), latents.tolist()) == reference.analyse(
        plane.tolist(), weights.tolist(), multiplier, shift, norm
    )


def test_analyse_takes_a_part_of_a_picture(model):
    whole = pictures.texture(40, 50)
    part = whole[8:31, 3:41]
    assert not part.flags.c_contiguous
    results = []
    for plane in (part, np.ascontiguousarray(part)):
        residual, latents = np.empty(15, np.int32), np.empty((15, 8), np.int16)
        analyse(plane, *model.encoder_arrays, model.norm, -(2**31), 0, residual, latents)
        results.append((residual.tolist(), latents.tolist()))
    assert results[0] == results[1]


@given(st.lists(st.integers(-30719, 30719), min_size=1, max_size=30), st.integers(1, 4095))
def test_quantise_first_agrees_with_its_twin(values, step):
    latents = np.full((len(values), 8), 999, np.int16)
    latents[:, 0] = values
    q, d = np.empty(len(values), np.int16), np.empty(len(values), np.int16)
    quantise_first(latents, step, q, d)
    assert (q.tolist(), d.tolist()) == reference.quantise_first(values, step)


@given(SEEDS, st.integers(0, 128), st.integers(0, 255), st.sampled_from((40, 600, 16000)))
def test_quantise_rest_agrees_with_its_twin(seed, dead_zone, price, reach):
    rng = np.random.default_rng(seed)
    latents = rng.integers(-reach, reach + 1, (12, 8)).astype(np.int16)
    foretold = rng.integers(-reach, reach + 1, (12, 7)).astype(np.int16)
    candidate = (rng.random(12) < 0.8).astype(np.uint8)
    steps = rng.integers(32, 4096, 8).astype(np.int32)
    rest, group = foretold.copy(), np.full(12, 9, np.uint8)
    quantise_rest(latents, candidate, steps, dead_zone, price, rest, group)
    for n in range(12):
        wanted, worth = reference.quantise_rest(latents[n, 1:], foretold[n], steps, dead_zone, price)
        assert group[n] == (worth if candidate[n] else 0)
        assert rest[n].tolist() == (wanted if candidate[n] else foretold[n].tolist())


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 6), (5, 1), (2, 2), (4, 7)])
@pytest.mark.parametrize("reach", [1, 300, 32767])
def test_predictions_agree_with_their_twin(rows, columns, reach):
    rng = np.random.default_rng(rows * 100 + columns)
    first = rng.integers(-reach - 1, reach + 1, rows * columns).astype(np.int16)
    first[0] = -reach - 1
    wanted = (rng.random(rows * columns) < 0.7).astype(np.uint8)
    matrix = rng.integers(-127, 128, (7, 8)).astype(np.int32)
    before = rng.integers(-32768, 32768, (rows * columns, 7)).astype(np.int16)
    rest, rows_of_8 = before.copy(), dirty(rng, rows * columns, 8, dtype=np.int16)
    add_prediction(first, wanted, columns, matrix, rest)
    predict(first, np.pad(before, ((0, 0), (0, 1))), wanted, columns, matrix, rows_of_8)
    for n in range(rows * columns):
        expected = before[n].tolist()
        if wanted[n]:
            foretold = reference.prediction(first.reshape(rows, columns), *divmod(n, columns), matrix)
            expected = [reference.clamp16(v + p) for v, p in zip(expected, foretold, strict=True)]
        assert rest[n].tolist() == expected
        assert rows_of_8[n].tolist() == [*expected, 0]


# --- the ground's arithmetic ----------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 27), st.integers(1, 27), st.sampled_from((8, 12, 16)), st.integers(1, 1 << 17))
def test_soften_agrees_with_its_twin(seed, height, width, depth, limit):
    top = (1 << depth) - 1
    rng = np.random.default_rng(seed)
    plane = rng.choice([0, 1, 7, top // 2, top - 9, top], (height, width)).astype(np.uint8 if depth == 8 else np.uint16)
    expected = reference.softened(plane.tolist(), top, limit)
    soften(plane, top, limit)
    assert plane.tolist() == expected


def test_soften_moves_six_samples_of_a_small_step_towards_each_other():
    plane = np.array([[100] * 8 + [180] * 8 + [100] * 2], np.uint8)
    soften(plane, 255, 80)
    assert plane.tolist() == [[100] * 8 + [180] * 8 + [100] * 2]
    soften(plane, 255, 81)
    assert plane.tolist() == [[100] * 5 + [110, 120, 130, 150, 160, 170, 180, 180, 170, 160, 150, 130, 120]]


def _synthesised_like_its_twin(rng, rows, columns, reach, gain):
    blocks = rows * columns
    first = rng.integers(-reach, reach, blocks).astype(np.int16)
    rest = (rng.integers(-reach, reach, (blocks, 7)) * (rng.random((blocks, 7)) < 0.6)).astype(np.int16)
    group = (rng.random(blocks) < 0.6).astype(np.uint8)
    matrix = rng.integers(-127, 128, (7, 8)).astype(np.int32)
    weights1, gain1 = rng.integers(-128, 128, 64).astype(np.int32), int(rng.integers(1, gain + 1))
    weights2, gains2 = rng.integers(-128, 128, (8, 64)).astype(np.int32), rng.integers(0, gain + 1, 8)
    out = np.empty((8 * rows, 8 * columns), np.uint8)
    residuals = np.pad(rest, ((0, 0), (0, 1)))
    synthesise(first, residuals, group, columns, matrix, weights1, gain1, weights2, gains2, out)
    for n in range(blocks):
        at = divmod(n, columns)
        if group[n]:
            foretold = reference.prediction(first.reshape(rows, columns), *at, matrix)
            latents = [reference.clamp16(int(r) + p) for r, p in zip(rest[n], foretold, strict=True)]
            expected = reference.synthesise_block([first[n], *latents], weights2, gains2)
        else:
            expected = reference.synthesise_block([first[n]], [weights1], [gain1])
        y, x = 8 * at[0], 8 * at[1]
        assert out[y : y + 8, x : x + 8].ravel().tolist() == expected


@given(SEEDS, st.integers(1, 3), st.integers(1, 11), st.sampled_from((20, 3000, 32768)), st.sampled_from((200, 4095)))
def test_synthesise_agrees_with_its_twin(seed, rows, columns, reach, gain):
    _synthesised_like_its_twin(np.random.default_rng(seed), rows, columns, reach, gain)


def test_synthesise_agrees_with_its_twin_when_there_are_more_first_latents_than_it_keeps():
    _synthesised_like_its_twin(np.random.default_rng(4), 75, 9, 32768, 4095)


@given(SEEDS, st.integers(1, 3), st.integers(1, 4), st.sampled_from((20, 3000, 32768)), st.sampled_from((200, 4095)))
def test_foretell_agrees_with_the_twins_of_prediction_and_synthesis(seed, rows, columns, reach, gain):
    rng = np.random.default_rng(seed)
    first = rng.integers(-reach, reach, rows * columns).astype(np.int16)
    matrix, weights = (
        rng.integers(-127, 128, (7, 8)).astype(np.int32),
        rng.integers(-128, 128, (8, 64)).astype(np.int32),
    )
    gains = rng.integers(0, gain + 1, 8)
    out = np.empty((8 * rows, 8 * columns), np.uint8)
    foretell(first, columns, matrix, weights, gains, out)
    for n in range(rows * columns):
        at = divmod(n, columns)
        rest = [reference.clamp16(p) for p in reference.prediction(first.reshape(rows, columns), *at, matrix)]
        y, x = 8 * at[0], 8 * at[1]
        ours = out[y : y + 8, x : x + 8].ravel().tolist()
        assert ours == reference.synthesise_block([first[n], *rest], weights, gains)


@given(SEEDS, st.integers(1, 9), st.integers(1, 9), st.sampled_from((0.0, 0.2, 0.8, 1.0)))
def test_pull_push_and_relax_agree_with_their_twins(seed, rows, columns, share):
    rng = np.random.default_rng(seed)
    value = rng.integers(-32768, 32768, (rows, columns)).astype(np.int32)
    known = (rng.random((rows, columns)) < share).astype(np.uint8)
    cells = [[int(v) if k else None for v, k in zip(*line, strict=True)] for line in zip(value, known, strict=True)]

    shape = (-(-rows // 2), -(-columns // 2))
    coarse, coarse_known = np.full(shape, 77, np.int32), np.full(shape, 77, np.uint8)
    pull(value, known, coarse, coarse_known)
    expected = reference.pull(cells)
    assert coarse.tolist() == [[v or 0 for v in line] for line in expected]
    assert coarse_known.tolist() == [[int(v is not None) for v in line] for line in expected]

    filled = value.copy()
    push(filled, known, coarse)
    assert filled.tolist() == reference.push(cells, coarse.tolist())

    relaxed = filled.copy()
    relax(relaxed, known, filled)
    assert relaxed.tolist() == reference.relax(filled.tolist(), cells)


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("log2", [1, 2, 3, 7])
def test_box_average_agrees_with_its_twin(name, log2):
    plane, side = PLANES[name], 1 << log2
    out = np.empty((-(-plane.shape[0] // side), -(-plane.shape[1] // side)), np.uint8)
    box_average(plane, 1, log2, out)
    expected = reference.box_average(plane.tolist(), side)
    assert out.tolist() == expected
    turned = plane[::-1, ::-1]
    colour, averages = np.stack([plane, turned, plane // 2], -1), np.empty((*out.shape, 3), np.uint8)
    box_average(colour.reshape(len(plane), -1), 3, log2, averages.reshape(len(out), -1))
    assert averages[..., 0].tolist() == expected
    assert averages[..., 1].tolist() == reference.box_average(turned.tolist(), side)


COLOURS = st.lists(st.tuples(*[st.integers(0, 255) | st.sampled_from((0, 255))] * 3), min_size=1, max_size=20)


def planes_of(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = rgb.shape[:2]
    y = np.empty((height, width), np.uint8)
    cb, cr = (np.empty(((height + 1) // 2, (width + 1) // 2), np.uint8) for _ in range(2))
    rgb_to_ycc420(rgb, COLOUR, y, cb, cr)
    return y, cb, cr


@given(COLOURS)
@example([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)])
def test_colour_agrees_with_its_twin(samples):
    rgb = np.array([samples], np.uint8).repeat(2, 0).repeat(2, 1)  # so that averaging changes nothing
    y, cb, cr = planes_of(rgb)
    luma = np.empty_like(y)
    rgb_to_luma(rgb, COLOUR, luma)
    assert np.array_equal(luma, y)
    assert list(zip(y[0, ::2].tolist(), cb[0].tolist(), cr[0].tolist(), strict=True)) == [
        reference.rgb_to_ycc(*s) for s in samples
    ]
    back = np.empty_like(rgb)
    ycc_to_rgb(rgb[..., 0], rgb[..., 1], rgb[..., 2], back)  # any three bytes, possible or not
    assert [tuple(s) for s in back[0, ::2].tolist()] == [reference.ycc_to_rgb(*s) for s in samples]


@pytest.mark.parametrize("height, width", [(1, 1), (2, 3), (3, 2), (5, 9), (2, 1025), (3, 1026)])
def test_chroma_is_averaged_as_the_twin_averages_it(height, width):
    rgb = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    full = np.array([[reference.rgb_to_ycc(*sample) for sample in line] for line in rgb.tolist()])
    y, cb, cr = planes_of(rgb)
    assert np.array_equal(y, full[..., 0])
    assert cb.tolist() == reference.box_average(full[..., 1].tolist(), 2)
    assert cr.tolist() == reference.box_average(full[..., 2].tolist(), 2)


def test_grey_has_no_colour_and_colour_comes_back_within_two():
    grey = np.arange(256, dtype=np.uint8)
    y, cb, cr = planes_of(np.stack([grey[None]] * 3, -1))
    assert np.array_equal(y[0], grey) and (cb == 128).all() and (cr == 128).all()
    rgb = np.random.default_rng(8).integers(0, 256, (9, 11, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    y, cb, cr = planes_of(rgb)
    back = np.empty_like(rgb)
    ycc_to_rgb(y, cb.repeat(2, 0).repeat(2, 1), cr.repeat(2, 0).repeat(2, 1), back)
    assert np.abs(back.astype(int) - rgb).max() <= 2


@given(SEEDS, st.integers(1, 4), st.integers(1, 12), st.booleans(), st.booleans())
def test_double_agrees_with_its_twin(seed, height, width, odd, extreme):
    rng = np.random.default_rng(seed)
    plane = (rng.choice((0, 255), (height, width)) if extreme else rng.integers(0, 256, (height, width))).astype(
        np.uint8
    )
    out = np.empty((2 * height - odd, 2 * width - odd), np.uint8)
    double(plane, ENLARGER, out)
    assert out.tolist() == reference.enlarge(plane.tolist(), *out.shape, 1)


def test_the_enlarger_is_that_of_the_format_and_keeps_flat_pictures():
    assert tuple(ENLARGER.tolist()) == reference.ENLARGER
    assert sum(reference.ENLARGER) == 256
    for value in (0, 1, 127, 255):
        out = np.empty((6, 9), np.uint8)
        double(np.full((3, 5), value, np.uint8), ENLARGER, out)
        assert (out == value).all()


@pytest.mark.parametrize("rows, columns, side", [(1, 1, 8), (3, 2, 8), (2, 5, 16)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_neighbour_aware_decoder_is_a_matrix_for_each_class_of_neighbourhood(rows, columns, side, share):
    rng = np.random.default_rng(rows * 10 + columns)
    blocks = rows * columns
    first, rest = rng.integers(-900, 900, blocks).astype(np.int16), np.zeros((blocks, 8), np.int16)
    group = (rng.random(blocks) < share).astype(np.uint8)
    rest[:, :7] = rng.integers(-90, 90, (blocks, 7)) * group[:, None]
    weights = rng.normal(0, 0.04, (8, 72, side * side)).astype(np.float32)
    out = np.empty((side * rows, side * columns), np.uint8)
    decode_neighbours(first, rest, group, columns, weights, side, out)
    for row in range(rows):
        for column in range(columns):
            places = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            near = [min(max(y, 0), rows - 1) * columns + min(max(x, 0), columns - 1) for y, x in places]
            around = int(group[near].sum()) - int(group[near[4]])
            kind = 4 * int(group[near[4]]) + sum(around >= least for least in (1, 3, 6))
            latents = np.concatenate([[first[n], *rest[n, :7]] for n in near]).astype(float)
            expected = np.clip(latents @ weights[kind] + 128, 0, 255).reshape(side, side)
            got = out[side * row : side * (row + 1), side * column : side * (column + 1)]
            assert np.abs(got - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 33), (2, 70), (5, 64)])
@pytest.mark.parametrize("interleave_log2", [0, 1, 2])
def test_what_is_parsed_is_placed_in_raster_order_where_it_improves(rows, columns, interleave_log2):
    rng = np.random.default_rng(columns)
    blocks, index = rows * columns, 7
    for number, phase in enumerate(phases(rows, columns, interleave_log2)):
        order = phase_order(rows, columns, interleave_log2, number)
        grid = raster_grid(columns, interleave_log2, phase)
        begin, end = len(order) // 5, len(order)
        q = rng.integers(-1031, 1032, (len(order), 8)).astype(np.int16)
        group, steps = rng.integers(0, 2, len(order)).astype(np.uint8), rng.integers(1, 300, 8).astype(np.int32)
        kept = rng.choice((7, 8, 255), blocks).astype(np.uint8) if columns % 2 else np.full(blocks, 255, np.uint8)
        first, rest = dirty(rng, blocks, dtype=np.int16), dirty(rng, blocks, 8, dtype=np.int16)
        groups = dirty(rng, blocks)
        expected = [first.tolist(), rest.tolist(), groups.tolist(), kept.tolist()]
        for n in range(begin, end):
            m = order[n]
            if kept[m] > index:
                latents = [reference.clamp16(int(v) * int(s)) for v, s in zip(q[n], (*steps[1:], 0), strict=True)]
                expected[0][m], expected[1][m] = reference.clamp16(int(q[n, 0]) * int(steps[0])), latents
                expected[2][m], expected[3][m] = int(group[n]), index
        kept_first = kept.copy()
        place_first(np.ascontiguousarray(q[:, 0]), begin, end, grid, steps[0], index, first, kept_first)
        place_rest(q, group, begin, end, grid, steps, index, rest, groups, kept)
        assert [first.tolist(), rest.tolist(), groups.tolist(), kept.tolist()] == expected
        assert np.array_equal(kept_first, kept)


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 33), (2, 70), (5, 64)])
@pytest.mark.parametrize("interleave_log2", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_what_is_coded_is_taken_in_phase_order(rows, columns, interleave_log2, dtype):
    values = np.random.default_rng(columns).integers(0, 200, rows * columns).astype(dtype)
    for number, phase in enumerate(phases(rows, columns, interleave_log2)):
        order = phase_order(rows, columns, interleave_log2, number)
        out = np.full(len(order) + 2, 77, dtype)
        gather(values, raster_grid(columns, interleave_log2, phase), out[:-2])
        assert out.tolist() == [*values[order].tolist(), 77, 77]
