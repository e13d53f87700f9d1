"""Budgets: never exceeded, well used, and impossible ones named."""

from __future__ import annotations

import numpy as np
import pytest

import onboard
from onboard.errors import BudgetError, InputError
from onboard.scan import scan
from tests.make_vectors import colour_scene, scene

NOISE = np.random.default_rng(4).integers(0, 256, (130, 171), np.uint8)
PICTURES = {"scene": scene(240, 352, 2), "colour": colour_scene(200, 288, 3), "noise": NOISE}


def spent_well(data: bytes, budget: int) -> bool:
    """What a budget promises. What is left may be too little for the header of one more packet."""
    return min(budget * (0.97 if budget >= 1000 else 0.9), budget - 32) <= len(data) <= budget


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("budget", [120, 333, 999, 2000])
@pytest.mark.parametrize("packet_size", [65535, 100])
def test_a_budget_is_never_exceeded_and_well_used(name: str, budget: int, packet_size: int) -> None:
    assert spent_well(onboard.compress(PICTURES[name], budget=budget, packet_size=packet_size), budget)


def drawing(height: int, width: int) -> np.ndarray:
    """Black strokes on white, as letters have."""
    y, x = np.mgrid[:height, :width]
    return np.where((y % 14 < 9) & ((x * 5 + y * 3) % 17 < 4) & (x * y % 5 > 1), 0, 255).astype(np.uint8)


ALL_RATES = {
    "photo": lambda: scene(96, 140, 2),
    "noise": lambda: np.random.default_rng(5).integers(0, 256, (64, 88), np.uint8),
    "soft noise": lambda: np.clip(np.random.default_rng(6).normal(128, 12, (96, 120)), 0, 255).astype(np.uint8),
    "flat": lambda: np.full((50, 70), 77, np.uint8),
    "drawing": lambda: drawing(90, 120),
    "tiny": lambda: scene(17, 20, 4),
    "colour": lambda: colour_scene(64, 90, 3),
    "large": lambda: np.tile(scene(520, 1100, 7), (1, 2)),
}


@pytest.mark.parametrize("name", ALL_RATES)
def test_budgets_are_used_from_the_smallest_preview_to_lossless(name: str) -> None:
    picture = ALL_RATES[name]()
    exact = len(onboard.compress(picture, lossless=True))
    last = np.inf
    for budget in np.geomspace(min(300, exact), exact, 3 if name == "large" else 7).astype(int):
        data = onboard.compress(picture, budget=int(budget), packet_size=65535 if budget % 2 else 400)
        layers = [s for p in scan(data)[0] for s in p.sections if s.layer > 1]
        finest = min((s.payload[1] for s in layers), default=2 * scan(data)[0][0].index) == 0
        assert spent_well(data, int(budget)) or (len(data) <= budget and finest)
        error = float(((onboard.decompress(data, enhance="linear").image - picture.astype(float)) ** 2).mean())
        assert error <= (1.05 if picture.size > 1000 else 1.2) * last  # a byte is much of a tiny picture
        last = error
    assert (onboard.decompress(onboard.compress(picture, budget=exact), enhance="linear").image == picture).all()


@pytest.mark.parametrize("name", ["photo", "drawing", "tiny"])
def test_a_refinement_uses_its_budget(name: str) -> None:
    picture = ALL_RATES[name]()
    sent = onboard.compress(picture, quality=20)
    for budget in (400, 1500, 3000):
        more = onboard.refine(picture, sent, budget=budget, packet_size=500)
        finest = min(s.payload[1] for p in scan(more)[0] for s in p.sections) == 0
        assert spent_well(more, budget) or (len(more) <= budget and finest)


@pytest.mark.parametrize("picture", [scene(96, 140, 2), colour_scene(64, 90, 3)], ids=["grey", "colour"])
def test_quality_goes_on_from_the_finest_preview_to_lossless(picture: np.ndarray) -> None:
    streams = [onboard.compress(picture, quality=q) for q in (100, 100.5, 120, 150, 180, 200)]
    errors = [float(((onboard.decompress(d).image - picture.astype(float)) ** 2).mean()) for d in streams]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_bits_per_pixel_are_a_budget_of_the_full_size_picture() -> None:
    picture = PICTURES["scene"]
    assert onboard.compress(picture, bpp=0.1) == onboard.compress(picture, budget=int(0.1 * picture.size / 8))


