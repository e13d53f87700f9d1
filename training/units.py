"""Linear autoencoders in closed form: principal units, int8 weights, decoders re-fitted against them.

A linear autoencoder with a squared-error loss spans the principal subspace of its input (Baldi and Hornik 1989), so the
units are eigenvectors of the second moments of the blocks (pixel - 128, no mean removed: there is no bias).
"""

from __future__ import annotations

import numpy as np


def principal_units(moments: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` eigenvectors as rows, signs fixed so that the largest weight is positive, and the spectrum."""
    values, vectors = np.linalg.eigh(moments)
    units = vectors[:, ::-1][:, :count].T
    signs = np.sign(units[np.arange(count), np.abs(units).argmax(1)])
    return units * signs[:, None], values[::-1]


def quantise_rows(rows: np.ndarray) -> np.ndarray:
    """Rows to int8 with the largest weight at 127."""
    return np.rint(_scaled(rows)).astype(np.int8)


def balance_rows(rows: np.ndarray) -> np.ndarray:
    """Rows to int8 with the largest weight at 127, each summing to zero: of a flat block they say nothing."""
    wanted = _scaled(rows - rows.mean(1, keepdims=True))
    found = np.rint(wanted)
    for row, exact in zip(found, wanted, strict=True):
        surplus = int(row.sum())
        nearest = np.argsort((exact - row) * np.sign(surplus), kind="stable")[: abs(surplus)]
        row[nearest] -= np.sign(surplus)
    return found.astype(np.int8)


def _scaled(rows: np.ndarray) -> np.ndarray:
    """Rows with the largest weight at 127."""
    return np.asarray(rows / np.abs(rows).max(1, keepdims=True) * 127)


def latent_scale(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """multiplier (2048..4095) and shift per unit: a * multiplier >> shift is the unit-norm latent in sixteenths."""
    scale = 16 / np.sqrt((weights.astype(float) ** 2).sum(1))
    shift = np.floor(11 - np.log2(scale)).astype(int)
    multiplier = np.rint(scale * 2.0**shift).astype(int)
    over = multiplier > 4095
    return np.where(over, multiplier >> 1, multiplier).astype(np.uint16), (shift - over).astype(np.uint8)


def decoder_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float decoder rows (pixels per latent) to int8 weights and gains: row = weights * gain / 2^20."""
    gains = np.rint(np.abs(rows).max(1) / 127 * 2**20).astype(int)
    weights = np.clip(np.rint(rows * 2**20 / gains[:, None]), -127, 127)
    return weights.astype(np.int8), gains.astype(np.uint16)


def picture_of_units(units: np.ndarray, zoom: int = 12) -> np.ndarray:
    """uint8 picture: the units side by side as 8x8 tiles, zero as mid-grey."""
    tiles = units.reshape(-1, 8, 8) / np.abs(units).max(1)[:, None, None]
    tiles = np.pad(tiles, ((0, 0), (1, 1), (1, 1)), constant_values=1.0)
    strip = np.concatenate(list(tiles), axis=1)
    return np.kron(np.rint(strip * 127 + 128), np.ones((zoom, zoom))).astype(np.uint8)
