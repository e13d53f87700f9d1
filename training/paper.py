"""`onboard-train paper`: the MSE of Taha et al. 2025 (doi 10.21608/fuje.2025.314170.1091), by the paper's protocol.

The paper trains on the Waterloo set and reports the MSE of the reconstruction on three of its pictures, without
quantisation: table 2, first row (one latent), and table 1, last row (four latents, no activation).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onboard.errors import InputError
from onboard.model import Model, default_model
from training.pictures import blocks, find, load, luma, readable
from training.units import principal_units

PAPER = {
    1: {"lena": 282.28, "boat": 386.56, "goldhill": 262.67},
    4: {"lena": 91.3, "boat": 159.3, "goldhill": 114.48},
}
SIDE = 512


def reproduce(folder: Path, model: Model | None = None) -> list[dict[str, Any]]:
    """One row per picture and number of latents: the paper's MSE, ours by its protocol, the shipped model's.

    Args:
        folder: the Waterloo pictures; those of 512x512 are the training set. The weights are thrown away.
    """
    model = model or default_model()
    found = {}
    for path, picture in zip(paths := readable(find([folder])), load(paths, "pictures"), strict=True):
        if picture.shape[:2] == (SIDE, SIDE):
            found[path.stem] = blocks(luma(picture)).reshape(-1, 64)
    missing = set(PAPER[1]) - set(found)
    if missing:
        raise InputError(f"{folder}: no 512x512 picture named {', '.join(sorted(missing))}")
    units, _ = principal_units(sum(x.T @ x for x in found.values()), max(PAPER))
    shipped = model.weights / np.sqrt((model.weights.astype(float) ** 2).sum(1))[:, None]
    rows = []
    for latents, figures in PAPER.items():
        for name, paper in figures.items():
            x = found[name]
            rows.append(
                {
                    "picture": name,
                    "latents": latents,
                    "paper": paper,
                    "reproduced": round(_error(x, units[:latents]), 2),
                    "shipped_model": round(_error(x, shipped[:latents]), 2),
                }
            )
    return rows


def _error(x: np.ndarray, units: np.ndarray) -> float:
    """MSE of the reconstruction from the latents of these units, with the pseudo-inverse as decoder."""
    return float(np.mean((x - x @ units.T @ np.linalg.pinv(units.T)) ** 2))
