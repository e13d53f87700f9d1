"""Sample arithmetic of planes: colour and box average. FORMAT.md sections 3 and 8."""

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
    red, green, blue = np.empty(w, np.uint8), np.empty(w, np.uint8), np.empty(w, np.uint8)
    half, least, most = np.int32(32768), np.int32(0), np.int32(255)
    for i in range(h):
        for j in range(w):
            luma = np.int32(y[i, j])
            u, v = np.int32(np.int32(cb[i, j]) - np.int32(128)), np.int32(np.int32(cr[i, j]) - np.int32(128))
            r = np.int32(np.int32(np.int32(91881) * v) + half) >> np.int32(16)
            g = np.int32(np.int32(np.int32(np.int32(22554) * u) + np.int32(np.int32(46802) * v)) + half) >> np.int32(16)
            b = np.int32(np.int32(np.int32(116130) * u) + half) >> np.int32(16)
            red[j] = min(max(np.int32(luma + r), least), most)
            green[j] = min(max(np.int32(luma - g), least), most)
            blue[j] = min(max(np.int32(luma + b), least), most)
        for j in range(w):
            rgb[i, j, 0], rgb[i, j, 1], rgb[i, j, 2] = red[j], green[j], blue[j]
