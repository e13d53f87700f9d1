"""Colour at the depth of the source: FORMAT.md section 11.8. The 8-bit half is kernels.sample.

Bounds, for samples of at most 16 bits: the magnitudes of a row of the forward matrix sum to 2^16, so sums with their
offset of at most 2^31 + 2^15 stay below 2^33; they are 0 to 2^depth - 1 after the shift, for the positive entries of a
chroma row sum to 2^15, as its negative ones do. The inverse multiplies at most 2^15 by at most 116130 < 2^17, which
stays below 2^32, twice that for green. All of it is done in 64 bits.
"""

from __future__ import annotations

import numpy as np

from onboard.kernels import kernel


@kernel
def deep_to_ycc420(rgb, matrix, half, y, cb, cr):
    """uint16 (h, w, 3) to full-size Y, and Cb and Cr averaged over 2x2 squares; edges padded by replication.

    Args:
        matrix: int32 (3, 4) as in kernels.sample.rgb_to_ycc420, whose offsets are for 8 bits.
        half: the middle of the samples' range, which is what a Cb and Cr without colour is.
        y: (h, w), cb, cr: (ceil(h / 2), ceil(w / 2)) out, uint16.
    """
    h, w = y.shape
    even = w + w % 2
    pairs = np.empty((2, 2, even), np.int64)  # Cb and Cr of two rows
    offset = (np.int64(half) - 128) << 16
    for i in range(0, h, 2):
        for k in range(2):
            at = min(i + k, h - 1)
            for j in range(w):
                r, g, b = np.int64(rgb[at, j, 0]), np.int64(rgb[at, j, 1]), np.int64(rgb[at, j, 2])
                y[at, j] = (matrix[0, 0] * r + matrix[0, 1] * g + matrix[0, 2] * b + matrix[0, 3]) >> 16
                for c in range(2):
                    row = matrix[c + 1]
                    pairs[c, k, j] = (row[0] * r + row[1] * g + row[2] * b + row[3] + offset) >> 16
            for c in range(2):
                pairs[c, k, even - 1] = pairs[c, k, w - 1]
        for j in range(even // 2):
            for c, out in enumerate((cb, cr)):
                top, bottom = pairs[c, 0], pairs[c, 1]
                out[i // 2, j] = (top[2 * j] + top[2 * j + 1] + bottom[2 * j] + bottom[2 * j + 1] + 2) >> 2


@kernel
def deep_to_rgb(y, cb, cr, half, rgb):
    """Planes of one size, uint16, back to colour, clipped to 0 .. 2 half - 1."""
    h, w = y.shape
    middle, most = np.int64(half), 2 * np.int64(half) - 1
    for i in range(h):
        for j in range(w):
            luma = np.int64(y[i, j])
            u, v = np.int64(cb[i, j]) - middle, np.int64(cr[i, j]) - middle
            rgb[i, j, 0] = min(max(luma + ((91881 * v + 32768) >> 16), 0), most)
            rgb[i, j, 1] = min(max(luma - ((22554 * u + 46802 * v + 32768) >> 16), 0), most)
            rgb[i, j, 2] = min(max(luma + ((116130 * u + 32768) >> 16), 0), most)
