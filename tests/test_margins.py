"""Bars and frames of no data: found where they end with blocks, and shown as they are."""

from __future__ import annotations

import numpy as np
import pytest

import onboard
from onboard.decoder import PlaneLatents
from onboard.ground.features import halved
from onboard.ground.margins import within_margins
from onboard.ground.nets import NETS
from tests.pictures import texture


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def latents_of(plane: np.ndarray) -> PlaneLatents:
    """First latents of whole blocks, group 2 where a block is not of one tone."""
    rows, columns = (n // 8 for n in plane.shape)
    blocks = plane.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 64).astype(np.int32)
    first = (128 * (blocks.mean(1) - 128)).astype(np.int16)
    group = (blocks.min(1) != blocks.max(1)).astype(np.uint8)
    return PlaneLatents(rows, columns, first, np.zeros((len(first), 8), np.int16), group)


def found(plane: np.ndarray) -> tuple[int, int, int, int]:
    """Depths of the margins at the top, the bottom, the left and the right, in blocks."""
    rows, columns = within_margins(latents_of(plane), lambda: plane)
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


@pytest.mark.parametrize("tone", [30, 128, 235])
def test_a_tone_that_is_neither_black_nor_white_is_no_margin(bright: np.ndarray, tone: int) -> None:
    assert found(np.pad(bright, 16, constant_values=tone)) == (0, 0, 0, 0)


@pytest.mark.parametrize("offset", [3, 5, 6])
def test_a_frame_that_ends_within_blocks_is_none(bright: np.ndarray, offset: int) -> None:
    framed = np.pad(bright, 16, constant_values=0)
    assert found(framed[offset : offset + 104, offset : offset + 144])[0] == 0


def test_a_night_sky_that_grows_lighter_is_no_margin() -> None:
    sky = np.repeat((np.arange(80).clip(24) - 24)[:, None], 64, 1).astype(np.uint8)
    assert found(sky) == (0, 0, 0, 0)


def test_a_picture_of_one_tone_has_no_margins() -> None:
    assert found(np.zeros((40, 48), np.uint8)) == (0, 0, 0, 0)
    assert found(np.zeros((8, 8), np.uint8)) == (0, 0, 0, 0)


def test_the_plain_plane_is_asked_for_only_when_there_may_be_margins(bright: np.ndarray) -> None:
    def plain() -> np.ndarray:
        raise AssertionError("not needed")

    assert within_margins(latents_of(bright), plain) == (slice(0, 10), slice(0, 15))


def test_chroma_of_a_margin_that_ends_within_its_blocks_is_inside() -> None:
    assert halved((slice(3, 9), slice(2, 8))) == (slice(1, 5), slice(1, 4))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("enhance", ["linear", "small"])
@pytest.mark.parametrize("colour", [False, True])
def test_no_data_is_shown_as_plainly_as_it_was_coded(enhance: str, scale: int, colour: bool) -> None:
    if enhance in NETS:
        pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install '.[ground]'")
    photograph = pytest.importorskip("skimage.data").astronaut()[:, 64:448] // 2 + 80
    picture = np.ascontiguousarray(photograph if colour else photograph[..., 1])
    picture[:128] = 0
    picture[:, -64:] = 0
    data = onboard.compress(picture, quality=15, scale=scale)
    plain, better = (onboard.decompress(data, enhance=e).image for e in ("plain", enhance))
    reach = 8 * scale if scale > 1 or colour else 0  # of what enlarges what was coded smaller
    assert np.array_equal(plain[: 128 - reach], better[: 128 - reach])
    assert np.array_equal(plain[:, reach - 64 :], better[:, reach - 64 :])
    assert psnr(better, picture) > psnr(plain, picture)
