"""Board side: blocks to latents, latents to quantised symbols. FORMAT.md section 6 states the arithmetic.

Bounds: pixels minus 128 lie in -128..127 and weights in -127..127, so an accumulator is at most
64 * 127 * 128 = 1040384 < 2^20 and the block energy at most 2^20. `a * multiplier` < 2^20 * 2^12 = 2^32 (int64 here,
uint32 on a microcontroller); `a * a * norm` < 2^40 * 2^22 = 2^62. Latents are int16 by the model's own check.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from onboard.kernels import CACHE

NORM_SHIFT = 40


@njit(inline="always")
def _latent(a, multiplier, shift):
    z = (abs(a) * multiplier + (1 << (shift - 1))) >> shift
    return z if a >= 0 else -z


@njit(nogil=True, cache=CACHE)
def analyse(pixels, weights, multiplier, shift, norm, floor, residual, latents):
    """Latents of every 8x8 block of a strip; latents 2 to 8 only where G1 leaves more than `floor`.

    Args:
        pixels: uint8 (height, width), any size; edges are padded by replication.
        weights: int16 (8, 64) encoder weights, |w| <= 127.
        multiplier, shift: int64 (8,) latent = a * multiplier >> shift, in sixteenths.
        norm: 2^40 / sum(weights[0]^2), rounded.
        floor: int32, least residual energy for which latents 2 to 8 are computed.
        residual: int32 (blocks,) out: 64 * MSE of G1 = energy - a^2 / |w|^2 (Taha et al. 2025, section 3.1).
        latents: int16 (blocks, 8) out; columns 1 to 7 are only written where residual > floor.
    """
    height, width = pixels.shape
    rows, columns = (height + 7) // 8, (width + 7) // 8
    d = np.empty(64, np.int16)
    for by in range(rows):
        for bx in range(columns):
            if 8 * by + 8 <= height and 8 * bx + 8 <= width:
                for y in range(8):
                    line = pixels[8 * by + y, 8 * bx : 8 * bx + 8]
                    for x in range(8):
                        d[8 * y + x] = np.int16(line[x])
            else:
                for y in range(8):
                    for x in range(8):
                        d[8 * y + x] = np.int16(pixels[min(8 * by + y, height - 1), min(8 * bx + x, width - 1)])
            energy = np.int32(0)
            for i in range(64):
                c = np.int16(d[i] - np.int16(128))
                energy += np.int32(c) * np.int32(c)
            a = np.int32(0)
            for i in range(64):
                c = np.int16(d[i] - np.int16(128))
                a += np.int32(c) * np.int32(weights[0, i])
            a = np.int64(a)
            n = by * columns + bx
            left = np.int64(energy) - ((a * a * norm) >> NORM_SHIFT)
            residual[n] = left
            latents[n, 0] = _latent(a, multiplier[0], shift[0])
            if left > floor:
                for k in range(1, 8):
                    s = np.int32(0)
                    for i in range(64):
                        c = np.int16(d[i] - np.int16(128))
                        s += np.int32(c) * np.int32(weights[k, i])
                    latents[n, k] = _latent(np.int64(s), multiplier[k], shift[k])


@njit(nogil=True, cache=CACHE, error_model="numpy")
def quantise_first(latents, step, q, d):
    """First latents to multiples of `step`, rounded to nearest: q int16 (blocks,), d int16 (blocks,) = q * step.

    Bound: |latent| < 2^15 - 2^12 (the model's check) and step < 2^13, so d stays within int16.
    """
    for n in range(len(q)):
        z = np.int32(latents[n, 0])
        m = (abs(z) + (step >> 1)) // step
        if z < 0:
            m = -m
        q[n] = m
        d[n] = m * step


@njit(nogil=True, cache=CACHE, error_model="numpy")
def quantise_rest(latents, candidate, steps, dead_zone, price, rest, group):
    """Quantise what the prediction leaves of latents 2 to 8; keep a block in group 2 only if that is worth its bits.

    Args:
        latents: from analyse(); columns 1 to 7 valid for candidates.
        candidate: uint8 (blocks,) blocks whose G1 error is above the threshold.
        steps: int32 (8,) quantiser step per unit, in sixteenths.
        dead_zone: rounding offset in 1/256 step (128 rounds to nearest).
        price: worth of a bit in 1/256 of a squared step.
        rest: int16 (blocks, 7): in, the predicted latents of candidates; out, their quantised residuals.
        group: uint8 (blocks,) out.

    Bounds: |latent - prediction| < 2^16 and steps < 2^13; squares below 2^32 and their sum are int64; the worth is
    below 2^26 * 2^8 * 2^8 = 2^42.
    """
    for n in range(len(group)):
        group[n] = 0
        if candidate[n]:
            gain = np.int64(0)
            bits = 4
            for k in range(7):
                z, p, step = np.int32(latents[n, k + 1]), np.int32(rest[n, k]), np.int32(steps[k + 1])
                m = (abs(z - p) + (step * dead_zone >> 8)) // step
                size = m
                while size > 0:
                    size >>= 1
                    bits += 2
                if z < p:
                    m = -m
                rest[n, k] = m
                left = np.int64(z - p - m * step)
                gain += np.int64(z) * z - left * left
            group[n] = gain > (np.int64(steps[1]) * steps[1] * price * bits) >> 8
