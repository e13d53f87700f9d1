"""The normative enlarger, both ways in one pass. FORMAT.md section 8.1."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

_RING = 8  # widened rows at hand, a power of two above the five that two rows of the result take


@njit(inline="always")
def _widen(pixels, y, taps, most, n, padded, even, odd, ring):
    """Row `y` at twice the width into its place in the ring."""
    w = pixels.shape[1]
    for x in range(w):
        padded[x + 2] = np.int32(pixels[y, x])
    padded[0] = padded[1] = padded[2]
    padded[w + 2] = padded[w + 3] = padded[w + 1]
    a, b, c, d = taps[0], taps[1], taps[2], taps[3]
    for x in range(w):
        left = np.int32(np.int32(a * padded[x]) + np.int32(b * padded[x + 1]))
        left = np.int32(left + np.int32(np.int32(c * padded[x + 2]) + np.int32(d * padded[x + 3])))
        right = np.int32(np.int32(d * padded[x + 1]) + np.int32(c * padded[x + 2]))
        right = np.int32(right + np.int32(np.int32(b * padded[x + 3]) + np.int32(a * padded[x + 4])))
        even[x] = min(max(np.int32(left + np.int32(128)) >> np.int32(8), np.int32(0)), most)
        odd[x] = min(max(np.int32(right + np.int32(128)) >> np.int32(8), np.int32(0)), most)
    at = y & (_RING - 1)
    for x in range(n // 2):
        ring[at, 2 * x], ring[at, 2 * x + 1] = even[x], odd[x]
    if n & 1:
        ring[at, n - 1] = even[n // 2]


@njit(inline="always")
def _double(pixels, taps, most, out):
    h, w = pixels.shape
    m, n = out.shape
    padded = np.empty(w + 4, np.int32)
    even, odd = np.empty(w, out.dtype), np.empty(w, out.dtype)
    ring = np.empty((_RING, n), out.dtype)
    a, b, c, d = taps[0], taps[1], taps[2], taps[3]
    ready = 0
    for y in range(m):
        j = y >> 1
        while ready < min(j + 3, h):
            _widen(pixels, ready, taps, most, n, padded, even, odd, ring)
            ready += 1
        away = -1 if y & 1 == 0 else 1  # towards the two samples that come first in the taps
        r0 = min(max(j + 2 * away, 0), h - 1) & (_RING - 1)
        r1 = min(max(j + away, 0), h - 1) & (_RING - 1)
        r2 = j & (_RING - 1)
        r3 = min(max(j - away, 0), h - 1) & (_RING - 1)
        for x in range(n):
            v = np.int32(np.int32(a * np.int32(ring[r0, x])) + np.int32(b * np.int32(ring[r1, x])))
            v = np.int32(v + np.int32(np.int32(c * np.int32(ring[r2, x])) + np.int32(d * np.int32(ring[r3, x]))))
            out[y, x] = min(max(np.int32(v + np.int32(128)) >> np.int32(8), np.int32(0)), most)


@kernel
def double(pixels, taps, out):
    """Enlarge twice both ways, rows first: sample 2j and 2j + 1 lie a quarter sample left (above) and right of j.

    Args:
        pixels: uint8 (h, w).
        taps: int32 (4,) for samples j-2 .. j+1 of the left phase, sum 256; the right phase mirrors them.
        out: uint8 (m, n) with 2 h - 1 <= m <= 2 h and 2 w - 1 <= n <= 2 w: surplus samples are dropped.

    Bound: the magnitudes of the taps sum to less than 2^9, so sums stay below 2^17.
    """
    _double(pixels, taps, np.int32(255), out)


@kernel
def double_deep(pixels, taps, top, out):
    """The same for uint16 samples of 0 to `top`. Bound: sums stay below 2^25. (A known limit makes 8 bits faster.)"""
    _double(pixels, taps, np.int32(top), out)
