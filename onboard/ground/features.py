"""What a neural decoder sees of a plane: the received latents on the block grid, for training and for decoding."""

from __future__ import annotations

import numpy as np

from onboard.decoder import MISSING, PlaneLatents, PlaneState
from onboard.wire import MAX_INDEX

CHANNELS = 12
FIRST_UNIT = 4096.0  # sixteenths: the first latent, 8 times a block's mean, spans about -4 to 4
REST_UNIT = 1024.0


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


CHROMA_CHANNELS = 6 * CHANNELS


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
