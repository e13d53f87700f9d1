"""Colour at the depth of the source: kernels against their twins, and streams between a preview and lossless."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onboard
from onboard.depth import colour_picture, colour_planes, to_depth
from onboard.kernels.enlarge import double_deep
from onboard.layer_header import unpack_header
from onboard.planes import ENLARGER
from onboard.scan import scan
from onboard.wire import LAYER_FIRST, LAYER_REST, Curve, Window, pack
from tests import reference as base_twin
from tests import reference_layers as twin
from tests.pictures import deep_colourful, noise

SEEDS = st.integers(0, 2**32 - 1)
DEPTHS = st.sampled_from((9, 12, 16))


def mean_square(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


def samples(seed: int, shape: tuple[int, ...], depth: int, extreme: bool) -> np.ndarray:
    """Any samples, or black and white ones only."""
    rng, top = np.random.default_rng(seed), (1 << depth) - 1
    return (rng.choice((0, top), shape) if extreme else rng.integers(0, top + 1, shape)).astype(np.uint16)


@pytest.mark.kernel
@given(SEEDS, DEPTHS, st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_deep_colour_becomes_the_planes_of_the_twin(
    seed: int, depth: int, height: int, width: int, extreme: bool
) -> None:
    rgb = samples(seed, (height, width, 3), depth, extreme)
    y, cb, cr = colour_planes(rgb, depth)
    full = np.array([[base_twin.rgb_to_ycc(*map(int, pixel), depth) for pixel in row] for row in rgb])
    assert full.min() >= 0 and full.max() < 1 << depth
    assert (y == full[..., 0]).all()
    for plane, channel in ((cb, full[..., 1]), (cr, full[..., 2])):
        assert plane.tolist() == base_twin.box_average(channel.tolist(), 2)


@pytest.mark.kernel
@given(SEEDS, DEPTHS, st.booleans())
def test_deep_planes_become_the_colour_of_the_twin(seed: int, depth: int, extreme: bool) -> None:
    planes = samples(seed, (3, 4, 5), depth, extreme)
    rgb = colour_picture(list(planes), depth)
    expected = [[base_twin.ycc_to_rgb(*map(int, planes[:, y, x]), depth) for x in range(5)] for y in range(4)]
    assert rgb.tolist() == [[list(pixel) for pixel in row] for row in expected]


@pytest.mark.kernel
@given(SEEDS, DEPTHS, st.integers(1, 4), st.integers(1, 9), st.booleans(), st.booleans())
def test_deep_planes_are_doubled_as_the_twin_doubles_them(
    seed: int, depth: int, height: int, width: int, odd: bool, extreme: bool
) -> None:
    plane = samples(seed, (height, width), depth, extreme)
    out = np.empty((2 * height - odd, 2 * width - odd), np.uint16)
    double_deep(plane, ENLARGER, (1 << depth) - 1, out)
    assert out.tolist() == base_twin.enlarge(plane.tolist(), *out.shape, 1, (1 << depth) - 1)


@pytest.mark.parametrize("depth", [9, 12, 16])
def test_grey_has_no_colour_and_comes_back_exactly(depth: int) -> None:
    grey = np.linspace(0, (1 << depth) - 1, 300).astype(np.uint16).reshape(10, 30)
    y, cb, cr = colour_planes(np.stack([grey] * 3, -1), depth)
    assert (y == grey).all() and (cb == 1 << (depth - 1)).all() and (cr == cb).all()
    flat = np.full_like(grey, 1 << (depth - 1))
    assert (colour_picture([y, flat, flat], depth) == grey[..., None]).all()


@pytest.mark.parametrize("curve", Curve)
@pytest.mark.parametrize("no_data", [False, True])
@pytest.mark.parametrize("limits", [(9, 0, 511), (12, 120, 3900), (16, 0, 65535), (16, 7, 8)])
def test_a_base_is_brought_to_depth_as_the_twin_does(curve: Curve, no_data: bool, limits: tuple[int, int, int]) -> None:
    window = Window(limits[0], curve, no_data, *limits[1:])
    luma = [base_twin.window_inverse(v, curve, no_data, *limits[1:]) for v in range(256)]
    chroma = [base_twin.chroma_to_depth(v, limits[0], no_data, *limits[1:]) for v in range(256)]
    assert to_depth(window, 0).tolist() == luma
    assert to_depth(window, 1).tolist() == to_depth(window, 2).tolist() == chroma
    assert chroma[128] == 1 << (limits[0] - 1)


def test_a_refined_deep_picture_is_what_the_format_says() -> None:
    picture = deep_colourful(27, 38)
    base = onboard.compress(picture, quality=50, curve="sqrt")
    more = onboard.refine(picture, base, bpp=5)
    window = scan(base)[0][0].description.window
    assert window is not None
    depth, top = window.depth, (1 << window.depth) - 1
    planes = []
    for plane, pixels in enumerate(base_twin.decode_plain([base])):
        table = to_depth(window, plane).tolist()
        planes.append([[table[v] for v in row] for row in np.asarray(pixels).tolist()])
    for section in base_twin.read_packet(more).sections:
        header, payload = unpack_header(section.payload, section.layer, 6)
        rows, columns = ((4, 5), (2, 3), (2, 3))[section.plane]
        blocks = twin.parse_refinement(
            payload, rows, columns, section.first, twin.shipped_tables()[0][header.table_set]
        )
        assert blocks is not None and header.reference == 1
        into = planes[section.plane]
        for n, q in enumerate(blocks, section.first):
            left = twin.residual(q, twin.layer_step(header.step), depth)
            for y in range(8 * (n // columns), min(8 * (n // columns) + 8, len(into))):
                for x in range(8 * (n % columns), min(8 * (n % columns) + 8, len(into[0]))):
                    into[y][x] = min(max(into[y][x] + left[y % 8][x % 8], 0), top)
    planes[1:] = [base_twin.enlarge(p, 27, 38, 1, top) for p in planes[1:]]
    expected = [
        [base_twin.ycc_to_rgb(planes[0][y][x], planes[1][y][x], planes[2][y][x], depth) for x in range(38)]
        for y in range(27)
    ]
    decoded = onboard.decompress(base + more, enhance="plain")
    assert (decoded.mask == 3).all()
    assert decoded.image.tolist() == [[list(pixel) for pixel in row] for row in expected]


@pytest.mark.parametrize("curve", ["linear", "sqrt"])
def test_budgets_between_preview_and_lossless_are_used_and_make_better_pictures(curve: str) -> None:
    picture = deep_colourful(120, 170)
    errors = []
    for bpp in (0.5, 1.0, 2.0, 4.0):
        budget = int(bpp * 120 * 170 / 8)
        data = onboard.compress(picture, budget=budget, curve=curve)  # type: ignore[arg-type]
        assert 0.97 * budget <= len(data) <= budget
        errors.append(mean_square(picture, onboard.decompress(data).image))
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 3  # half-size chroma bounds it


def test_sixteen_bits_have_steps_coarse_enough_for_low_rates() -> None:
    picture = deep_colourful(120, 170) << 4
    budget = int(0.4 * 120 * 170 / 8)
    data = onboard.compress(picture, budget=budget)
    assert (onboard.decompress(data).mask == 3).all()
    preview = onboard.compress(picture, bpp=0.2)
    more = onboard.refine(picture, preview, budget=500)
    assert 0.9 * 500 <= len(more) <= 500


@pytest.mark.parametrize("gray", [False, True])
def test_qualities_above_a_preview_grow_in_size_and_never_beyond_lossless(gray: bool) -> None:
    picture = deep_colourful(80, 90)
    picture += np.random.default_rng(3).integers(0, 60, picture.shape, dtype=np.uint16)
    lossless = onboard.compress(picture, lossless=True, gray=gray)
    made = [onboard.compress(picture, quality=q, gray=gray) for q in (101, 130, 160, 199)]
    sizes = [len(data) for data in made]
    assert sizes == sorted(sizes) and sizes[-1] <= len(lossless)
    target = colour_planes(picture, 12)[0] if gray else picture
    errors = [mean_square(target, onboard.decompress(data).image) for data in (*made, lossless)]
    assert errors == sorted(errors, reverse=True) and errors[-1] == 0


def test_a_preview_at_quality_100_is_not_far_from_the_next_quality() -> None:
    picture = deep_colourful(120, 170)[..., 0]
    sizes = [len(onboard.compress(picture, quality=q)) for q in (100, 101)]
    assert sizes[1] < 2 * sizes[0]


def test_luma_is_refined_without_the_chroma_of_its_base() -> None:
    picture = deep_colourful(64, 90)
    base = onboard.compress(picture, quality=50, packet_size=60)
    more = onboard.refine(picture, base, bpp=3)
    luma_only = [pack(replace(p, sections=tuple(s for s in p.sections if s.plane == 0))) for p in scan(base)[0]]
    some = onboard.decompress([*luma_only, more], enhance="plain")
    assert 0 < some.report["layers"]["unused_sections"] < sum(some.report["layers"]["sections_by_layer"].values())
    both = onboard.decompress(base + more, enhance="plain")
    ours, theirs = (colour_planes(p.image, 12)[0].astype(int) for p in (some, both))
    assert np.abs(ours - theirs).mean() < 0.02 * ours.mean()  # but for colours that are clipped


def test_the_order_of_packets_does_not_matter() -> None:
    picture = deep_colourful(64, 90)
    data = onboard.compress(picture, bpp=3, packet_size=200, interleave=4)
    packets = [pack(p) for p in scan(data)[0]]
    first = onboard.decompress(packets)
    assert (first.mask == 3).all()
    np.random.default_rng(5).shuffle(packets)  # type: ignore[arg-type]
    again = onboard.decompress(packets + packets[:3])
    assert (again.image == first.image).all()


def test_refinements_of_deep_colour_go_on_where_the_last_one_stopped() -> None:
    picture = deep_colourful(64, 96)
    sent = onboard.compress(picture, quality=30)
    errors = [mean_square(picture, onboard.decompress(sent).image)]
    for regions in ([(16, 16, 40, 30)], []):
        sent += onboard.refine(picture, sent, bpp=3, regions=regions)
        errors.append(mean_square(picture, onboard.decompress(sent).image))
    assert errors == sorted(errors, reverse=True)
    assert set(np.unique(onboard.decompress(sent).mask)) == {3, 4}
    sent += onboard.refine(picture, sent, lossless=True)
    assert (onboard.decompress(sent).image == picture).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (9, 7), (17, 33)])
def test_any_size_of_deep_colour_is_refined(shape: tuple[int, int]) -> None:
    picture = np.stack([noise(*shape, seed).astype(np.uint16) << 8 for seed in range(3)], -1)
    base = onboard.compress(picture, quality=40, scale=2)
    decoded = onboard.decompress(base + onboard.refine(picture, base, bpp=1000))
    assert (decoded.mask == 3).all()
    y = [colour_planes(p, 16)[0].astype(int) for p in (picture, decoded.image)]
    assert shape == (1, 1) or np.abs(y[0] - y[1]).mean() < 3000  # colours that half-size chroma cannot hold are clipped


def test_damaged_refinements_of_deep_colour_are_counted_and_never_crash() -> None:
    picture = deep_colourful(40, 50)
    base = onboard.compress(picture, quality=40)
    more = scan(onboard.refine(picture, base, bpp=3))[0][0]
    rng = np.random.default_rng(7)
    bad = 0
    for _ in range(60):
        sections = list(more.sections)
        i = int(rng.integers(len(sections)))
        payload = bytearray(sections[i].payload)
        for _ in range(int(rng.integers(1, 4))):
            payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        sections[i] = replace(sections[i], payload=bytes(payload))
        packet = replace(more, sections=tuple(sections))
        decoded = onboard.decompress(base + pack(packet), enhance="plain")
        bad += decoded.report["packets"]["bad_sections"]
        assert decoded.image.shape == picture.shape and decoded.image.max() < 1 << 12
    assert bad > 10


def test_the_layers_of_deep_colour_are_two_to_fourteen_like_any_others() -> None:
    data = onboard.compress(deep_colourful(64, 64), bpp=3)
    layers = {s.layer for p in scan(data)[0] for s in p.sections}
    assert layers == {LAYER_FIRST, LAYER_REST, 2}
