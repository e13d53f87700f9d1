"""What the neural decoders see, for training and for decoding: cells of pixels and what has arrived of their blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onboard.decoder import MISSING, PlaneLatents, PlaneState
from onboard.layers import NO_STEP
from onboard.wire import BLOCK, MAX_INDEX

CHANNELS = 12
FIRST_UNIT = 4096.0  # sixteenths: the first latent, 8 times a block's mean, spans about -4 to 4
REST_UNIT = 1024.0
LEVEL_UNIT = 64.0  # of 128 levels
STEP_MIDDLE, STEP_UNIT = 80.0, 40.0

# rows and columns of a block grid
Area = tuple[slice, slice]


@dataclass(frozen=True)
class Layout:
    """What the channels of a net's input are, one group after another.

    Attributes:
        cell: coded samples a side of a cell.
        squares: sides of squares whose every place has a channel: samples, and at last the cells of a block.
        blocks: how many blocks features() tell of.
        more: channels behind these.
    """

    cell: int
    squares: tuple[int, ...]
    blocks: int = 1
    more: int = 0

    @property
    def across(self) -> int:
        """Cells a side of a block."""
        return BLOCK // self.cell

    @property
    def known(self) -> list[int]:
        """Where what features() tell of a block begins, of each block."""
        first = sum(side * side for side in self.squares)
        return [first + CHANNELS * i for i in range(self.blocks)]

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.known[-1] + CHANNELS + self.more


# Of the parts of a net: luma as coded, with layer 2, and coded at half its size or less; Cb and Cr. A net with finer
# cells is better and dearer; those of a doubled plane are as fine, on the picture, as those of luma.
LAYOUTS = {
    "luma": Layout(4, (4, 2)),
    "layered": Layout(4, (4, 2), more=2),
    "doubled": Layout(2, (2, 4)),
    "chroma": Layout(4, (8, 4, 4, 2), blocks=3),
}


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


def pixels(part: Area, side: int) -> Area:
    """The samples of blocks of side x side samples."""
    rows, columns = part
    return slice(side * rows.start, side * rows.stop), slice(side * columns.start, side * columns.stop)


def whole_blocks(plane: np.ndarray, grid: tuple[int, ...], side: int) -> np.ndarray:
    """A plane itself, or with its edges repeated up to (rows, columns) whole blocks of side x side pixels."""
    missing = [(0, side * n - have) for n, have in zip(grid, plane.shape, strict=True)]
    return np.pad(plane, missing, mode="edge") if any(n for _, n in missing) else plane


def halved(part: Area) -> Area:
    """The squares of 2x2 blocks that some blocks lie in: those of chroma."""
    rows, columns = (slice(side.start // 2, -(-side.stop // 2)) for side in part)
    return rows, columns


def base_features(layout: Layout, plane: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Input of a net that corrects a plane coded with layers 0 and 1.

    Args:
        plane: uint8 (8 * rows, 8 * columns), as coded and decoded plainly.
        known: features() of its blocks (rows, columns, 12).

    Returns:
        float32 (across * rows, across * columns, channels), a cell each: its samples, one-hot where in its block it
        lies, and what is known of the block.
    """
    across = layout.across
    return np.concatenate([_levels(plane, layout.cell), _places(known, across), _on_cells(known, across)], -1)


def layered_features(layout: Layout, plane: np.ndarray, known: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Input of the net for layer 2: base_features() of a plane with that layer in it, and where it has it.

    Args:
        steps: uint8 (rows, columns) of layer 2, indices into LAYER_STEPS, or NO_STEP.

    Returns:
        float32 (across * rows, across * columns, channels): behind those whether the block has layer 2, and its step.
    """
    has = steps != NO_STEP
    layer = np.stack([has, np.where(has, (steps - np.float32(STEP_MIDDLE)) / np.float32(STEP_UNIT), 0)], -1)
    behind = _on_cells(layer.astype(np.float32), layout.across)
    return np.concatenate([base_features(layout, plane, known), behind], -1)


def chroma_features(layout: Layout, luma: np.ndarray, chroma: list[np.ndarray], known: list[np.ndarray]) -> np.ndarray:
    """Input of the chroma net, which goes by the luma's outlines.

    Args:
        luma: uint8, up to (16 * rows, 16 * columns), the best there is; beyond its end it goes on as its last samples.
        chroma: Cb and Cr, uint8 (8 * rows, 8 * columns), as coded and decoded plainly.
        known: features() of Y, Cb and Cr, the latter (rows, columns, 12).

    Returns:
        float32 (2 * rows, 2 * columns, channels), a cell each: the luma samples that it covers, its samples of Cb and
        of Cr, one-hot where in its block of chroma it lies, what is known of that block in both, and of the luma's.
    """
    y, cb, cr = known
    rows, columns = cb.shape[:2]
    side, across = layout.cell, layout.across
    cells = across * rows, across * columns
    luma = np.pad(luma, [(0, 2 * side * n - m) for n, m in zip(cells, luma.shape, strict=True)], mode="edge")
    y = np.pad(y, [(0, n - m) for n, m in zip(cells, y.shape[:2], strict=True)] + [(0, 0)], mode="edge")
    levels = _levels(luma, 2 * side), *(_levels(plane, side) for plane in chroma)
    return np.concatenate([*levels, _places(cb, across), _on_cells(cb, across), _on_cells(cr, across), y], -1)


def _levels(plane: np.ndarray, side: int) -> np.ndarray:
    """Samples as float32 (rows, columns, side * side) around zero, those of a cell together."""
    rows, columns = (n // side for n in plane.shape)
    cells = plane.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows, columns, side**2)
    return (cells - np.float32(128)) / np.float32(LEVEL_UNIT)


def _on_cells(blocks: np.ndarray, across: int) -> np.ndarray:
    """What blocks (rows, columns, channels) have, for each of their cells."""
    return blocks.repeat(across, 0).repeat(across, 1)


def _places(blocks: np.ndarray, across: int) -> np.ndarray:
    """Of every cell of blocks (rows, columns, channels), one-hot, which of its block it is."""
    return np.tile(np.eye(across**2, dtype=np.float32).reshape(across, across, -1), (*blocks.shape[:2], 1))
