"""What tells the latents of one picture from those of another, for the tag: the encoder's own affair."""

from __future__ import annotations

import numpy as np

from onboard.kernels import kernel

_LOW = (1 << 32) - 1


@kernel
def fingerprint(residual, latents, seed):
    """32 bits that differ, as far as 32 bits can, when the residual or the first latent of any block does.

    A sum over all blocks, so that many are worked on at once, each with an odd factor: no single change is lost.

    Args:
        residual: int32 (blocks,); latents: int16 (blocks, 8), of which the first counts.
        seed: what came before, below 2^32.

    Bounds: a factor is below 2^31, so products are below 2^63; 2^26 blocks' parts of 32 bits add up to less than 2^58.
    """
    total, factor, first = np.int64(seed), np.int64(0x1E3779B1), latents[:, 0]
    for b in range(len(residual)):
        both = (np.int64(residual[b]) * np.int64(0x85EBCA6B) + np.int64(first[b])) & _LOW
        total += (both * factor) & _LOW
        factor = (factor + np.int64(0x42B2AE3E)) & np.int64(0x7FFFFFFF)
    return total & _LOW
