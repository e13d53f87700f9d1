"""What the neural decoders see, for training and for decoding: cells of pixels and what has arrived of their blocks."""

from __future__ import annotations

import numpy as np

from onboard.decoder import MISSING, PlaneLatents, PlaneState
from onboard.layers import NO_STEP
from onboard.wire import BLOCK, MAX_INDEX

CELL = 4  # coded samples a side of a cell, the unit of the nets of luma; that of chroma is a block
ACROSS = BLOCK // CELL  # cells a side of a block
CHANNELS = 12
BASE_CHANNELS = CELL**2 + ACROSS**2 + CHANNELS
LAYERED_CHANNELS = BASE_CHANNELS + 2
CHROMA_CHANNELS = 6 * CHANNELS  # Cb, Cr and four blocks of Y
FIRST_UNIT = 4096.0  # sixteenths: the first latent, 8 times a block's mean, spans about -4 to 4
REST_UNIT = 1024.0
LEVEL_UNIT = 64.0  # of 128 levels
STEP_MIDDLE, STEP_UNIT = 80.0, 40.0

# rows and columns of a block grid
Part = tuple[slice, slice]


def features(state: PlaneState, latents: PlaneLatents) -> np.ndarray:
    """What is known of the blocks of a plane.

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


def pixels(part: Part, side: int) -> Part:
    """The samples of blocks of side x side samples."""
    rows, columns = part
    return slice(side * rows.start, side * rows.stop), slice(side * columns.start, side * columns.stop)


def base_features(plane: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Input of a net that corrects a plane coded with layers 0 and 1.

    Args:
        plane: uint8 (8 * rows, 8 * columns), as coded and decoded plainly.
        known: features() of its blocks (rows, columns, 12).

    Returns:
        float32 (2 * rows, 2 * columns, 32), a cell each: its 16 samples, one-hot where in its block it lies, and what
        is known of the block.
    """
    rows, columns = known.shape[:2]
    return np.concatenate([_levels(plane), _places(rows, columns), _on_cells(known)], -1)


def layered_features(plane: np.ndarray, known: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Input of the net for layer 2: base_features() of a plane with that layer in it, and where it has it.

    Args:
        steps: uint8 (rows, columns) of layer 2, indices into LAYER_STEPS, or NO_STEP.

    Returns:
        float32 (2 * rows, 2 * columns, 34): behind the 32 whether the block has layer 2, and its step.
    """
    has = steps != NO_STEP
    layer = np.stack([has, np.where(has, (steps - np.float32(STEP_MIDDLE)) / np.float32(STEP_UNIT), 0)], -1)
    return np.concatenate([base_features(plane, known), _on_cells(layer.astype(np.float32))], -1)


def chroma_features(known: list[np.ndarray]) -> np.ndarray:
    """Input of the chroma net: what is known of Cb and Cr, and of the four luma blocks that lie under each of theirs.

    Args:
        known: features() of Y, Cb and Cr.

    Returns:
        float32 (rows, columns, 72) on the block grid of Cb and Cr; luma beyond its grid is its nearest block.
    """
    y, cb, cr = known
    rows, columns = cb.shape[:2]
    y = np.pad(y, ((0, 2 * rows - y.shape[0]), (0, 2 * columns - y.shape[1]), (0, 0)), mode="edge")
    four = y.reshape(rows, 2, columns, 2, CHANNELS).transpose(0, 2, 1, 3, 4).reshape(rows, columns, 4 * CHANNELS)
    return np.concatenate([cb, cr, four], -1)


def _levels(plane: np.ndarray) -> np.ndarray:
    """Samples as float32 (rows, columns, 16) around zero, those of a cell together."""
    rows, columns = (n // CELL for n in plane.shape)
    cells = plane.reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3).reshape(rows, columns, CELL**2)
    return (cells - np.float32(128)) / np.float32(LEVEL_UNIT)


def _on_cells(blocks: np.ndarray) -> np.ndarray:
    """What blocks (rows, columns, channels) have, for each of their cells."""
    return blocks.repeat(ACROSS, 0).repeat(ACROSS, 1)


def _places(rows: int, columns: int) -> np.ndarray:
    """Of every cell of rows x columns blocks, one-hot, which of its block it is."""
    return np.tile(np.eye(ACROSS**2, dtype=np.float32).reshape(ACROSS, ACROSS, -1), (rows, columns, 1))
