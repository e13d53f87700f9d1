"""Sample arithmetic of planes: colour, box average, the normative enlarger. FORMAT.md sections 7 and 8."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE


@njit(nogil=True, cache=CACHE)
def box_average(pixels, log2, out):
    """Mean over squares of side 2^log2 (1 to 7), rounded half up; edges padded by replication.

    Args:
        pixels: uint8 (height, width).
        out: uint8 (ceil(height / side), ceil(width / side)).

    Bound: 2^14 samples of at most 255 stay below 2^22.
    """
    height, width = pixels.shape
    side = 1 << log2
    half = (side * side) >> 1
    total = np.empty(out.shape[1] << log2, np.int32)
    for oy in range(out.shape[0]):
        total[:] = 0
        for y in range(side):
            line = pixels[min(oy * side + y, height - 1)]
            for x in range(width):
                total[x] += np.int32(line[x])
            for x in range(width, len(total)):
                total[x] += np.int32(line[width - 1])
        for ox in range(out.shape[1]):
            s = np.int32(half)
            for x in range(side):
                s += total[(ox << log2) + x]
            out[oy, ox] = s >> (2 * log2)


@njit(nogil=True, cache=CACHE)
def rgb_to_ycc(rgb, y, cb, cr):
    """uint8 (h, w, 3) to full-size Y, Cb, Cr: BT.601 full range (JFIF 1.02 section 2), 16-bit fixed point."""
    h, w = y.shape
    for i in range(h):
        line = rgb[i]
        for j in range(w):
            r, g, b = np.int32(line[j, 0]), np.int32(line[j, 1]), np.int32(line[j, 2])
            y[i, j] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
            cb[i, j] = (-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16
            cr[i, j] = (32768 * r - 27439 * g - 5329 * b + 8421375) >> 16


@njit(nogil=True, cache=CACHE)
def ycc_to_rgb(y, cb, cr, rgb):
    """Inverse of rgb_to_ycc, clipped to 0..255. Planes of one size, uint8."""
    h, w = y.shape
    for i in range(h):
        for j in range(w):
            luma = np.int32(y[i, j])
            u, v = np.int32(cb[i, j]) - 128, np.int32(cr[i, j]) - 128
            rgb[i, j, 0] = min(max(luma + ((91881 * v + 32768) >> 16), 0), 255)
            rgb[i, j, 1] = min(max(luma - ((22554 * u + 46802 * v + 32768) >> 16), 0), 255)
            rgb[i, j, 2] = min(max(luma + ((116130 * u + 32768) >> 16), 0), 255)


@njit(nogil=True, cache=CACHE)
def double_rows(pixels, taps, out):
    """Enlarge twice in width: out (h, >= 1) uint8, column 2j and 2j+1 lie a quarter sample left and right of j.

    Args:
        pixels: uint8 (h, w).
        taps: int32 (4,) for samples j-2 .. j+1 of the left phase, sum 256; the right phase mirrors them.
        out: uint8 (h, n) with n <= 2 w; surplus columns of the doubled picture are dropped.
    """
    h, w = pixels.shape
    n = out.shape[1]
    for i in range(h):
        line = pixels[i]
        for j in range((n + 1) // 2):
            left, right = np.int32(128), np.int32(128)
            for t in range(4):
                a = np.int32(line[min(max(j - 2 + t, 0), w - 1)])
                b = np.int32(line[min(max(j + 2 - t, 0), w - 1)])
                left += taps[t] * a
                right += taps[t] * b
            out[i, 2 * j] = min(max(left >> 8, 0), 255)
            if 2 * j + 1 < n:
                out[i, 2 * j + 1] = min(max(right >> 8, 0), 255)
