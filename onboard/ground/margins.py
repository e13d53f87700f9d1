"""Bars and frames around a picture, which the decoders for display leave alone.

Where there is no data, and in bars around a picture of another shape, all is black or white, and this often ends
exactly where blocks end. Decoded plainly it is one tone to the last pixel. The decoders for display would take its edge
for one that coarse coding has made and smooth it, and what they make of the picture beside it would suffer as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onboard.decoder import PlaneLatents
from onboard.ground.features import Area, pixels
from onboard.wire import BLOCK

FAINT = 8  # levels that black or white may be off
LEAST_JUMP = 16  # levels
MOST = 0.5  # share of the pixels along an edge that must be so far off the tone beside them


def within_margins(latents: PlaneLatents, plain: Callable[[], np.ndarray]) -> Area:
    """The blocks of a plane of luma that lie within its margins: all of them where it has none, at least one.

    A margin is rows or columns of blocks along a side, black or white and of group 1, from which the very pixels beside
    them differ clearly: a night sky does not end so, nor does a frame that ends within blocks.

    Args:
        plain: gives the plane as decoded plainly, uint8 (8 * rows, 8 * columns); asked only if it may have margins.
    """
    first = latents.first.reshape(latents.rows, latents.columns)
    flat = latents.group.reshape(first.shape) == 0
    rows, columns = slice(0, latents.rows), slice(0, latents.columns)
    sides = (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:])
    if not any((flat[side] & (first[side] == first[side][0, 0])).all() for side in sides):
        return rows, columns
    plane = plain()
    rows = _between(first, flat, plane)
    return rows, _between(first[rows].T, flat[rows].T, plane[pixels((rows, columns), BLOCK)].T)


def _between(first: np.ndarray, flat: np.ndarray, plane: np.ndarray) -> slice:
    """The rows of blocks between what is margin at the top and at the bottom."""
    top = _depth(first, flat, plane)
    return slice(top, len(first) - _depth(first[top:][::-1], flat[top:][::-1], plane[BLOCK * top :][::-1]))


def _depth(first: np.ndarray, flat: np.ndarray, plane: np.ndarray) -> int:
    """How many rows of blocks are margin at the top."""
    depth = int((flat & (first == first[0, 0])).all(1).argmin())  # 0 where all rows are of one tone
    if depth == 0:
        return 0
    tone, edge, behind = (plane[BLOCK * depth + i].astype(np.int32) for i in (-1, 0, BLOCK // 2))
    jump = np.abs(edge - tone)
    extreme = not FAINT < tone[0] < 255 - FAINT
    ends_here = jump.sum() >= np.abs(behind - edge).sum()
    return depth if extreme and ends_here and (jump >= LEAST_JUMP).mean() >= MOST else 0
