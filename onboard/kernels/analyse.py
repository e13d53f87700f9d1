"""Board side: blocks to latents, latents to quantised symbols. FORMAT.md section 6 states the arithmetic.

Bounds: pixels minus 128 lie in -128..127 and weights in -127..127, so an accumulator is at most
64 * 127 * 128 = 1040384 < 2^20 and the block energy at most 2^20. `a * multiplier + half` is at most
1040384 * 4095 + 2^23 < 2^32 (uint32); `a * a * norm` < 2^40 * 2^22 = 2^62. Latents are int16 by the model's own check.

Latents are fastest in Fortran order, a run of memory per unit: then most loops below run over many blocks at once and
become SIMD code. For that they are plain, and their intermediate values are cast to 32 bits (numba widens to 64).
"""

from __future__ import annotations

import numpy as np

from onboard.kernels import kernel
from onboard.kernels.aligned import aligned
from onboard.kernels.bits import prefetch
from onboard.kernels.products import ABREAST, LANES, LATENTS, SIDE, first_sums, other_sums

NORM_SHIFT = 40

_TILE = (
    64  # blocks of a block row that are analysed together, a multiple of ABREAST: they stay in the first-level cache
)
_CHUNK = 512  # blocks that are quantised together


@kernel
def analyse(pixels, weights, multiplier, shift, norm, floor, first, residual, latents):
    """Latents of every 8x8 block of a strip; latents 2 to 8 only where G1 leaves more than `floor`.

    Args:
        pixels: uint8 (height, width), any size; edges are padded by replication.
        weights: int16 (8, 64) encoder weights, |w| <= 127.
        multiplier, shift: int64 (8,) latent = a * multiplier >> shift, in sixteenths.
        norm: 2^40 / sum(weights[0]^2), rounded.
        floor: int32, least residual energy for which latents 2 to 8 are computed.
        first: where the strip's blocks begin in `residual` and `latents`.
        residual: int32 (blocks,) out: 64 * MSE of G1 = energy - a^2 / |w|^2 (Taha et al. 2025, section 3.1).
        latents: int16 (blocks, 8) out; columns 1 to 7 are meaningless where residual <= floor.
    """
    height, width = pixels.shape
    rows, columns = (height + 7) // 8, (width + 7) // 8
    lines = aligned(np.zeros(SIDE * SIDE * _TILE, np.int16)).reshape(SIDE, SIDE * _TILE)  # rows of samples minus 128
    wide = np.empty((LATENTS * SIDE, LANES), np.int16)  # a row's weights, once for each of the blocks abreast
    for row in range(LATENTS * SIDE):
        for x in range(SIDE):
            for copy in range(ABREAST):
                wide[row, SIDE * copy + x] = weights[row >> 3, SIDE * (row & 7) + x]
    wide = aligned(wide).reshape(LATENTS * SIDE, LANES)
    energy = np.empty(_TILE, np.int32)
    sums = np.zeros((LATENTS, _TILE), np.int32)
    for row in range(rows):
        for left in range(0, columns, _TILE):
            many = min(_TILE, columns - left)
            inside = min(8 * many, width - 8 * left)
            for y in range(8):
                source = pixels[min(8 * row + y, height - 1), 8 * left : 8 * left + inside]
                line = lines[y]
                below = min(8 * row + y + SIDE, height - 1)
                for x in range(8 * left, 8 * left + inside, 64):
                    prefetch(pixels, below, x)
                for x in range(inside):
                    line[x] = np.int16(source[x]) - np.int16(128)
                for x in range(inside, 8 * many):
                    line[x] = line[inside - 1]
            for b in range(0, many, ABREAST):
                first_sums(lines, SIDE * b, wide, energy, sums, b)
            begin = first + row * columns + left
            left_over = residual[begin : begin + many]
            for b in range(many):
                a = np.int64(sums[0, b])
                left_over[b] = np.int64(energy[b]) - ((a * a * norm) >> NORM_SHIFT)
            count = 0
            for b in range(0, many, ABREAST):
                over = 0
                for i in range(b, min(b + ABREAST, many)):
                    over += left_over[i] > floor
                if over > 0:
                    other_sums(lines, SIDE * b, wide, sums, b)
                count += over
            for k in range(LATENTS if count > 0 else 1):
                factor, places = np.uint32(multiplier[k]), np.uint32(shift[k])
                half = np.uint32(1 << (shift[k] - 1))
                latent, total = latents[begin : begin + many, k], sums[k]
                for b in range(many):
                    a = np.int32(total[b])
                    z = np.uint32(np.uint32(np.uint32(np.uint32(abs(a)) * factor) + half) >> places)
                    latent[b] = z if a >= 0 else -np.int32(z)


