"""What a neural decoder sees of a plane: the received latents on the block grid, for training and for decoding."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from onboard.decoder import MISSING, Decoding, PlaneLatents, PlaneState
from onboard.layer_header import FORETOLD
from onboard.layers import NO_STEP, spread_blocks
from onboard.reference import Rect
from onboard.wire import BLOCK, MAX_INDEX

CHANNELS = 12
REFINED_CHANNELS = CHANNELS + BLOCK * BLOCK + 2
CHROMA_CHANNELS = 6 * CHANNELS  # Cb, Cr and four blocks of Y
FIRST_UNIT = 4096.0  # sixteenths: the first latent, 8 times a block's mean, spans about -4 to 4
REST_UNIT = 1024.0
COEFFICIENT_UNIT = 64.0
STEP_MIDDLE, STEP_UNIT = 80.0, 40.0


def _dct() -> np.ndarray:
    """The orthonormal DCT-II of eight samples, float32 (8, 8)."""
    k, n = np.mgrid[:BLOCK, :BLOCK]
    rows = np.cos(np.pi * k * (2 * n + 1) / (2 * BLOCK)) * np.sqrt(np.where(k == 0, 1, 2) / BLOCK)
    return rows.astype(np.float32)


DCT = _dct()


def features(state: PlaneState, latents: PlaneLatents) -> np.ndarray:
    """Input of the nets.

    Args:
        state: what has arrived of a plane.
        latents: the same, concealed and predicted.

    Returns:
        float32 (rows, columns, 12): eight latents (2 to 8 are zero in group 1), group, whether layer 0 and layer 1 of
        the block have arrived, quantiser index of the block from 1 (finest) to -1; the usual one where nothing came.
    """
    blocks = len(latents.first)
    out = np.empty((blocks, CHANNELS), np.float32)
    out[:, 0] = latents.first * np.float32(1 / FIRST_UNIT)
    out[:, 1:8] = latents.rest * (latents.group * np.float32(1 / REST_UNIT))[:, None]
    out[:, 8] = latents.group
    out[:, 9] = state.has_first
    out[:, 10] = state.has_rest
    index = np.where(state.has_rest, state.rest_index, state.first_index)
    usual = state.usual_index()
    index = np.where(index == MISSING, MAX_INDEX if usual == MISSING else usual, index)
    out[:, 11] = 1 - index * np.float32(2 / MAX_INDEX)
    return out.reshape(latents.rows, latents.columns, CHANNELS)


# rows and columns of a block grid, and int16 samples (8 * rows, 8 * columns) of such a part
Part = tuple[slice, slice]
Added = Callable[[Part], np.ndarray]


def added_by_layers(decoding: Decoding, refined: np.ndarray, reached: np.ndarray) -> tuple[Added | None, np.ndarray]:
    """What layer 2 adds to the luma of a picture coded at scale 1, in streams made in one go.

    Args:
        refined: uint8 (height, width), luma with the higher layers; reached: uint8 (rows, columns), see Layers.refine.

    Returns:
        what is added to what layer 0 foretells, 0 where nothing is, of any part, None where nothing is anywhere; and
        the step of layer 2, uint8 (rows, columns): an index into LAYER_STEPS, or NO_STEP. Parts of the same rows come
        cheap one after another: these rows are made together, and kept.
    """
    steps = decoding.layers.foretold_steps(0, reached)
    has = steps != NO_STEP
    if not has.any():
        return None, steps

    @lru_cache(maxsize=1)
    def strip(top: int, bottom: int) -> np.ndarray:
        rect = Rect(top, bottom, 0, has.shape[1])
        added = refined[rect.samples(*refined.shape)].astype(np.int16)
        added -= decoding.reference(0, FORETOLD, rect)
        added[~spread_blocks(has[top:bottom], added.shape)] = 0
        missing = [(0, BLOCK * n - m) for n, m in zip((rect.rows, rect.columns), added.shape, strict=True)]
        return np.pad(added, missing)

    def part_of(part: Part) -> np.ndarray:
        rows, columns = (side.indices(n) for side, n in zip(part, has.shape, strict=True))
        return strip(rows[0], rows[1])[:, BLOCK * columns[0] : BLOCK * columns[1]]

    return part_of, steps


def refined_features(seen: np.ndarray, added: np.ndarray | None, steps: np.ndarray) -> np.ndarray:
    """Input of the luma net: features of layers 0 and 1, and of what layer 2 adds, of a plane or a part of one.

    Args:
        seen: features() of the luma; added, of the same part, and steps: see added_by_layers().

    Returns:
        float32 (rows, columns, 78): the 12 of `seen`, 64 coefficients (8x8 DCT) of what is added, whether a block has
        layer 2, and its step.
    """
    out = np.zeros((*seen.shape[:2], REFINED_CHANNELS), np.float32)
    out[..., :CHANNELS] = seen
    if added is not None:
        rows, columns = steps.shape
        blocks = added.astype(np.float32).reshape(rows, BLOCK, columns, BLOCK).transpose(0, 2, 1, 3)
        coefficients = DCT @ blocks @ DCT.T / np.float32(COEFFICIENT_UNIT)
        out[..., CHANNELS : CHANNELS + BLOCK * BLOCK] = coefficients.reshape(rows, columns, -1)
        out[..., -2] = steps != NO_STEP
        out[..., -1] = np.where(steps != NO_STEP, (steps - np.float32(STEP_MIDDLE)) / np.float32(STEP_UNIT), 0)
    return out


def chroma_features(seen: list[np.ndarray]) -> np.ndarray:
    """Input of the chroma net: what is known of Cb and Cr, and of the four luma blocks that lie under each of theirs.

    Args:
        seen: features of Y, Cb and Cr.

    Returns:
        float32 (rows, columns, 72) on the grid of Cb and Cr; luma beyond its grid is its nearest block.
    """
    y, cb, cr = seen
    rows, columns = cb.shape[:2]
    y = np.pad(y, ((0, 2 * rows - y.shape[0]), (0, 2 * columns - y.shape[1]), (0, 0)), mode="edge")
    four = y.reshape(rows, 2, columns, 2, CHANNELS).transpose(0, 2, 1, 3, 4).reshape(rows, columns, 4 * CHANNELS)
    return np.concatenate([cb, cr, four], -1)
