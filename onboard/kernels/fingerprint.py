"""What tells the latents of one picture from those of another, for the tag: the encoder's own affair."""

from __future__ import annotations

import numpy as np

from onboard.kernels import kernel

_LOW = (1 << 32) - 1
_FACTORS = (0x1E3779B1, 0x45EBCA6B, 0x7FEB352D)  # odd numbers without a pattern


@kernel
def fingerprint(residual, latents, seed):
    """32 bits that differ, as far as 32 bits can, when the residual or the first latent of any block does.

    A sum over all blocks, so that many are worked on at once, of what a block has and where it is, well mixed: neither
    blocks that change places nor planes that do leave it as it was.

    Args:
        residual: int32 (blocks,); latents: int16 (blocks, 8), of which the first counts.
        seed: what came before, below 2^32.

    Bounds: what is multiplied is below 2^32 (|residual| below 2^21) and the factors are below 2^31; a sum of 2^26 parts
    below 2^32 is below 2^58.
    """
    total, first = np.int64(seed), latents[:, 0]
    place = (np.int64(seed) * _FACTORS[0]) & _LOW
    for b in range(len(residual)):
        mixed = (place + np.int64(residual[b]) * _FACTORS[1] + np.int64(first[b])) & _LOW
        mixed = ((mixed ^ (mixed >> 16)) * _FACTORS[2]) & _LOW
        total += mixed ^ (mixed >> 15)
        place += _FACTORS[0]
    return total & _LOW