@kernel
def quantise_first(latents, step, q, d):
    """First latents to multiples of `step`, rounded to nearest: q int16 (blocks,), d int16 (blocks,) = q * step.

    Bound: |latent| < 2^15 - 2^12 (the model's check) and step < 2^13, so d stays within int16. See quantise_rest for
    the division.
    """
    inverse, half = np.float32(1) / np.float32(step), np.int32(step >> 1)
    first = latents[:, 0]
    for n in range(len(q)):
        z = np.int32(first[n])
        m = np.int32((np.float32(np.int32(abs(z) + half)) + np.float32(0.5)) * inverse)
        m = np.int32(m if z >= 0 else -m)
        q[n] = m
        d[n] = m * step


@kernel
def quantise_rest(latents, candidate, steps, dead_zone, price, rest, group):
    """Quantise what the prediction leaves of latents 2 to 8; keep a block in group 2 only if that is worth its bits.

    Args:
        latents: from analyse(); columns 1 to 7 valid for candidates.
        candidate: uint8 (blocks,) blocks whose G1 error is above the threshold.
        steps: int32 (8,) quantiser step per unit, in sixteenths.
        dead_zone: rounding offset in 1/256 step (128 rounds to nearest).
        price: worth of a bit in 1/256 of a squared step.
        rest: int16 (blocks, 7): in, the predicted latents of candidates; out, their quantised residuals. Fastest in
            Fortran order.
        group: uint8 (blocks,) out.

    Bounds: |latent| <= 2^15, |latent - prediction| < 2^16 and steps < 2^13, which is as much as is left of a latent:
    the difference of the squares lies in -2^26..2^30, the sum is int64; the worth is below 2^26 * 2^8 * 2^8 = 2^42.

    Division: v // step = floor((v + 0.5) * (1 / step)) in float32, for integers 0 <= v < 2^17. v + 0.5 is exact, and
    (v + 0.5) / step is at least 0.5 / step away from every integer. Two roundings of 2^-24 make an error below
    2^17 / step * 2^-22 = 2^-5 / step, which is less.
    """
    gain, bits = np.empty(_CHUNK, np.int64), np.empty(_CHUNK, np.int32)
    left = np.empty(_CHUNK, np.int32)
    size = np.empty(_CHUNK, np.float32)
    size_bits = size.view(np.int32)
    worth = np.int64(steps[1]) * steps[1] * price
    for begin in range(0, len(group), _CHUNK):
        end = min(begin + _CHUNK, len(group))
        wanted = candidate[begin:end]
        gain[:] = 0
        bits[:] = 4
        for k in range(7):
            step = np.int32(steps[k + 1])
            inverse, offset = np.float32(1) / np.float32(step), np.int32(step * dead_zone >> 8)
            latent, values = latents[begin:end, k + 1], rest[begin:end, k]
            for b in range(end - begin):
                error = np.int32(np.int32(latent[b]) - np.int32(values[b]))
                m = np.int32((np.float32(np.int32(abs(error) + offset)) + np.float32(0.5)) * inverse)
                size[b] = np.float32(m) + np.float32(0.5)
                m = np.int32(m if error >= 0 else -m)
                left[b] = np.int32(error - np.int32(m * step))
                values[b] = m if wanted[b] else values[b]
            for b in range(end - begin):
                z, e = np.int32(latent[b]), np.int32(left[b])
                gain[b] += np.int32(np.int32(z - e) * np.int32(z + e))
                # The exponent of m + 0.5, from its float32, is the number of bits of m less one.
                bits[b] = bits[b] + 2 * ((size_bits[b] >> 23) - 126)
        kept = group[begin:end]
        for b in range(end - begin):
            kept[b] = wanted[b] != 0 and gain[b] > (worth * bits[b]) >> 8
