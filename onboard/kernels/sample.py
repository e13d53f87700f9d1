"""Sample arithmetic of planes: colour and box average. FORMAT.md sections 3 and 8."""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import kernel

_TILE = 1024  # pixels of a row that are converted together


@kernel
def box_average(pixels, channels, log2, out):
    """Mean over squares of side 2^log2 (1 to 7), rounded half up; edges padded by replication.

    Args:
        pixels: uint8 (height, width * channels).
        channels: samples of a pixel, which lie together.
        out: uint8 (ceil(height / side), ceil(width / side) * channels).

    Bound: 2^7 samples of at most 255 stay below 2^16, 2^14 of them below 2^22.
    """
    height, width = pixels.shape
    side = 1 << log2
    half = np.int32((side * side) >> 1)
    across = out.shape[1] << log2
    total = np.empty(across, np.uint16)  # of a column within the square
    for oy in range(out.shape[0]):
        total[:] = 0
        for y in range(side):
            line = pixels[min(oy * side + y, height - 1)]
            for x in range(width):
                total[x] = np.uint16(total[x] + np.uint16(line[x]))
        for x in range(width, across):
            total[x] = total[x - channels]
        averages = out[oy]
        if channels == 1 and side == 2:
            for ox in range(out.shape[1]):
                averages[ox] = np.uint8((np.int32(total[2 * ox]) + np.int32(total[2 * ox + 1]) + half) >> 2)
            continue
        for ox in range(0, out.shape[1], channels):
            for c in range(channels):
                s = half
                for x in range((ox << log2) + c, (ox << log2) + channels * side, channels):
                    s = np.int32(s + np.int32(total[x]))
                averages[ox + c] = s >> (2 * log2)


@njit(inline="always")
def _mix(r, g, b, row):
    """One row of the colour matrix. Casts keep the compiler from widening to 64 bits."""
    first = np.int32(np.int32(row[0] * r) + np.int32(row[1] * g))
    return np.uint8(np.int32(first + np.int32(np.int32(row[2] * b) + row[3])) >> 16)


@kernel
def rgb_to_luma(rgb, matrix, y):
    """uint8 (h, w, 3) to Y (h, w); see rgb_to_ycc420."""
    h, w = y.shape
    row = (matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3])
    for i in range(h):
        line, luma = rgb[i].reshape(3 * w), y[i]
        for j in range(w):
            luma[j] = _mix(np.int32(line[3 * j]), np.int32(line[3 * j + 1]), np.int32(line[3 * j + 2]), row)


@kernel
def rgb_to_ycc420(rgb, matrix, y, cb, cr):
    """uint8 (h, w, 3) to full-size Y, and Cb and Cr averaged over 2x2 squares; edges padded by replication.

    Args:
        rgb: in C order.
        matrix: int32 (3, 4), for Y, Cb and Cr: (m0 R + m1 G + m2 B + m3) >> 16, which is 0 to 255. An argument and not
            constants, from whose values the compiler would conclude that 64 bits are better.
        y: (h, w), cb, cr: (ceil(h / 2), ceil(w / 2)) out, uint8.

    Bound: with the matrix of FORMAT.md section 7, at most 255 * 2^15 + 8421375 < 2^24.
    """
    h, w = y.shape
    red, green, blue = np.empty(_TILE, np.uint8), np.empty(_TILE, np.uint8), np.empty(_TILE, np.uint8)
    even = w + w % 2
    blues, reds = np.empty((2, even), np.uint8), np.empty((2, even), np.uint8)
    y_row = (matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3])
    cb_row = (matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3])
    cr_row = (matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3])
    for i in range(0, h, 2):
        for k in range(2):
            at = min(i + k, h - 1)
            for left in range(0, w, _TILE):
                many = min(_TILE, w - left)
                line = rgb[at, left : left + many].reshape(3 * many)
                for j in range(many):
                    red[j], green[j], blue[j] = line[3 * j], line[3 * j + 1], line[3 * j + 2]
                luma, u, v = y[at, left : left + many], blues[k, left : left + many], reds[k, left : left + many]
                for j in range(many):
                    r, g, b = np.int32(red[j]), np.int32(green[j]), np.int32(blue[j])
                    luma[j] = _mix(r, g, b, y_row)
                    u[j] = _mix(r, g, b, cb_row)
                    v[j] = _mix(r, g, b, cr_row)
            blues[k, even - 1], reds[k, even - 1] = blues[k, w - 1], reds[k, w - 1]
        _average_pairs(blues, cb[i // 2])
        _average_pairs(reds, cr[i // 2])


@njit(inline="always")
def _average_pairs(lines, out):
    """Mean of 2x2 squares of two lines, rounded half up."""
    for x in range(len(out)):
        top = np.int32(np.int32(lines[0, 2 * x]) + np.int32(lines[0, 2 * x + 1]))
        bottom = np.int32(np.int32(lines[1, 2 * x]) + np.int32(lines[1, 2 * x + 1]))
        out[x] = np.uint8(np.int32(np.int32(top + bottom) + np.int32(2)) >> 2)


@kernel
def ycc_to_rgb(y, cb, cr, rgb):
    """Planes back to colour (FORMAT.md section 8), clipped to 0..255. Planes of one size, uint8."""
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
        line = rgb[i].reshape(3 * w)
        for j in range(w):
            line[3 * j], line[3 * j + 1], line[3 * j + 2] = red[j], green[j], blue[j]
