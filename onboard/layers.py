"""The higher layers, decoder's side: sections of layers 2 to 15 are parsed as they come, kept, and applied where what
they refer to has arrived. FORMAT.md sections 11 and 12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from onboard.errors import SectionError
from onboard.kernels import refine_parse as parser
from onboard.kernels.lossless import parse_lossless
from onboard.kernels.refine import claim
from onboard.kernels.transform import add_inverse
from onboard.layer_header import (
    FIRST_REFINEMENT,
    FORETOLD,
    LAYER_LOSSLESS,
    LAYER_STEPS,
    NO_REFERENCE,
    NORMATIVE,
    LayerHeader,
    unpack_header,
)
from onboard.reference import SectionGrid, depth_of, find_grid, layer_grid, value_limit, work_kind
from onboard.tables import LOSSLESS_SETS, REFINE_SETS, lossless_codes, refinement_parser
from onboard.wire import BLOCK, Colour, Description, Section

LEAST_BITS = 2  # of a coefficient that is not 0
NO_STEP = 255
LOSSLESS_REACHED = 254  # what `reached` says of a lossless block: the mask adds 1


@dataclass(frozen=True)
class Parsed:
    """A section of layers 2 to 14.

    Attributes:
        index: quantiser index of the base that it refers to.
        reference, step: see layer_header.
        blocks: int32 (n,) raster indices in the plane's grid.
        filled: int32 (m,) those of them that are not empty.
        ends, coefficients: their quantised coefficients, see kernels.transform.add_inverse.
    """

    layer: int
    index: int
    reference: int
    step: int
    blocks: np.ndarray
    filled: np.ndarray
    ends: np.ndarray
    coefficients: np.ndarray

    def within(self, usable: np.ndarray) -> Parsed:
        """The usable ones of the blocks, of which `usable`, uint8 (blocks of the plane,), is not 0."""
        chosen = usable[self.filled] != 0
        many = np.diff(self.ends, prepend=0)
        return replace(
            self,
            blocks=self.blocks[usable[self.blocks] != 0],
            filled=self.filled[chosen],
            ends=many[chosen].cumsum(dtype=np.int32),
            coefficients=self.coefficients[chosen.repeat(many)],
        )


@dataclass(frozen=True)
class Unparsed:
    """A section of layers 2 to 14 whose symbols are still to be read.

    Attributes:
        index: quantiser index of the base that it refers to.
        payload: behind the header.
        grid: that it runs through; begin: its first block's number there.
    """

    section: Section
    index: int
    header: LayerHeader
    payload: bytes
    grid: SectionGrid
    begin: int

    @property
    def room(self) -> int:
        """Most coefficients that it can have, and those of a block."""
        return 8 * len(self.payload) // LEAST_BITS + parser.ROOM

    @property
    def places(self) -> int:
        """Most blocks that are not empty that it can have."""
        return min(len(self.grid.order) - self.begin, self.room)


def parse_together(some: Sequence[Unparsed]) -> list[Parsed | int]:
    """Sections of one table set, parsed side by side; of a malformed one the negative status."""
    rows = np.zeros((len(some), parser.FIELDS), np.int64)
    at = start = place = 0
    for row, one in zip(rows, some, strict=True):
        last, stop = 8 * (at + len(one.payload)), start + one.room
        row[: parser.END] = 8 * at, last, one.grid.rows, one.grid.columns, one.begin, start, stop, place
        at, start, place = at + len(one.payload) + parser.PADDING, stop, place + one.places
    data = np.frombuffer(b"".join(one.payload + b"\xff" * parser.PADDING for one in some), np.uint8)
    coefficients, filled, ends = np.empty(start, np.int32), np.empty(place, np.int32), np.empty(place, np.int32)
    parser.parse_refinement(
        data, rows.reshape(-1), *refinement_parser(some[0].header.table_set), coefficients, filled, ends
    )
    found: list[Parsed | int] = []
    for fields, one in zip(rows.tolist(), some, strict=True):
        end, used, many = fields[parser.END : parser.FILLED + 1]
        start, place = fields[parser.START], fields[parser.PLACES]
        head = one.section.layer, one.index, one.header.reference, one.header.step
        blocks = one.grid.order[one.begin : end], one.grid.order[filled[place : place + many]]
        own = ends[place : place + many].copy(), coefficients[start : start + used].copy()
        found.append(Parsed(*head, *blocks, *own) if end >= 0 else end)
    return found


# (plane, FORETOLD or NORMATIVE, quantiser index) -> bool grid of blocks where that reference is exact
ExactOf = Callable[[int, int, int], np.ndarray]
# (plane, FORETOLD or NORMATIVE) -> samples of the whole plane
BaseOf = Callable[[int, int], np.ndarray]


@dataclass
class Layers:
    """What has arrived of the higher layers of a picture.

    Attributes:
        unused: sections of which no block could be applied when planes were last made.
        whole: layers of which a section came that is none of a region: encoders send these of every block.
    """

    description: Description
    planes: int
    sections: dict[int, list[Parsed]] = field(default_factory=dict)
    unused: int = 0
    whole: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._lossless: list[np.ndarray] = []
        self._scratch = np.empty((0, 0), np.uint8)
        self._unparsed: list[Unparsed] = []
        self._has: list[np.ndarray] = []

    @property
    def any(self) -> bool:
        return bool(self.sections) or bool(self._lossless)

    def add(self, section: Section, index: int) -> None:
        """Keep a section; those of layers 2 to 14 count from the next parse() on. Raises SectionError."""
        if section.layer == LAYER_LOSSLESS:
            self._add_lossless(section)
            return
        header, payload = unpack_header(section.payload, section.layer, REFINE_SETS)
        d = self.description
        shape = layer_grid(d, section.plane)
        grid, begin = find_grid(shape, d.interleave_log2, section.phase, section.first, header.left, header.span)
        self._unparsed.append(Unparsed(section, index, header, payload, grid, begin))
        if header.span is None:
            self.whole.add(section.layer)

    def parse(self) -> int:
        """Read the symbols of what has been added since the last time; returns how many sections are malformed."""
        waiting, self._unparsed = self._unparsed, []
        found: dict[int, Parsed | int] = {}
        for table_set in {one.header.table_set for one in waiting}:
            numbers = [i for i, one in enumerate(waiting) if one.header.table_set == table_set]
            for begin in range(0, len(numbers), parser.WAYS):
                some = numbers[begin : begin + parser.WAYS]
                found.update(zip(some, parse_together([waiting[i] for i in some]), strict=True))
        for i, one in enumerate(waiting):
            parsed = found[i]
            if isinstance(parsed, Parsed):
                self.sections.setdefault(one.section.plane, []).append(parsed)
        return sum(isinstance(parsed, int) for parsed in found.values())

    def _add_lossless(self, section: Section) -> None:
        header, payload = unpack_header(section.payload, section.layer, LOSSLESS_SETS)
        d = self.description
        rows, columns = -(-d.height // BLOCK), -(-d.width // BLOCK)
        if not self._lossless:
            kind = np.uint8 if d.window is None else np.uint16
            size = (BLOCK * rows, BLOCK * columns)
            self._lossless = [np.zeros(size, kind) for _ in range(self.planes)]
            self._has = [np.zeros(rows * columns, bool) for _ in range(self.planes)]
            self._scratch = np.empty(size, kind)
        shape = (rows, columns)
        grid, begin = find_grid(shape, d.interleave_log2, section.phase, section.first, header.left, header.span)
        end = parse_lossless(
            np.frombuffer(payload, np.uint8), 1 << (depth_of(d) - 1), grid.order[begin:], grid.rows, grid.columns,
            d.interleave_log2 == 0, begin, lossless_codes().lookup(header.table_set),
            np.empty(len(grid.order), np.uint8), self._scratch,
        )  # fmt: skip
        if end < 0:
            raise SectionError(end)
        if header.span is None:
            self.whole.add(LAYER_LOSSLESS)
        blocks = grid.order[begin:end]
        cut = (rows, BLOCK, columns, BLOCK)
        y, x = blocks // columns, blocks % columns
        self._lossless[section.plane].reshape(cut)[y, :, x] = self._scratch.reshape(cut)[y, :, x]
        self._has[section.plane][blocks] = True

    def refine(self, base: BaseOf, exact: ExactOf) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Planes of layers 2 to 14 and the highest layer applied to each of their blocks.

        Returns:
            (samples at layer size, uint8 reached (rows, columns) with 0 where no layer was) of each plane.
        """
        self.unused = 0
        found = [self._refine_plane(plane, base, exact) for plane in range(self.planes)]
        return [p for p, _ in found], [r for _, r in found]

    def _refine_plane(self, plane: int, base: BaseOf, exact: ExactOf) -> tuple[np.ndarray, np.ndarray]:
        d = self.description
        rows, columns = layer_grid(d, plane)
        depth = depth_of(d)
        reached = np.zeros(rows * columns, np.uint8)
        # of two copies of a block's layer the first in this order stays: the other one then finds the block taken
        sections = sorted(self.sections.get(plane, []), key=lambda s: (s.layer, s.step, s.reference, s.index))
        references = {s.reference for s in sections}
        kind = FORETOLD if FORETOLD in references and NORMATIVE not in references else NORMATIVE
        samples = base(plane, kind)
        other = base(plane, FORETOLD) if kind == NORMATIVE and FORETOLD in references else samples
        cache: dict[tuple[int, int], np.ndarray] = {}
        always, usable = np.ones(rows * columns, bool), np.empty(rows * columns, np.uint8)
        for s in sections:
            exactly, wanted = always, 0
            if s.reference in (FORETOLD, NORMATIVE):
                key = (s.reference, s.index)
                if key not in cache:
                    cache[key] = exact(plane, *key).ravel()
                exactly = cache[key]
            elif s.reference != NO_REFERENCE:
                wanted = s.reference
            claimed = claim(s.blocks, exactly, wanted, s.layer, reached, usable)
            if claimed == 0:
                self.unused += bool((reached[s.blocks] < s.layer).any())  # else it came twice
                continue
            use = s if claimed == len(s.blocks) else s.within(usable)
            if s.reference == NO_REFERENCE:
                _fill(samples, use.blocks, columns, None, 1 << (depth - 1))
            elif s.reference == FORETOLD and other is not samples:
                _fill(samples, use.blocks, columns, other, 0)
            add_inverse(
                use.coefficients, use.ends, LAYER_STEPS[s.step], use.filled, columns, value_limit(depth),
                (1 << depth) - 1, work_kind(depth), samples,
            )  # fmt: skip
        untouched = np.flatnonzero(reached == 0)
        if kind == FORETOLD and len(untouched):
            _fill(samples, untouched, columns, base(plane, NORMATIVE), 0)
        return samples, reached.reshape(rows, columns)

    def foretold_steps(self, plane: int, reached: np.ndarray) -> np.ndarray:
        """Step (index into LAYER_STEPS) of the blocks that reached layer 2 straight from what layer 0 foretells, as
        streams made in one go have them: uint8 (rows, columns), NO_STEP elsewhere."""
        steps = np.full(reached.size, NO_STEP, np.uint8)
        for s in sorted(self.sections.get(plane, []), key=lambda s: s.step, reverse=True):
            if s.layer == FIRST_REFINEMENT and s.reference == FORETOLD:
                steps[s.blocks] = s.step
        return np.where(reached == FIRST_REFINEMENT, steps.reshape(reached.shape), NO_STEP).astype(np.uint8)

    def lossless(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Exact samples of the picture and the bool grid of the blocks that have all channels; None without any."""
        if not self._lossless:
            return None
        d = self.description
        has = np.logical_and.reduce(self._has).reshape(-(-d.height // BLOCK), -(-d.width // BLOCK))
        planes = [p[: d.height, : d.width] for p in self._lossless]
        if d.colour == Colour.GREY:
            return planes[0], has
        half = 1 << (depth_of(d) - 1)
        y, u, v = (p.astype(np.int32) for p in planes)
        u, v = u - half, v - half
        green = y - ((u + v) >> 2)
        rgb = np.stack([green + u, green, green + v], -1) & (2 * half - 1)
        return rgb.astype(planes[0].dtype), has

    def arrived(self, layer: int, plane: int) -> np.ndarray:
        """Blocks of a plane whose layer has arrived, whether it can be applied or not: bool, raster order."""
        if layer == LAYER_LOSSLESS:
            return self._has[plane]
        rows, columns = layer_grid(self.description, plane)
        got = np.zeros(rows * columns, bool)
        for s in self.sections.get(plane, []):
            if s.layer == layer:
                got[s.blocks] = True
        return got

    def counts(self) -> dict[str, int]:
        """Sections kept, by layer, for reports."""
        found: dict[str, int] = {}
        for sections in self.sections.values():
            for s in sections:
                found[str(s.layer)] = found.get(str(s.layer), 0) + 1
        return found


def _fill(samples: np.ndarray, blocks: np.ndarray, columns: int, source: np.ndarray | None, value: int) -> None:
    """Set some blocks of a plane to another plane's samples or to one value."""
    chosen = np.zeros(-(-samples.shape[0] // BLOCK) * columns, bool)
    chosen[blocks] = True
    spread = spread_blocks(chosen.reshape(-1, columns), samples.shape)
    samples[spread] = value if source is None else source[spread]


def spread_blocks(grid: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A grid of blocks as a mask of samples."""
    return grid.repeat(BLOCK, 0).repeat(BLOCK, 1)[: shape[0], : shape[1]]
