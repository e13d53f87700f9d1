"""What first latents alone foretell of a plane: prediction and synthesis in one go. FORMAT.md sections 6.3 and 7.2.

Bounds: those of kernels.predict and kernels.synthesise; a latent times a gain is below 2^27.
"""

from __future__ import annotations

import numpy as np

from onboard.kernels import kernel
from onboard.kernels.aligned import aligned
from onboard.kernels.predict import pad
from onboard.kernels.synthesise import PIXEL_SHIFT, clipped

_LANES = 16  # products computed at once: of fewer the compiler makes no SIMD code
_OFFSET = (1 << 40) - 1  # masks an offset, which tells the compiler that it is not negative


@kernel
def foretell(first, columns, matrix, weights, gains, out):
    """The plain reconstruction of a plane whose blocks are all of group 2 and say nothing beyond their first latent.

    Args:
        first: int16 (rows * columns,) dequantised first latents, raster order.
        matrix: int32 (7, 8), see predict.add_prediction; weights, gains: int32 (8, 64), int64 (8,), decoder of group 2.
        out: uint8 (8 * rows, 8 * columns), contiguous.
    """
    padded = np.empty((3, columns + 2), np.int32)
    shares, gain = np.zeros((8, _LANES), np.int32), np.zeros(_LANES, np.int32)  # by neighbour; by latent
    for k in range(8):
        gain[k] = gains[k]
        for i in range(8 * (k > 0)):
            shares[i, k] = matrix[k - 1, i]
    c = np.empty(8 * columns + _LANES, np.int32)  # coefficients of a row of blocks
    half = np.int32((1 << PIXEL_SHIFT - 1) + (128 << PIXEL_SHIFT))
    pixels = np.empty(128, np.uint8)  # of two blocks, for which the weights are loaded once
    words, out_words = pixels.view(np.uint64), out.view(np.uint64)  # eight pixels each, for moving them
    weights = aligned(weights).reshape(8, 64)
    for y in range(len(first) // columns):
        pad(first, y, len(first) // columns, columns, padded)
        for x in range(columns):
            centre, at = padded[1, x + 1], (8 * x) & _OFFSET
            nw, n, ne = padded[0, x] - centre, padded[0, x + 1] - centre, padded[0, x + 2] - centre
            w, e = padded[1, x] - centre, padded[1, x + 2] - centre
            sw, s, se = padded[2, x] - centre, padded[2, x + 1] - centre, padded[2, x + 2] - centre
            for k in range(_LANES):  # the lanes behind a block's own are the next block's
                p = np.int32(np.int32(nw * shares[0, k]) + np.int32(n * shares[1, k]))
                p = np.int32(np.int32(p + np.int32(ne * shares[2, k])) + np.int32(w * shares[3, k]))
                p = np.int32(np.int32(p + np.int32(e * shares[4, k])) + np.int32(sw * shares[5, k]))
                p = np.int32(np.int32(p + np.int32(s * shares[6, k])) + np.int32(se * shares[7, k]))
                p = min(max(np.int32(p + np.int32(128)) >> 8, np.int32(-32768)), np.int32(32767))
                c[at + k] = np.int32(np.int32(p * gain[k]) + np.int32(128)) >> 8
            c[at] = np.int32(np.int32(centre * gain[0]) + np.int32(128)) >> 8
        for x in range(0, columns, 2):
            at = (8 * x) & _OFFSET
            for i in range(64):
                p, q = half, half
                for k in range(8):
                    p = np.int32(p + weights[k, i] * c[at + k])
                    q = np.int32(q + weights[k, i] * c[at + 8 + k])  # behind the last block are the last lanes
                pixels[i], pixels[64 + i] = clipped(p), clipped(q)
            for i in range(8):
                out_words[(8 * y + i) & _OFFSET, x] = words[i]
            if x + 1 < columns:
                for i in range(8):
                    out_words[(8 * y + i) & _OFFSET, x + 1] = words[8 + i]
