"""The mean of what a net says of a picture and of its mirror images, which errs less than one of them.

Timofte, Rothe, Van Gool: Seven ways to improve example-based single image super resolution, CVPR 2016, section 3.5. Of
their eight images the four that are not turned: when its block is mirrored, a latent keeps its size and at most changes
its sign, while a turned block may lie outside of what the units can say.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from onboard.ground.features import ACROSS, BASE_CHANNELS, CELL, CHANNELS
from onboard.kernels.entropy import UNITS
from onboard.model import Model
from onboard.wire import BLOCK

_DIRECTIONS = (1, -1)
# channels of base_features(): samples, the place in the block, latents 2 to 8
_SAMPLES, _PLACES = slice(0, CELL**2), slice(CELL**2, CELL**2 + ACROSS**2)
_LATENTS = slice(BASE_CHANNELS - CHANNELS + 1, BASE_CHANNELS - CHANNELS + 1 + UNITS)


def parities(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """By which sign latents 2 to 8 are multiplied when a block is turned upside down, and left to right: int (7,)."""
    units = model.weights[1:].astype(np.int64).reshape(UNITS, BLOCK, BLOCK)
    upside_down, left_to_right = ((units * np.flip(units, axis)).sum((1, 2)) for axis in (1, 2))
    return np.where(upside_down < 0, -1, 1), np.where(left_to_right < 0, -1, 1)


def mean_of_mirrors(
    run: Callable[[np.ndarray], np.ndarray], signs: tuple[np.ndarray, np.ndarray], seen: np.ndarray
) -> np.ndarray:
    """What a net of luma says, float32 (rows, columns, outputs), of features (rows, columns, inputs).

    Args:
        run: the net. signs: of parities().
    """
    answers = []
    for down, right in product(_DIRECTIONS, repeat=2):
        mirrored = seen[::down, ::right].copy()
        for channels, side in ((_SAMPLES, CELL), (_PLACES, ACROSS)):
            mirrored[..., channels] = _within(mirrored[..., channels], side, down, right)
        for sign in [own for own, direction in zip(signs, (down, right), strict=True) if direction < 0]:
            mirrored[..., _LATENTS] *= sign
        out = run(mirrored)[::down, ::right]
        answers.append(_within(out, round(out.shape[2] ** 0.5), down, right))
    return np.asarray(np.mean(answers, axis=0))


def _within(cells: np.ndarray, side: int, down: int, right: int) -> np.ndarray:
    """Mirror what channels of side x side hold, each place for itself."""
    rows, columns, _ = cells.shape
    return cells.reshape(rows, columns, side, side)[:, :, ::down, ::right].reshape(rows, columns, side * side)
