"""How good a picture is: PSNR and SSIM, for --check and --reference."""

from __future__ import annotations

import numpy as np

from onboard.errors import InputError
from onboard.kernels.sample import rgb_to_luma
from onboard.planes import COLOUR


def psnr(reference: np.ndarray, picture: np.ndarray, grey: bool = False) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures.

    The peak is 255, or the reference's own largest value for 16-bit pictures. With `grey`, a colour picture counts by
    its luma.
    """
    a, b = _pair(reference, picture, grey)
    error = float(np.mean((a - b) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(_peak(reference) ** 2 / error))


def ssim(reference: np.ndarray, picture: np.ndarray, grey: bool = False) -> float:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian, sigma 1.5, of the luma; valid windows only."""
    a, b = (_luma(p) for p in _pair(reference, picture, grey))
    if min(a.shape) < 11:
        a, b = (np.pad(p, [(0, max(11 - side, 0)) for side in p.shape], mode="edge") for p in (a, b))
    c1, c2 = (0.01 * _peak(reference)) ** 2, (0.03 * _peak(reference)) ** 2
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    both = _blur(a * b) - mean_a * mean_b
    value = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(value.mean())


def _pair(reference: np.ndarray, picture: np.ndarray, grey: bool) -> tuple[np.ndarray, np.ndarray]:
    if reference.shape[:2] != picture.shape[:2]:
        raise InputError(
            f"reference is {reference.shape[1]}x{reference.shape[0]}, the picture {picture.shape[1]}x{picture.shape[0]}"
        )
    if grey or reference.ndim != picture.ndim:
        return _luma(reference), _luma(picture)
    return reference.astype(np.float64), picture.astype(np.float64)


def _luma(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2:
        return picture.astype(np.float64)
    if picture.dtype == np.uint8:
        luma = np.empty(picture.shape[:2], np.uint8)
        rgb_to_luma(np.ascontiguousarray(picture), COLOUR, luma)
        return luma.astype(np.float64)
    return picture @ np.array((0.299, 0.587, 0.114))


def _peak(reference: np.ndarray) -> float:
    return 255.0 if reference.dtype == np.uint8 else float(max(reference.max(), 1))


def _blur(p: np.ndarray) -> np.ndarray:
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    rows = sum(t * p[i : p.shape[0] - 10 + i] for i, t in enumerate(taps))
    return np.asarray(sum(t * rows[:, i : p.shape[1] - 10 + i] for i, t in enumerate(taps)))
