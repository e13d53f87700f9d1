"""Pictures to planes and back: order of blocks, windows, strips, sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard import planes
from onboard.errors import InputError
from onboard.wire import Colour, Curve, Description, Window
from tests import pictures, reference

SIZES = [(1, 1), (1, 300), (270, 1), (7, 9), (64, 64), (65, 127), (129, 257)]


def describe(height: int, width: int, scale_log2: int = 0, colour: Colour = Colour.GREY, window: Window | None = None):
    return Description(1, 2, 3, width, height, scale_log2, 0, colour, window)


def stitched(picture: np.ndarray, description: Description) -> list[np.ndarray]:
    """Planes from strips; every strip must begin where the one above it ended."""
    found: list[list[np.ndarray]] = [[] for _ in range(planes.plane_count(description.colour))]
    for plane, row, strip in planes.strips(picture, description):
        assert 8 * row == sum(part.shape[0] for part in found[plane])
        found[plane].append(strip)
    return [np.concatenate(parts) for parts in found]


# --- geometry -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 80), st.integers(0, 2))
def test_phases_are_ordered_as_the_twin_orders_them_and_share_out_all_blocks(rows, columns, interleave_log2):
    grids = planes.phases(rows, columns, interleave_log2)
    assert len(grids) == 1 << interleave_log2
    everything = []
    for phase, grid in enumerate(grids):
        order = planes.phase_order(rows, columns, interleave_log2, phase)
        assert order.tolist() == reference.phase_order(rows, columns, interleave_log2, phase)
        assert (grid.rows, grid.columns) == reference.phase_grid(rows, columns, interleave_log2, phase)
        assert order.dtype == np.int32 and len(order) == grid.rows * grid.columns
        everything += order.tolist()
    assert sorted(everything) == list(range(rows * columns))


def test_the_order_of_blocks_runs_down_stripes_of_32():
    order = planes.phase_order(2, 40, 0, 0).tolist()
    assert order == [*range(32), *range(40, 72), *range(32, 40), *range(72, 80)]
    assert planes.phase_order(3, 5, 2, 2).tolist() == [5, 7, 9]  # odd rows, even columns
    assert planes.phase_order(3, 5, 1, 1).tolist() == [1, 3, 6, 8, 11, 13]
    with pytest.raises(ValueError, match="read-only"):
        planes.phase_order(2, 40, 0, 0)[0] = 1


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("scale_log2", [0, 1, 3, 7])
def test_planes_and_grids_are_rounded_up(height, width, scale_log2):
    d = describe(height, width, scale_log2, Colour.YCBCR420)
    for plane, side in ((0, 1 << scale_log2), (1, 2 << scale_log2), (2, 2 << scale_log2)):
        expected = reference.ceil_div(height, side), reference.ceil_div(width, side)
        assert planes.plane_shape(d, plane) == expected
        assert planes.block_grid(d, plane) == tuple(reference.ceil_div(n, 8) for n in expected)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.int16),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((65536, 1), np.uint8),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(InputError, match="must be"):
        planes.check_picture(picture)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 3), (65535, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_a_picture_is_accepted(shape, dtype):
    planes.check_picture(np.zeros(shape, dtype))


# --- windows --------------------------------------------------------------------------------------------------------


@st.composite
def windows(draw) -> Window:
    depth = draw(st.integers(9, 16))
    low, high = sorted(draw(st.lists(st.integers(0, (1 << depth) - 1), min_size=2, max_size=2, unique=True)))
    return Window(depth, draw(st.sampled_from(Curve)), draw(st.booleans()), low, high)


@given(windows())
def test_the_inverse_of_a_window_is_the_twins(window):
    inverse = planes.window_inverse(window)
    assert inverse.dtype == np.uint16
    assert inverse.tolist() == [
        reference.window_inverse(v, window.curve, window.no_data, window.low, window.high) for v in range(256)
    ]


@given(windows())
def test_a_window_darkens_nothing_as_samples_grow_and_uses_the_whole_range(window):
    table = planes.window_table(window)
    assert table.dtype == np.uint8 and table.shape == (65536,)
    samples = table[1:].astype(int) if window.no_data else table.astype(int)
    assert (np.diff(samples) >= 0).all()
    floor = planes.VALID_FROM if window.no_data else 0
    assert (samples[: max(window.low - 1, 0)] == floor).all() and (table[window.high :] == 255).all()
    assert table[window.low] == (floor if window.low else 0)


@given(windows())
def test_plane_values_survive_a_window_that_has_room_for_them(window):
    """Value -> sample -> value: exact wherever neighbouring values have samples of their own."""
    table, inverse = planes.window_table(window).astype(int), planes.window_inverse(window).astype(int)
    first = planes.VALID_FROM if window.no_data else 0
    for value in range(first, 256):
        apart = [abs(inverse[value] - inverse[v]) for v in (value - 1, value + 1) if first <= v <= 255]
        if min(apart) > 1 and not (window.no_data and inverse[value] == 0):
            assert abs(table[inverse[value]] - value) <= (1 if window.curve else 0)


@pytest.mark.parametrize("curve", Curve)
def test_no_data_stays_no_data_and_valid_samples_stay_valid(curve):
    window = Window(12, curve, True, 300, 3900)
    table, inverse = planes.window_table(window), planes.window_inverse(window)
    assert table[0] == 0 and table[1:].min() == planes.VALID_FROM
    assert (inverse[: planes.NO_DATA_LEVEL] == 0).all() and inverse[planes.NO_DATA_LEVEL :].min() == 300
    assert inverse[255] == 3900


def test_the_square_root_gives_dark_samples_more_values():
    linear, root = (planes.window_table(Window(12, curve, False, 0, 4000)) for curve in (Curve.LINEAR, Curve.SQRT))
    assert (linear[1000], root[1000]) == (64, 128)


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("no_data", [False, True])
def test_a_window_is_found_for_any_picture(curve, no_data):
    for value in (0, 1, 5, 255, 256, 4095, 65534, 65535):
        window = planes.choose_window(np.full((5, 7), value, np.uint16), curve, no_data)
        assert (window.curve, window.no_data) == (curve, no_data)
        assert window.low <= value <= window.high or (no_data and value == 0)
    window = planes.choose_window(pictures.deep(40, 60), curve, no_data)
    assert window.depth == 12
    assert (window.low >= 300) == no_data
    assert 3700 <= window.high <= 3800


def test_a_window_leaves_out_stray_samples():
    picture = np.tile(np.arange(1000, 2000, dtype=np.uint16), (20, 1))
    picture[3, 5], picture[4, 5] = 65535, 1
    window = planes.choose_window(picture, Curve.LINEAR, False)
    assert 1000 <= window.low <= 1002 and 1997 <= window.high <= 1999 and window.depth == 16


# --- strips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("scale_log2", [0, 1, 2, 7])
def test_strips_of_a_grey_picture_make_the_plane_of_the_whole(height, width, scale_log2):
    picture = pictures.texture(height, width)
    [plane] = stitched(picture, describe(height, width, scale_log2))
    assert plane.tolist() == reference.box_average(picture.tolist(), 1 << scale_log2)


@pytest.mark.parametrize("height, width", [(1, 1), (5, 18), (67, 33), (131, 20), (270, 3)])
@pytest.mark.parametrize("scale_log2", [0, 1])
def test_strips_of_a_colour_picture_make_the_planes_of_the_whole(height, width, scale_log2):
    picture = pictures.colourful(height, width)
    channels = [reference.box_average(picture[..., c].tolist(), 1 << scale_log2) for c in range(3)]
    full = [
        [reference.rgb_to_ycc(*sample) for sample in zip(*lines, strict=True)] for lines in zip(*channels, strict=True)
    ]
    y, cb, cr = ([[sample[c] for sample in line] for line in full] for c in range(3))
    found = stitched(picture, describe(height, width, scale_log2, Colour.YCBCR420))
    assert found[0].tolist() == y
    assert [p.tolist() for p in found[1:]] == [reference.box_average(cb, 2), reference.box_average(cr, 2)]
    [luma] = stitched(picture, describe(height, width, scale_log2))
    assert luma.tolist() == y


@pytest.mark.parametrize("scale_log2", [0, 1, 3])
@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("no_data", [False, True])
def test_strips_of_a_deep_picture_go_through_the_window_first(scale_log2, curve, no_data):
    picture = pictures.deep(150, 41)
    window = planes.choose_window(picture, curve, no_data)
    [plane] = stitched(picture, describe(150, 41, scale_log2, window=window))
    assert plane.tolist() == reference.box_average(planes.window_table(window)[picture].tolist(), 1 << scale_log2)


def test_strips_of_a_large_scale_take_no_more_of_the_picture_than_they_need():
    picture = np.zeros((20000, 3), np.uint8)
    heights = [strip.shape[0] for _, _, strip in planes.strips(picture, describe(20000, 3, 5))]
    assert sum(heights) == 625 and max(heights) <= 2 * planes.STRIP_ROWS


@pytest.mark.parametrize("scale_log2", [0, 2])
def test_strips_of_a_view_a_memory_map_and_a_copy_are_equal(scale_log2, tmp_path):
    whole = pictures.texture(150, 90)
    view = whole[::-1, 7:60:2]
    copy = np.ascontiguousarray(view)
    (tmp_path / "raw").write_bytes(copy.tobytes())
    mapped = np.memmap(tmp_path / "raw", np.uint8, "r", shape=copy.shape)
    d = describe(*copy.shape, scale_log2)
    expected = stitched(copy, d)[0]
    for other in (view, mapped, np.asfortranarray(copy)):
        assert np.array_equal(stitched(other, d)[0], expected)


# --- back to full size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height, width", [(1, 1), (2, 3), (17, 30), (33, 20)])
@pytest.mark.parametrize("log2", [0, 1, 2, 4, 7])
def test_a_plane_is_enlarged_as_the_twin_enlarges_it(height, width, log2):
    d = describe(height, width)
    plane = pictures.noise(*planes.shape_at(d, log2))
    full = planes.enlarge(plane, d, log2)
    assert full.dtype == np.uint8 and full.shape == (height, width)
    assert full.tolist() == list(reference.enlarge(plane.tolist(), height, width, log2))
    half_way = planes.enlarge(plane, d, log2, log2 // 2)
    assert half_way.shape == planes.shape_at(d, log2 // 2)
    assert np.array_equal(planes.enlarge(half_way, d, log2 // 2), full)


@pytest.mark.parametrize("value", [0, 3, 128, 255])
def test_a_flat_plane_stays_flat(value):
    d = describe(133, 71)
    assert (planes.enlarge(np.full((2, 1), value, np.uint8), d, 7) == value).all()


def test_grey_planes_are_assembled_as_they_are():
    plane = pictures.texture(9, 11)
    assert np.array_equal(planes.assemble([plane], describe(9, 11)), plane)


def test_colour_planes_are_assembled_as_the_twin_does():
    y, cb, cr = pictures.texture(9, 11), pictures.gradient(9, 11), pictures.noise(9, 11)
    picture = planes.assemble([y, cb, cr], describe(9, 11, colour=Colour.YCBCR420))
    assert picture.shape == (9, 11, 3) and picture.dtype == np.uint8
    samples = zip(y.ravel().tolist(), cb.ravel().tolist(), cr.ravel().tolist(), strict=True)
    assert picture.reshape(-1, 3).tolist() == [list(reference.ycc_to_rgb(*s)) for s in samples]


def test_a_window_brings_back_the_depth():
    window = Window(12, Curve.SQRT, True, 300, 3900)
    plane = pictures.noise(9, 11)
    picture = planes.assemble([plane], describe(9, 11, window=window))
    assert picture.dtype == np.uint16
    assert np.array_equal(picture, planes.window_inverse(window)[plane])
    colour = planes.assemble([plane] * 3, replace(describe(9, 11, window=window), colour=Colour.YCBCR420))
    assert colour.dtype == np.uint16 and colour.shape == (9, 11, 3)


def test_enlarging_and_averaging_keep_the_brightness():
    picture = pictures.gradient(96, 80)
    for log2 in (1, 2, 3):
        d = describe(96, 80, log2)
        back = planes.enlarge(stitched(picture, d)[0], d, log2).astype(int)
        assert abs(back.mean() - picture.mean()) < 1
        assert np.abs(back - picture).mean() < 2 << log2
