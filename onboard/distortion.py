"""The distortion by which an encoder chooses: squared errors of about what the ground will show.

Those of the plain picture flatter whatever has fewer block edges, which the ground's decoders take away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from onboard.kernels.soften import soften
from onboard.model import Model
from onboard.planes import base_range
from onboard.reference import depth_of
from onboard.wire import Description

SMALL_STEPS = 3  # of the first latent: a larger step between two blocks is the picture's own
_ROWS = 256  # of which the errors are added up in single precision


def soften_edges(plane: np.ndarray, description: Description, model: Model, index: int) -> None:
    """Make of a base's plain luma, in place, about what the ground's decoders make of it.

    Args:
        plane: uint8 as coded, or at the depth of the source when that is deep and the scale is 1.
        index: quantiser index of the base.
    """
    limit = SMALL_STEPS * int(model.steps(index)[0]) / (16 * 8)  # a first latent is eight times a block's mean
    top = 255
    if plane.dtype == np.uint16 and (window := description.window) is not None:
        limit, top = limit * (window.high - window.low) / base_range(window)[1], (1 << depth_of(description)) - 1
    soften(plane, top, max(round(limit), 1))


def squared_error(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Sum of the squared differences of pairs of planes of one shape each."""
    total = 0.0
    for ours, theirs in pairs:
        for top in range(0, len(ours), _ROWS):
            difference = np.subtract(ours[top : top + _ROWS], theirs[top : top + _ROWS], dtype=np.float32)
            total += float(np.vdot(difference, difference))
    return total
