"""Benchmark arithmetic: picture quality and the comparison of rate-distortion curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import metrics

RATES = (0.03, 0.05, 0.08, 0.12, 0.2, 0.31)


def _curve(factor: float = 1.0, offset: float = 0.0, rates: tuple[float, ...] = RATES) -> list[metrics.Point]:
    """PSNR is a smooth concave function of log rate; `factor` makes each file larger, `offset` each picture better."""
    return [
        {"bpp": factor * r, "psnr": 40 + 4 * math.log(r) - 0.3 * math.log(r) ** 2 + offset, "ssim": 0.5 + r}
        for r in rates
    ]


@pytest.fixture(scope="module")
def noisy() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:181, :203]
    smooth = 120 + 60 * np.sin(x / 17) + 40 * np.cos(y / 11)
    original = np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
    decoded = np.clip(original + rng.normal(0, 9, smooth.shape), 0, 255).astype(np.uint8)
    return original, decoded


def test_psnr_of_a_known_error():
    black = np.zeros((16, 24), np.uint8)
    assert metrics.psnr(black, black + 5) == pytest.approx(10 * math.log10(255**2 / 25))
    assert metrics.psnr(black + 5, black) == metrics.psnr(black, black + 5)
    assert metrics.psnr(black, black) == math.inf
    with pytest.raises(ValueError, match="shape"):
        metrics.psnr(black, black.T)


def test_luma_weights_sum_to_one_and_round():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(metrics.luma(np.stack([grey] * 3, axis=-1)), grey)
    assert metrics.luma(grey) is grey
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert metrics.luma(primaries).tolist() == [[76, 150, 29]]


def test_ssim_is_that_of_scikit_image(noisy):
    other = pytest.importorskip("skimage.metrics")
    expected = other.structural_similarity(
        *noisy, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert metrics.ssim(*noisy) == pytest.approx(expected, abs=1e-9)


def test_similarity_is_one_for_equal_pictures_and_falls_with_noise(noisy):
    original, decoded = noisy
    assert metrics.ssim_and_ms_ssim(original, original) == pytest.approx((1.0, 1.0))
    similarity, multi = metrics.ssim_and_ms_ssim(original, decoded)
    assert 0 < similarity < multi < 1
    assert similarity == metrics.ssim(original, decoded)
    assert multi == metrics.ms_ssim(original, decoded)


def test_ms_ssim_needs_176_pixels(noisy):
    original, decoded = (picture[:175] for picture in noisy)
    assert math.isnan(metrics.ms_ssim(original, decoded))
    assert metrics.ssim(original, decoded) < 1


@pytest.mark.parametrize("count", [2, 3, 9])
def test_pchip_is_that_of_scipy(count):
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(count)
    x, y = np.cumsum(rng.uniform(0.1, 2, count)), rng.normal(0, 1, count)
    expected, mine = interpolate.PchipInterpolator(x, y), metrics.Pchip(x, y)
    inside = np.linspace(x[0], x[-1], 97)
    assert mine(inside) == pytest.approx(expected(inside), abs=1e-12)
    start, end = inside[5], inside[80]
    assert mine.mean(start, end) == pytest.approx(expected.integrate(start, end) / (end - start), abs=1e-12)


def test_bd_of_a_curve_against_itself_is_nothing():
    assert metrics.bd_rate(_curve(), _curve()) == pytest.approx(0, abs=1e-9)
    assert metrics.bd_psnr(_curve(), _curve()) == pytest.approx(0, abs=1e-9)
    assert metrics.bd_cover(_curve(), _curve()) == pytest.approx(1)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 2.0])
@pytest.mark.parametrize("interval", [(0, math.inf), (0.05, 0.2), (0.06, 0.07)])
def test_bd_rate_of_a_constant_factor_is_that_factor(factor, interval):
    assert metrics.bd_rate(_curve(factor), _curve(), *interval) == pytest.approx(100 * (factor - 1), abs=1e-6)


@pytest.mark.parametrize("offset", [-1.0, 0.25])
def test_bd_psnr_of_a_constant_offset_is_that_offset(offset):
    assert metrics.bd_psnr(_curve(offset=offset), _curve(), 0.05, 0.2) == pytest.approx(offset, abs=1e-6)


def test_bd_rate_depends_only_on_the_rates_asked_for():
    worse_above = [p | {"bpp": p["bpp"] * (1 if p["bpp"] < 0.1 else 3)} for p in _curve()]
    assert metrics.bd_rate(worse_above, _curve(), 0.03, 0.05) == pytest.approx(0, abs=1e-6)
    assert metrics.bd_rate(worse_above, _curve(), 0.2, 0.3) == pytest.approx(200, abs=1e-6)


def test_bd_rate_clips_the_peer_and_not_the_curve():
    """A curve that needs 0.4 bpp where the peer needs 0.2 counts in full over the peer's [0.1, 0.2]."""
    assert metrics.bd_rate(_curve(2.0), _curve(), 0.1, 0.2) == pytest.approx(100, abs=1e-6)
    assert metrics.bd_cover(_curve(2.0), _curve(), 0.1, 0.2) == pytest.approx(1)


def test_bd_takes_the_part_that_both_reach():
    low, high = _curve(rates=RATES[:4]), _curve(1.1, rates=RATES[2:])
    assert metrics.bd_rate(high, low) == pytest.approx(10, abs=0.2)
    assert 0 < metrics.bd_cover(high, low) < 1
    apart = _curve(rates=RATES[:2]), _curve(rates=RATES[3:])
    assert math.isnan(metrics.bd_rate(*apart))
    assert math.isnan(metrics.bd_psnr(*apart))
    assert metrics.bd_cover(*apart) == 0
    assert math.isnan(metrics.bd_rate(_curve(), _curve(), 0.5, 0.9))
    assert math.isnan(metrics.bd_rate([], _curve()))


def test_curves_may_come_in_any_order_and_with_useless_points():
    useless = [{"bpp": 0.2, "psnr": 20.0, "ssim": 0.1}, {"bpp": 9.0, "psnr": math.inf, "ssim": 1.0}]
    mixed = [*reversed(_curve()), *useless]
    assert metrics.frontier(mixed) == _curve()
    assert metrics.bd_rate(mixed, _curve()) == pytest.approx(0, abs=1e-9)


def test_at_hits_the_points_and_is_nan_outside():
    for point in _curve():
        assert metrics.at(_curve(), point["bpp"]) == pytest.approx(point["psnr"])
        assert metrics.at(_curve(), point["bpp"], "ssim") == pytest.approx(point["ssim"])
    assert math.isnan(metrics.at(_curve(), 0.0299))
    assert math.isnan(metrics.at(_curve(), 0.32))
    assert metrics.lowest_rate(_curve()) == 0.03


def test_envelope_is_nowhere_below_either_curve():
    flat = [{"bpp": r, "psnr": 22 + 2 * math.log(r / 0.01), "ssim": 0.7} for r in (0.01, 0.03, 0.1, 0.2)]
    best = metrics.envelope(_curve(), flat)
    assert metrics.lowest_rate(best) == pytest.approx(0.01)
    assert best[-1]["bpp"] == pytest.approx(0.31)
    for rate in (0.012, 0.04, 0.06, 0.15, 0.3):
        values = [v for v in (metrics.at(_curve(), rate), metrics.at(flat, rate)) if not math.isnan(v)]
        assert metrics.at(best, rate) == pytest.approx(max(values), abs=0.02)
    assert metrics.envelope(_curve(), []) and not metrics.envelope([], [])
