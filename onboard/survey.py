"""Some bands of a picture, to tell what the layers above 1 would make of all of it.

The latents are those of the whole picture, which are at hand: a band's blocks are predicted from the blocks that are
around them in the picture. Only what costs much is left to the bands: reconstruction and the symbols of layer 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from onboard.distortion import soften_edges, squared_error
from onboard.encoder import ALL_GROUP_1, Effort, Encoding, PlaneLatents
from onboard.kernels.entropy import UNITS
from onboard.kernels.predict import predict
from onboard.layer_header import FIRST_REFINEMENT, FORETOLD
from onboard.reference import layer_log2, reference_plane, whole
from onboard.refiner import Part, PartCoder, source_planes
from onboard.wire import BLOCK, MAX_PACKET, MAX_SIDE, Description

TALL = 2 * BLOCK  # rows of pixels of a band: whole blocks of luma and of chroma
SURVEYED_PIXELS = 1 << 19  # about
MOST_BANDS = MAX_SIDE // (
    TALL + 2 * BLOCK
)  # which, with the rows of blocks around each, are reconstructed as one picture


@dataclass(frozen=True)
class Survey:
    """Bands of a picture.

    Attributes:
        encoding: of the whole picture at scale 1.
        bands: their numbers, ascending; band n begins at row n * TALL.
        picture: their pixels, one below the other.
    """

    encoding: Encoding
    bands: np.ndarray
    picture: np.ndarray

    @property
    def share(self) -> float:
        """Pixels of the bands for each of the picture."""
        return len(self.picture) / self.encoding.description.height

    @cached_property
    def _description(self) -> Description:
        return replace(self.encoding.description, height=len(self.picture))

    @cached_property
    def _sources(self) -> list[np.ndarray]:
        return source_planes(self.picture, self._description)

    @cached_property
    def _latents(self) -> Encoding:
        """Of the bands, each with a row of blocks above and one below it, which predict what is between them."""
        planes = []
        for i, plane in enumerate(self.encoding.planes):
            per = _rows_of_band(i)
            rows = self.bands[:, None] * per + np.arange(-1, per + 1)
            planes.append(_take(plane, np.clip(rows, 0, plane.rows - 1).ravel()))
        return replace(self.encoding, planes=tuple(planes), finest=0)

    def parts(self, index: int, searched_blocks: int) -> list[PartCoder]:
        """What layer 0 alone, at an index, leaves of the bands."""
        d = self._description
        found = []
        for i, (source, first) in enumerate(zip(self._sources, self._latents.first_latents(index), strict=True)):
            part = Part(i, FIRST_REFINEMENT, FORETOLD, whole(d, i), source, self._foretold(i, first))
            found.append(PartCoder(part, d, searched_blocks))
        return found

    def layer_0_bytes(self, index: int) -> float:
        """About what layer 0 of the whole picture takes at an index."""
        taken = replace(self._latents, finest=0)
        packets = taken.sources(index, MAX_PACKET, ALL_GROUP_1, (), 0, None)
        share = [a.rows / b.rows for a, b in zip(self.encoding.planes, taken.planes, strict=True)]
        return sum(len(s.payload) * share[s.plane] for p in packets for s in p.sections)

    def base_error(self, index: int, effort: Effort) -> float:
        """Squared error of the bands' luma, at the depth of the source, with layers 0 and 1 and softened edges."""
        luma = replace(self._latents, planes=self._latents.planes[:1], finest=self.encoding.finest)
        (symbols,), (first,) = luma.symbols(index, effort), luma.first_latents(index)
        rest = np.zeros((len(first), 1 + UNITS), np.int16)
        rest[:, :UNITS] = np.clip(symbols.rest * luma.model.steps(index)[1:], -(1 << 15), (1 << 15) - 1)
        tall = replace(self._description, height=BLOCK * symbols.rows)
        latents = first, self._predicted(0, first, rest, symbols.group), symbols.group
        ours = reference_plane(tall, luma.model, 0, latents, symbols.columns, whole(tall, 0))
        bands = ours.reshape(len(self.bands), -1, ours.shape[1])  # with the rows of blocks above and below
        height = self.encoding.description.height
        for number, band in zip(self.bands, bands, strict=True):  # behind the picture's edges is nothing to soften
            top, bottom = BLOCK * (number == 0), len(band) - BLOCK * (TALL * (number + 1) >= height)
            soften_edges(band[top:bottom], tall, luma.model, index)
        inner = bands[:, BLOCK:-BLOCK].reshape(self._sources[0].shape)
        return squared_error([(self._sources[0], inner)])

    def _predicted(self, plane: int, first: np.ndarray, rest: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Latents 2 to 8 of a plane of the bands, with those above and below, from their residuals."""
        predicted = np.empty_like(rest)
        columns = self._latents.planes[plane].columns
        predict(first, rest, group, columns, self.encoding.model.prediction_matrix, predicted)
        return predicted

    def _foretold(self, plane: int, first: np.ndarray) -> np.ndarray:
        """What first latents, with those above and below, foretell of a plane of the bands."""
        d, columns = self._description, self._latents.planes[plane].columns
        rest, group = np.zeros((len(first), 1 + UNITS), np.int16), np.ones(len(first), np.uint8)
        predicted = self._predicted(plane, first, rest, group)
        inner = [
            np.ascontiguousarray(each.reshape(len(self.bands), _rows_of_band(plane) + 2, columns, -1)[:, 1:-1])
            for each in (first, predicted, group)
        ]
        latents = inner[0].ravel(), inner[1].reshape(-1, 1 + UNITS), inner[2].ravel()
        return reference_plane(d, self.encoding.model, plane, latents, columns, whole(d, plane))


def survey(picture: np.ndarray, encoding: Encoding) -> Survey:
    """Bands at equal distances, half of one from the picture's edges; of one that is at least TALL."""
    height, width = picture.shape[:2]
    total = height // TALL
    many = min(max(SURVEYED_PIXELS // (TALL * width), 1), total, MOST_BANDS)
    bands = (2 * np.arange(many) + 1) * total // (2 * many)
    return Survey(encoding, bands, np.concatenate([picture[TALL * n : TALL * (n + 1)] for n in bands]))


def _rows_of_band(plane: int) -> int:
    return TALL // BLOCK >> layer_log2(plane)


def _take(plane: PlaneLatents, rows: np.ndarray) -> PlaneLatents:
    """Some rows of blocks of a plane, one below the other."""
    residual = plane.residual.reshape(plane.rows, plane.columns)[rows]
    latents = plane.latents.T.reshape(-1, plane.rows, plane.columns)[:, rows]
    return PlaneLatents(len(rows), plane.columns, residual.ravel(), latents.reshape(len(latents), -1).T)