def test_the_default_is_a_tenth_of_a_bit_per_pixel() -> None:
    assert onboard.compress(PICTURES["scene"]) == onboard.compress(PICTURES["scene"], bpp=0.1)


@pytest.mark.parametrize("side", [1, 8, 20, 40])
def test_a_thumbnail_by_default_gets_what_the_smallest_stream_needs(side: int) -> None:
    picture = NOISE[:side, :side]
    assert len(onboard.compress(picture)) <= 64
    told = onboard.compress(picture, metadata="a camera with much to tell, in every packet")
    assert onboard.decompress(told).image.shape == picture.shape
    with pytest.raises(BudgetError):
        onboard.compress(picture, bpp=0.1)


def test_an_impossible_budget_names_the_smallest_stream() -> None:
    with pytest.raises(BudgetError) as caught:
        onboard.compress(NOISE, budget=10)
    smallest = caught.value.smallest
    assert str(smallest) in str(caught.value)
    assert len(onboard.compress(NOISE, budget=smallest)) <= smallest


def test_a_budget_above_the_finest_preview_is_spent_on_refinement() -> None:
    picture = scene(64, 64, 9)
    finest = onboard.compress(picture, quality=100)
    more = onboard.compress(picture, budget=4 * len(finest), scale=1)
    assert len(finest) < len(more) <= 4 * len(finest)
    error = [float(((onboard.decompress(d).image - picture.astype(float)) ** 2).mean()) for d in (finest, more)]
    assert error[1] < error[0] / 2


def test_neighbouring_qualities_of_a_photo_differ_by_at_most_eight_percent_in_size() -> None:
    picture = pytest.importorskip("skimage.data").camera()
    sizes = np.array([len(onboard.compress(picture, quality=q)) for q in np.arange(5, 100.5, 0.5)], float)
    assert (np.abs(np.diff(sizes)) / sizes[:-1]).max() <= 0.08


def test_a_small_budget_for_a_large_picture_picks_a_small_scale() -> None:
    picture = scene(1200, 1600, 5)
    data = onboard.compress(picture, budget=300)
    assert onboard.describe(data)["scale"] >= 4
    assert onboard.decompress(data).image.shape == picture.shape


@pytest.mark.parametrize("quality", [0, 0.5, 33.5, 62, 100])
def test_a_quality_is_kept_halves_included(quality: float) -> None:
    assert onboard.describe(onboard.compress(PICTURES["scene"], quality=quality))["quality"] == quality


def test_a_given_scale_is_kept() -> None:
    assert onboard.describe(onboard.compress(PICTURES["scene"], budget=1500, scale=2))["scale"] == 2
    assert onboard.describe(onboard.compress(PICTURES["scene"], quality=40))["scale"] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 100, "bpp": 0.1},
        {"budget": 0},
        {"bpp": 0.0},
        {"bpp": float("nan")},
        {"quality": 200.5},
        {"quality": 150, "scale": 2},
        {"quality": -1},
        {"quality": 50, "scale": "auto"},
        {"quality": 50, "scale": 3},
        {"interleave": 3},
        {"packet_size": 47},
        {"packet_size": -5},
        {"packet_size": 65536},
        {"image_id": 65536},
        {"source_id": "\u00e9"},
        {"metadata": "x" * 256},
        {"capture_time_ms": 1 << 63},
        {"curve": "log"},
    ],
)
def test_unusable_options_are_refused(options: dict) -> None:
    picture = PICTURES["scene"] if "curve" not in options else PICTURES["scene"].astype(np.uint16)
    with pytest.raises(InputError):
        onboard.compress(picture, **options)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((0, 5), np.uint8),
        np.zeros((5, 0), np.uint8),
        np.zeros((4, 4), np.float32),
        np.full((4, 4), np.nan),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((2, 3, 3, 3), np.uint8),
        np.zeros((1, 65536), np.uint8),
    ],
    ids=lambda p: f"{p.dtype}{p.shape}",
)
def test_arrays_that_are_not_pictures_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(InputError):
        onboard.compress(picture)
