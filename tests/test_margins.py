"""Bars and frames of no data: found where they end with blocks, and shown as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import onboard
from onboard.decoder import PlaneLatents
from onboard.ground.features import halved
from onboard.ground.margins import inside_margins
from onboard.ground.nets import NETS
from onboard.scan import scan
from onboard.wire import LAYER_FIRST, pack
from tests.pictures import texture


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def latents_of(plane: np.ndarray) -> PlaneLatents:
    """First latents of whole blocks, in group 1 where a block is of one tone."""
    rows, columns = (n // 8 for n in plane.shape)
    blocks = plane.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 64).astype(np.int32)
    first = (128 * (blocks.mean(1) - 128)).astype(np.int16)
    group = (blocks.min(1) != blocks.max(1)).astype(np.uint8)
    return PlaneLatents(rows, columns, first, np.zeros((len(first), 8), np.int16), group)


def found(plane: np.ndarray) -> tuple[int, int, int, int]:
    """Depths of the margins at the top, the bottom, the left and the right, in blocks."""
    latents = latents_of(plane)
    rows, columns = inside_margins(latents, np.ones(latents.rows * latents.columns, bool), lambda: plane)
    return rows.start, plane.shape[0] // 8 - rows.stop, columns.start, plane.shape[1] // 8 - columns.stop


@pytest.fixture
def bright() -> np.ndarray:
    """Nowhere near black or white."""
    return (texture(80, 120) // 2 + 60).astype(np.uint8)


@pytest.mark.parametrize("tone", [0, 3, 250, 255])
def test_margins_of_every_side_are_found(bright: np.ndarray, tone: int) -> None:
    framed = np.pad(bright, ((24, 8), (16, 40)), constant_values=tone)
    assert found(framed) == (3, 1, 2, 5)


def test_bars_may_be_of_different_tones(bright: np.ndarray) -> None:
    bars = np.concatenate([np.zeros((16, 120), np.uint8), bright, np.full((8, 120), 255, np.uint8)])
    assert found(bars) == (2, 1, 0, 0)


def test_a_small_picture_in_a_wide_frame_is_found_whichever_way_it_lies(bright: np.ndarray) -> None:
    framed = np.pad(bright, ((24, 8), (80, 80)))
    assert found(framed) == (3, 1, 10, 10)
    assert found(framed.T) == (10, 10, 3, 1)


def test_bars_across_bars_are_found_whichever_way_they_lie(bright: np.ndarray) -> None:
    across = np.pad(np.pad(bright, ((24, 8), (0, 0))), ((0, 0), (16, 16)), constant_values=255)
    assert found(across) == (3, 1, 2, 2)
    assert found(across.T) == (2, 2, 3, 1)


@pytest.mark.parametrize("tone", [30, 128, 235])
def test_a_tone_that_is_neither_black_nor_white_is_no_margin(bright: np.ndarray, tone: int) -> None:
    assert found(np.pad(bright, 16, constant_values=tone)) == (0, 0, 0, 0)


@pytest.mark.parametrize("offset", [3, 5, 6])
def test_a_frame_that_ends_within_blocks_is_none(bright: np.ndarray, offset: int) -> None:
    framed = np.pad(bright, 16, constant_values=0)
    assert found(framed[offset : offset + 104, offset : offset + 144])[0] == 0


@pytest.mark.parametrize("dark_rows", [4, 6])
def test_a_frame_that_ends_within_blocks_is_none_when_these_are_flat(dark_rows: int) -> None:
    tones = np.repeat([0, 0, 200 * (8 - dark_rows) // 8, 200, 200, 200], 8).astype(np.uint8)
    assert found(np.repeat(tones[:, None], 64, 1)) == (0, 0, 0, 0)


def test_blocks_without_detail_tell_nothing_of_where_a_frame_ends(bright: np.ndarray) -> None:
    plane = np.pad(bright, ((16, 0), (0, 0)))
    latents = latents_of(plane)
    detailed = np.ones((12, 15), bool)
    detailed[2, :8] = False
    assert inside_margins(latents, detailed.ravel(), lambda: plane)[0] == slice(0, 12)
    detailed[2, 1] = True
    assert inside_margins(latents, detailed.ravel(), lambda: plane)[0] == slice(2, 12)


def test_a_night_sky_that_grows_lighter_is_no_margin() -> None:
    sky = np.repeat((np.arange(80).clip(24) - 24)[:, None], 64, 1).astype(np.uint8)
    assert found(sky) == (0, 0, 0, 0)


def test_a_picture_of_one_tone_has_no_margins() -> None:
    assert found(np.zeros((40, 48), np.uint8)) == (0, 0, 0, 0)
    assert found(np.zeros((8, 8), np.uint8)) == (0, 0, 0, 0)


def test_the_plain_plane_is_asked_for_only_when_there_may_be_margins(bright: np.ndarray) -> None:
    def plain() -> np.ndarray:
        raise AssertionError("not needed")

    assert inside_margins(latents_of(bright), np.ones(150, bool), plain) == (slice(0, 10), slice(0, 15))


def test_chroma_of_a_margin_that_ends_within_its_blocks_is_inside() -> None:
    assert halved((slice(3, 9), slice(2, 8))) == (slice(1, 5), slice(1, 4))


def photograph(colour: bool, bars: int, tone: int) -> np.ndarray:
    """Tones from 64 to 191, reddish in colour, with bars at the top and on the right."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[:, 64:448] // 2 + 64
    astronaut[..., 0] += 64
    astronaut[..., 2] -= 64
    picture = np.ascontiguousarray(astronaut if colour else astronaut[..., 1])
    picture[:bars] = tone
    picture[:, -bars:] = tone
    return picture


DECODERS = pytest.mark.parametrize("enhance", ["linear", "small"])


def shown(data: bytes, enhance: str) -> np.ndarray:
    if enhance in NETS:
        pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install '.[ground]'")
    return onboard.decompress(data, enhance=enhance).image.astype(int)


@DECODERS
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("colour", [False, True])
def test_no_data_is_shown_as_one_tone_up_to_its_end(enhance: str, scale: int, colour: bool) -> None:
    bars = 64 if scale < 4 or not colour else 128
    picture = photograph(colour, bars, 0)
    data = onboard.compress(picture, quality=15, scale=scale)
    made, plain = shown(data, enhance), shown(data, "plain")
    assert made[:bars].max() <= 8
    assert made[:, -bars:].max() <= 8
    assert psnr(made, picture) > psnr(plain, picture)


@DECODERS
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("colour", [False, True])
def test_the_tone_of_bars_does_not_matter_to_the_picture_beside_them(enhance: str, scale: int, colour: bool) -> None:
    bars = 48  # three blocks, in chroma one and a half
    black, white = (
        shown(onboard.compress(photograph(colour, bars, tone), quality=50, scale=scale), enhance) for tone in (0, 255)
    )
    beside = np.abs(black - white)[bars : bars + 2 * scale, : -bars - 2 * scale]
    assert beside.mean() < 6  # 15 to 19 were the bars seen


@DECODERS
def test_a_frame_that_may_end_within_blocks_is_left_to_the_decoders(enhance: str) -> None:
    picture = photograph(False, 132, 0)
    packets = scan(onboard.compress(picture, quality=50))[0]
    layer_0 = (replace(p, sections=tuple(s for s in p.sections if s.layer == LAYER_FIRST)) for p in packets)
    first = b"".join(pack(p) for p in layer_0)
    assert psnr(shown(first, enhance), picture) > psnr(shown(first, "plain"), picture) + 0.3
