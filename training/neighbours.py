"""`onboard-train neighbours`: the matrices of the neighbour-aware linear decoder, by regression on decoded pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onboard.encoder import Effort, analyse_picture
from onboard.ground.linear import CLASSES, FEATURES, Neighbours
from onboard.model import Model
from onboard.wire import Colour
from training.fit import decoded
from training.pictures import blocks, describe, find, load, luma, readable

INDICES = (32, 64, 88, 104, 120, 136, 152, 168, 188)
RIDGE = 2e3  # squared latents: keeps features that a class never shows at zero


def fit_neighbours(folders: list[Path], model: Model) -> Neighbours:
    """Fit matrices to the coded scale and to twice that, for every class of neighbourhood and quantiser index."""
    paths = readable(find(folders))
    own = _regress(paths, model, 0)
    return Neighbours(model.model_id, np.array(INDICES), own, _regress(paths, model, 1))


def _regress(paths: list[Path], model: Model, doubling: int) -> np.ndarray:
    side = 8 << doubling
    left = np.zeros((len(INDICES), CLASSES, FEATURES, FEATURES))
    right = np.zeros((len(INDICES), CLASSES, FEATURES, side * side))
    for picture in load(paths, f"neighbours, {side} wide"):
        (plane,) = analyse_picture(picture, describe(picture, Colour.GREY, doubling), model, 0, Effort(0, 0)).planes
        target = _tiles(luma(picture), side, plane.rows, plane.columns)
        for i, index in enumerate(INDICES):
            latents, group = decoded(plane, model, index)
            x, kind = features(latents, group, plane.rows, plane.columns)
            for c in range(CLASSES):
                chosen = kind == c
                left[i, c] += x[chosen].T @ x[chosen]
                right[i, c] += x[chosen].T @ target[chosen]
    # the kernel takes latents in sixteenths
    return np.linalg.solve(left + RIDGE * np.eye(FEATURES), right).astype(np.float32) / 16


def features(latents: np.ndarray, group: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The 72 latents around every block, float64 (blocks, 72), and the class of its neighbourhood (blocks,)."""
    padded = np.pad(latents.reshape(rows, columns, 8), ((1, 1), (1, 1), (0, 0)), mode="edge")
    groups = np.pad(group.reshape(rows, columns).astype(int), 1, mode="edge")
    around = [(dy, dx) for dy in range(3) for dx in range(3)]
    x = np.concatenate([padded[dy : dy + rows, dx : dx + columns] for dy, dx in around], -1).reshape(-1, FEATURES)
    count = sum(groups[dy : dy + rows, dx : dx + columns] for dy, dx in around if (dy, dx) != (1, 1))
    return x, 4 * group.astype(int) + np.digitize(count, (1, 3, 6)).ravel()


def _tiles(plane: np.ndarray, side: int, rows: int, columns: int) -> np.ndarray:
    """Targets: tiles of the full-size luma, minus 128, float64 (blocks, side * side)."""
    if side == 8:
        return blocks(plane).reshape(-1, 64)
    padded = np.pad(plane, ((0, side * rows - plane.shape[0]), (0, side * columns - plane.shape[1])), mode="edge")
    tiles = padded.reshape(rows, side, columns, side).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, side * side) - 128.0
