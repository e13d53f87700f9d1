"""Picture quality (PSNR, SSIM, MS-SSIM) and what compares two rate-distortion curves (BD-rate, BD-PSNR).

A *point* is a dict with `bpp` (bits per pixel, all header bytes counted) and `psnr` (dB); some have `ssim` and
`ms_ssim` too. A *curve* is a list of points in any order.

Sources:
  SSIM      Wang, Bovik, Sheikh, Simoncelli, IEEE Trans. Image Processing 13(4), 2004
  MS-SSIM   Wang, Simoncelli, Bovik, Asilomar Conference 2003
  BD        Bjontegaard, ITU-T VCEG-M33, 2001; piecewise cubic instead of one cubic as in JCTVC-B055 and later
  PCHIP     Fritsch, Butland, SIAM J. Sci. Stat. Comput. 5(2), 1984
  luma      ITU-R BT.601 in the 16-bit integer form of JFIF writers
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

Point = dict[str, float]
Curve = Sequence[Point]

PEAK = 255.0
_C1 = (0.01 * PEAK) ** 2
_C2 = (0.03 * PEAK) ** 2
_WINDOW = 11
_SIGMA = 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_BAND_ROWS = 64  # of windows handled at once, so that what is worked on stays in the processor's cache
MS_SSIM_SMALLEST_SIDE = _WINDOW * 2 ** (len(_SCALE_WEIGHTS) - 1)
"""Pixels. Below this the coarsest of the five scales holds no whole window."""


# ---------------------------------------------------------------- pictures


def luma(picture: np.ndarray) -> np.ndarray:
    """Integer BT.601 luma of an RGB uint8 picture, rounded; a grey picture is returned as it is."""
    if picture.ndim == 2:
        return picture
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"luma needs HxW or HxWx3 uint8, not {picture.shape} {picture.dtype}")
    wide = picture.astype(np.uint32)
    return ((19595 * wide[..., 0] + 38470 * wide[..., 1] + 7471 * wide[..., 2] + 32768) >> 16).astype(np.uint8)


def psnr(original: np.ndarray, decoded: np.ndarray, peak: float = PEAK) -> float:
    """Peak signal-to-noise ratio in dB over all samples; infinite for equal pictures."""
    _check_pair(original, decoded)
    mse = float(np.mean((original.astype(np.float64) - decoded.astype(np.float64)) ** 2))
    return math.inf if mse == 0 else 10 * math.log10(peak * peak / mse)


def ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """Mean SSIM of two 8-bit grey pictures over the windows that lie wholly inside."""
    _check_grey(original, decoded)
    return _structure(original.astype(np.float64), decoded.astype(np.float64))[0]


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """Multi-scale SSIM of two 8-bit grey pictures; NaN where a side is under 176 pixels."""
    return ssim_and_ms_ssim(original, decoded)[1]


def ssim_and_ms_ssim(original: np.ndarray, decoded: np.ndarray) -> tuple[float, float]:
    """Both at once: the first scale of MS-SSIM is SSIM, and it costs three quarters of the time."""
    _check_grey(original, decoded)
    a, b = original.astype(np.float64), decoded.astype(np.float64)
    full, contrast = _structure(a, b)
    if min(a.shape) < MS_SSIM_SMALLEST_SIDE:
        return full, math.nan
    product = max(contrast, 0.0) ** _SCALE_WEIGHTS[0]
    for weight in _SCALE_WEIGHTS[1:]:
        a, b = _halve(a), _halve(b)
        similarity, contrast = _structure(a, b)
        last = weight == _SCALE_WEIGHTS[-1]
        product *= max(similarity if last else contrast, 0.0) ** weight
    return full, product


def _structure(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and mean of its contrast-structure term."""
    if min(a.shape) < _WINDOW:
        raise ValueError(f"SSIM needs both sides at least {_WINDOW} pixels, not {a.shape}")
    windows = a.shape[0] - _WINDOW + 1
    total = total_contrast = 0.0
    for top in range(0, windows, _BAND_ROWS):
        band = slice(top, min(top + _BAND_ROWS, windows) + _WINDOW - 1)
        similarity, contrast = _structure_band(a[band], b[band])
        total += similarity
        total_contrast += contrast
    count = windows * (a.shape[1] - _WINDOW + 1)
    return total / count, total_contrast / count


