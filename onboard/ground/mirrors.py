"""The mean of what a net says of a picture and of its mirror images, which errs less than one of them.

Timofte, Rothe, Van Gool: Seven ways to improve example-based single image super resolution, CVPR 2016, section 3.5. Of
their eight images the four that are not turned: when its block is mirrored, a latent keeps its size and at most changes
its sign, while a turned block may lie outside of what the units can say.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

from onboard.ground.features import Layout
from onboard.kernels.entropy import UNITS
from onboard.model import Model
from onboard.wire import BLOCK

_DIRECTIONS = (1, -1)


def parities(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """By which sign latents 2 to 8 are multiplied when a block is turned upside down, and left to right: int (7,)."""
    units = model.weights[1:].astype(np.int64).reshape(UNITS, BLOCK, BLOCK)
    upside_down, left_to_right = ((units * np.flip(units, axis)).sum((1, 2)) for axis in (1, 2))
    return np.where(upside_down < 0, -1, 1), np.where(left_to_right < 0, -1, 1)


def mean_of_mirrors(
    run: Callable[[np.ndarray], np.ndarray],
    layout: Layout,
    planes: int,
    signs: tuple[np.ndarray, np.ndarray],
    seen: np.ndarray,
) -> np.ndarray:
    """What a net says, float32 (rows, columns, outputs), of features (rows, columns, inputs).

    Args:
        run: the net. layout: of its input. planes: how many it makes. signs: of parities().
    """
    answers = []
    for down, right in product(_DIRECTIONS, repeat=2):
        mirrored = seen[::down, ::right].copy()
        first = 0
        for side in layout.squares:
            square = slice(first, first := first + side * side)
            mirrored[..., square] = _within(mirrored[..., square], 1, down, right)
        for sign in [own for own, direction in zip(signs, (down, right), strict=True) if direction < 0]:
            for known in layout.known:
                mirrored[..., known + 1 : known + 1 + UNITS] *= sign
        answers.append(_within(run(mirrored)[::down, ::right], planes, down, right))
    return np.asarray(np.mean(answers, axis=0))


def _within(cells: np.ndarray, squares: int, down: int, right: int) -> np.ndarray:
    """Mirror what so many squares of channels hold, each place for itself."""
    rows, columns, channels = cells.shape
    side = round((channels // squares) ** 0.5)
    turned = cells.reshape(rows, columns, squares, side, side)[..., ::down, ::right]
    return turned.reshape(rows, columns, channels)
