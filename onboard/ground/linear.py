"""The neighbour-aware linear decoder (display only): matrices fitted to one model, by quantiser index and scale."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files

import numpy as np

from onboard.decoder import Decoding, PlaneLatents
from onboard.errors import ModelError
from onboard.ground.features import Area, halved, pixels, whole_blocks
from onboard.ground.margins import enlarge_inside, inside_margins, whole_area
from onboard.kernels.neighbours import decode_neighbours
from onboard.planes import plane_log2, shape_at
from onboard.wire import BLOCK

ARTEFACT = "neighbours-{:04x}.npz"
CLASSES = 8
FEATURES = 72


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Matrices of one model.

    Attributes:
        model_id: the model they were fitted to.
        indices: int (n,) quantiser indices the matrices were fitted at, ascending.
        own: float32 (n, 8, 72, 64): to the coded scale.
        doubled: float32 (n, 8, 72, 256): to twice that, for pictures coded at scale 2 and more.
    """

    model_id: int
    indices: np.ndarray
    own: np.ndarray
    doubled: np.ndarray

    def nearest(self, index: int) -> int:
        return int(np.abs(self.indices - index).argmin())


def pack_neighbours(neighbours: Neighbours) -> bytes:
    """Artefact file; weights as int8 rows with float32 scales."""
    arrays: dict[str, np.ndarray] = {
        "model_id": np.array(neighbours.model_id),
        "indices": neighbours.indices.astype(np.int16),
    }
    for name in ("own", "doubled"):
        weights = getattr(neighbours, name)
        scale = np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-9) / 127
        arrays[name] = np.rint(weights / scale).astype(np.int8)
        arrays[name + "_scale"] = scale.astype(np.float32)
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    return out.getvalue()


def parse_neighbours(data: bytes) -> Neighbours:
    """Inverse of pack_neighbours. Raises ModelError."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as f:
            own, doubled = (np.ascontiguousarray(f[n] * f[n + "_scale"]) for n in ("own", "doubled"))
            indices = f["indices"].astype(int)
            for weights, side in ((own, BLOCK), (doubled, 2 * BLOCK)):
                if weights.shape != (len(indices), CLASSES, FEATURES, side * side):
                    raise ValueError("matrices of another shape")
            return Neighbours(int(f["model_id"]), indices, own, doubled)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ModelError("not a whole file of matrices, as `onboard-train neighbours` makes it") from None


def find_neighbours(model_id: int, given: Neighbours | None = None) -> Neighbours | None:
    """The matrices that fit a model, None when there are none (the model then decodes plainly)."""
    return given if given is not None and given.model_id == model_id else _shipped(model_id)


@lru_cache(maxsize=4)
def _shipped(model_id: int) -> Neighbours | None:
    path = files("onboard.ground") / "models" / ARTEFACT.format(model_id)
    return parse_neighbours(path.read_bytes()) if path.is_file() else None


def decode_linear(decoding: Decoding, neighbours: Neighbours, first: int = 0) -> list[np.ndarray]:
    """The planes from number `first` on at full size: uint8 (height, width); margins are plain.

    What is coded smaller is doubled by the matrices themselves.
    """
    d, latents = decoding.description, decoding.latents()
    plain = lru_cache(partial(decoding.plain, latents))
    grid = latents[0].rows, latents[0].columns
    inside = inside_margins(latents[0], decoding.planes[0].has_rest, lambda: whole_blocks(plain()[0], grid, BLOCK))
    planes = []
    for i in range(first, len(latents)):
        own = plane_log2(d, i)
        log2 = max(own - 1, 0)
        times, part = 1 << own - log2, inside if i == 0 else halved(inside)
        side, (height, width) = BLOCK * times, shape_at(d, log2)
        shown = decode_blocks(decoding, neighbours, i, latents[i], part)[:height, :width]
        if inside != whole_area(grid):
            where, made = pixels(part, side), shown
            shown = plain()[i].repeat(times, 0).repeat(times, 1)[:height, :width]
            shown[where] = made[where]
        planes.append(enlarge_inside(shown, part, side, d, log2))
    return planes


def decode_blocks(
    decoding: Decoding, neighbours: Neighbours, plane: int, latents: PlaneLatents, inside: Area
) -> np.ndarray:
    """Whole blocks of a plane: uint8 (side * rows, side * columns), side 8, or 16 for what is coded smaller.

    Only those inside are made, as if there were no others; the rest is zero.
    """
    index = decoding.model.plane_index(decoding.planes[plane].usual_index(), plane)
    smaller = plane_log2(decoding.description, plane) > 0
    weights = (neighbours.doubled if smaller else neighbours.own)[neighbours.nearest(index)]
    side = 2 * BLOCK if smaller else BLOCK
    part = latents.part(*inside)
    made = np.empty((side * part.rows, side * part.columns), np.uint8)
    decode_neighbours(part.first, part.rest_rows, part.group, part.columns, weights, side, made)
    if part is latents:
        return made
    out = np.zeros((side * latents.rows, side * latents.columns), np.uint8)
    out[pixels(inside, side)] = made
    return out
