"""What the single-pass mode knows of a block before it computes latents 2 to 8: what G1 leaves of its coarse detail.

Latents 2 to 8 hold coarse detail only. So the means of 2x2 samples tell better than the samples whether they are worth
their bits and how many those will be; it takes no more instructions.
"""

from __future__ import annotations

import numpy as np

from onboard.kernels.analyse import NORM_SHIFT
from onboard.model import Model
from onboard.planes import block_grid, plane_count, strips
from onboard.wire import BLOCK, Description


def coarse_detail(picture: np.ndarray, description: Description, model: Model) -> list[np.ndarray]:
    """64 * the mean square that G1 leaves of the means of 2x2 samples, for every plane.

    Returns:
        int64 (rows, columns) by plane, -2^20 to 2^20: sums of four samples minus 128 lie in -512..508, a block has 16,
        and what G1 takes off belongs to the samples.
    """
    found = [np.empty(block_grid(description, p), np.int64) for p in range(plane_count(description.colour))]
    for plane, row, strip in strips(picture, description):
        height, width = strip.shape
        samples = np.pad(strip.astype(np.int64) - 128, ((0, -height % BLOCK), (0, -width % BLOCK)), "edge")
        blocks = samples.reshape(-1, BLOCK, samples.shape[1] // BLOCK, BLOCK).swapaxes(1, 2)
        sums = blocks.reshape(*blocks.shape[:2], BLOCK // 2, 2, BLOCK // 2, 2).sum((3, 5))
        a = blocks.reshape(*blocks.shape[:2], -1) @ model.weights[0].astype(np.int64)
        found[plane][row : row + len(blocks)] = ((sums * sums).sum((2, 3)) >> 2) - (a * a * model.norm >> NORM_SHIFT)
    return found