def _structure_band(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Sums over the windows of a band of rows."""
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a * mean_a
    var_b = _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    contrast = (2 * covariance + _C2) / (var_a + var_b + _C2)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return float(np.sum(luminance * contrast)), float(np.sum(contrast))


def _blur(plane: np.ndarray) -> np.ndarray:
    """Gaussian 11x11, sigma 1.5, only where the whole window lies inside."""
    reach = _WINDOW // 2
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * _SIGMA**2))
    taps /= taps.sum()
    height, width = (side - 2 * reach for side in plane.shape)
    rows = taps[reach] * plane[reach : reach + height]
    for i in range(reach):  # the taps are symmetric
        rows += taps[i] * (plane[i : i + height] + plane[2 * reach - i : 2 * reach - i + height])
    both = taps[reach] * rows[:, reach : reach + width]
    for i in range(reach):
        both += taps[i] * (rows[:, i : i + width] + rows[:, 2 * reach - i : 2 * reach - i + width])
    return both


def _halve(plane: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in plane.shape)
    even = plane[:height, :width]
    return (even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]) / 4


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"pictures differ in shape: {a.shape} and {b.shape}")


def _check_grey(a: np.ndarray, b: np.ndarray) -> None:
    _check_pair(a, b)
    if a.ndim != 2:
        raise ValueError(f"needs grey pictures, not {a.shape}: take luma() first")


# ---------------------------------------------------------------- curves


def frontier(curve: Iterable[Point]) -> list[Point]:
    """The points in order of rate, without those that cost more than another and are not better in PSNR.

    A point of infinite PSNR (lossless) is left out: no interpolation reaches it.
    """
    best: list[Point] = []
    for point in sorted(curve, key=lambda p: (p["bpp"], -p["psnr"])):
        if point["bpp"] > 0 and math.isfinite(point["psnr"]) and (not best or point["psnr"] > best[-1]["psnr"]):
            best.append(point)
    return best


def at(curve: Curve, bpp: float, key: str = "psnr") -> float:
    """Quality at a rate, interpolated over log rate; NaN outside the rates that the curve reaches."""
    return float(sample(curve, [bpp], key)[0])


def sample(curve: Curve, rates: Sequence[float] | np.ndarray, key: str = "psnr") -> np.ndarray:
    """`at` for many rates, over the points that have the key."""
    points = [p for p in frontier(curve) if key in p]
    wanted = np.asarray(rates, float)
    values = np.full(wanted.shape, math.nan)
    if points:
        inside = (points[0]["bpp"] <= wanted) & (wanted <= points[-1]["bpp"])
        known = [p[key] for p in points]
        values[inside] = known[0] if len(points) == 1 else Pchip(_log_rates(points), known)(np.log(wanted[inside]))
    return values


def lowest_rate(curve: Curve) -> float:
    """Bits per pixel of the smallest file on the curve; NaN for an empty one."""
    return min((p["bpp"] for p in curve), default=math.nan)


def envelope(first: Curve, second: Curve, samples: int = 160) -> list[Point]:
    """The better of two curves at each rate, judged by PSNR, sampled evenly over log rate.

    SSIM and MS-SSIM are those of the curve that wins in PSNR at that rate.
    """
    curves = [points for points in (frontier(first), frontier(second)) if points]
    if not curves:
        return []
    ends = [points[end]["bpp"] for points in curves for end in (0, -1)]
    between = np.exp(np.linspace(math.log(min(ends)), math.log(max(ends)), samples))[1:-1]
    rates = np.unique(np.concatenate([between, ends]))
    tables = [{key: sample(points, rates, key) for key in ("psnr", "ssim", "ms_ssim")} for points in curves]
    best: list[Point] = []
    for index, rate in enumerate(rates):
        reached = [table for table in tables if not math.isnan(table["psnr"][index])]
        if reached:
            table = max(reached, key=lambda table: table["psnr"][index])
            known = {key: float(values[index]) for key, values in table.items() if not math.isnan(values[index])}
            best.append({"bpp": float(rate)} | known)
    return frontier(best)


def bd_rate(curve: Curve, peer: Curve, low: float = 0.0, high: float = math.inf) -> float:
    """Mean rate difference of `curve` against `peer` at equal PSNR, in per cent; negative is better.

    The peer is clipped to the rates [low, high] bpp; that part spans an interval of PSNR; log rates are averaged
    over what of it the curve reaches too. NaN where the two share no interval (`bd_cover` says how much they share).
    """
    interval = _common_psnr(curve, peer, low, high)
    if interval is None:
        return math.nan
    bottom, top = interval
    means = []
    for points in (frontier(curve), frontier(peer)):
        means.append(Pchip([p["psnr"] for p in points], _log_rates(points)).mean(bottom, top))
    return 100 * math.expm1(means[0] - means[1])


def bd_psnr(curve: Curve, peer: Curve, low: float = 0.0, high: float = math.inf) -> float:
    """Mean PSNR difference of `curve` against `peer` at equal rate, in dB; positive is better.

    Averaged over log rate, over the part of [low, high] bpp that both reach; NaN where there is none.
    """
    ours, theirs = frontier(curve), frontier(peer)
    if len(ours) < 2 or len(theirs) < 2:
        return math.nan
    start = max(low, ours[0]["bpp"], theirs[0]["bpp"])
    end = min(high, ours[-1]["bpp"], theirs[-1]["bpp"])
    if not start < end:
        return math.nan
    means = []
    for points in (ours, theirs):
        means.append(Pchip(_log_rates(points), [p["psnr"] for p in points]).mean(math.log(start), math.log(end)))
    return means[0] - means[1]


def bd_cover(curve: Curve, peer: Curve, low: float = 0.0, high: float = math.inf) -> float:
    """The share (0 to 1) of the clipped peer's PSNR interval that `bd_rate` could average over."""
    interval, whole = _common_psnr(curve, peer, low, high), _psnr_interval(frontier(peer), low, high)
    if interval is None or whole is None:
        return 0.0
    return (interval[1] - interval[0]) / (whole[1] - whole[0])


class Pchip:
    """Piecewise cubic through points with rising x that is monotone wherever the points are."""

    def __init__(self, x: Sequence[float], y: Sequence[float]) -> None:
        self.x, self.y = np.asarray(x, float), np.asarray(y, float)
        self.h = np.diff(self.x)
        self.slope = np.diff(self.y) / self.h
        self.d = self._derivatives()

    def _derivatives(self) -> np.ndarray:
        h, slope = self.h, self.slope
        d = np.empty(len(self.x))
        if len(slope) == 1:
            d[:] = slope[0]
            return d
        left, right = slope[:-1], slope[1:]
        w_left, w_right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        same = left * right > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            d[1:-1] = np.where(same, (w_left + w_right) / (w_left / left + w_right / right), 0.0)
        d[0] = _end_slope(h[0], h[1], slope[0], slope[1])
        d[-1] = _end_slope(h[-1], h[-2], slope[-1], slope[-2])
        return d

    def __call__(self, x: np.ndarray) -> np.ndarray:
        i, t = self._locate(x)
        c2, c3 = self._cubic(i)
        return self.y[i] + t * (self.d[i] + t * (c2 + t * c3))

    def mean(self, start: float, end: float) -> float:
        """Mean over [start, end], which must lie inside the points."""
        cuts = np.concatenate([[start], self.x[(self.x > start) & (self.x < end)], [end]])
        middle = (cuts[:-1] + cuts[1:]) / 2
        half = np.diff(cuts) / 2
        offset = half / math.sqrt(3)  # Gauss: two nodes are exact for a cubic
        return float(np.sum(half * (self(middle - offset) + self(middle + offset))) / (end - start))

    def _locate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        i = np.clip(np.searchsorted(self.x, x, side="right") - 1, 0, len(self.h) - 1)
        return i, x - self.x[i]

    def _cubic(self, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h, slope, first, last = self.h[i], self.slope[i], self.d[i], self.d[i + 1]
        return (3 * slope - 2 * first - last) / h, (first + last - 2 * slope) / (h * h)


def _end_slope(h0: float, h1: float, slope0: float, slope1: float) -> float:
    """Three-point derivative at an end, limited so that the first cubic stays monotone."""
    d = ((2 * h0 + h1) * slope0 - h0 * slope1) / (h0 + h1)
    if d * slope0 <= 0:
        return 0.0
    if slope0 * slope1 <= 0 and abs(d) > 3 * abs(slope0):
        return 3 * slope0
    return d


def _log_rates(points: Curve) -> list[float]:
    return [math.log(p["bpp"]) for p in points]


def _psnr_interval(points: Curve, low: float, high: float) -> tuple[float, float] | None:
    """PSNR at the ends of the part of a frontier that lies in [low, high] bpp."""
    if len(points) < 2:
        return None
    start, end = max(low, points[0]["bpp"]), min(high, points[-1]["bpp"])
    if not start < end:
        return None
    return at(points, start), at(points, end)


def _common_psnr(curve: Curve, peer: Curve, low: float, high: float) -> tuple[float, float] | None:
    ours = frontier(curve)
    span = _psnr_interval(frontier(peer), low, high)
    if span is None or len(ours) < 2:
        return None
    bottom, top = max(span[0], ours[0]["psnr"]), min(span[1], ours[-1]["psnr"])
    return (bottom, top) if bottom < top else None
