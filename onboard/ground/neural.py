"""The neural decoders (display only): what they add to a picture made without them, run by LiteRT tile by tile.

A net sees what has arrived of a picture, and what it corrects, on a grid of cells (features.py), and is made of 3x3
convolutions only. So a tile with enough blocks around it gives the very values that the whole plane would give, and
what a net takes in memory does not grow with the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from onboard.decoder import MISSING, Decoding, PlaneLatents
from onboard.ground.features import (
    LAYOUTS,
    Area,
    Layout,
    base_features,
    chroma_features,
    features,
    halved,
    layered_features,
    pixels,
    whole_blocks,
)
from onboard.ground.linear import Neighbours, decode_blocks, decode_linear
from onboard.ground.margins import enlarge_inside, inside_margins
from onboard.ground.mirrors import mean_of_mirrors, parities
from onboard.ground.nets import MIRRORED, Net, load_net, net_file, stand_ins
from onboard.ground.refined import Refined
from onboard.layers import NO_STEP, spread_blocks
from onboard.planes import average, shape_at
from onboard.wire import BLOCK, MAX_INDEX, Colour, Description

# Indices into LAYER_STEPS: what is as fine as the first shows as it is, what is as coarse as the second has the whole
# correction, and between them it grows. Of a drawing's fine steps the net knows too little.
FINEST_STEP, FULL_STEP = 40, 62
LINEAR_SHARE, LEAST_LINEAR_SHARE = 0.6, 0.06  # in chroma, at the finest and the coarsest index: two err less than one
TILE = 192  # cells a side that one run of a net yields
ROWS = 96  # of blocks, into which higher layers are brought at once: whole planes more would be dear

# (tiles done, tiles in all)
Progress = Callable[[int, int], None]


def luma_part(decoding: Decoding, refined: Refined | None) -> str:
    """Which part of the nets makes the luma of a picture."""
    if decoding.description.scale_log2:
        return "doubled"
    if refined and luma_has_layers(decoding.description):
        made_in_one_go = decoding.layers.foretold_steps(0, refined[1][0]) != NO_STEP
        return "layered" if made_in_one_go.any() else "luma"
    return "luma"


def luma_has_layers(description: Description) -> bool:
    """Whether decode_neural() brings the higher layers into the luma by itself: of pictures of 8 bits at scale 1."""
    return description.scale_log2 == 0 and description.window is None


def decode_neural(
    decoding: Decoding,
    name: str,
    neighbours: Neighbours | None,
    refined: Refined | None = None,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> list[np.ndarray]:
    """Every plane at full size, uint8 (height, width), by the nets called `name`; see unavailable() and net_file().

    They are the plain ones, enlarged, with corrections; those of chroma go by the luma that has been made, and some of
    what the linear decoder makes is mixed in. Without a net for it (see stand_ins) chroma is the linear decoder's, and
    without matrices plain.

    Blocks of layer 2 in streams made in one go, coarser than FINEST_STEP, are improved as well where luma_has_layers();
    all other blocks with higher layers stay as these have them.
    """
    d = decoding.description
    seen = _Seen.of(decoding, folder)
    luma = _luma_job(seen, name, refined)
    colour = d.colour != Colour.GREY
    painter = _painter(name, d, folder) if colour else None
    total, done = len(_tiles(luma.layout, luma.inside)), count(1)
    if painter is not None:
        total += len(_tiles(LAYOUTS["chroma"], halved(luma.inside)))

    def tick() -> None:
        if progress is not None:
            progress(next(done), total)

    planes = _made(luma, d, tick)
    if painter is not None:
        planes += _made(_chroma_job(seen, name, painter, luma, neighbours, refined), d, tick)
    elif colour:
        planes += decoding.plain_full()[1:] if neighbours is None else decode_linear(decoding, neighbours, 1)
    return planes


def load_nets(name: str, part: str, description: Description, folder: Path | None) -> None:
    """Load what decode_neural() will run for a luma_part(). Raises ModelError when a file of it is no such net."""
    load_net(name, part, description.model_id, folder)
    if description.colour != Colour.GREY and (painter := _painter(name, description, folder)) is not None:
        load_net(painter, "chroma", description.model_id, folder)


def _painter(name: str, description: Description, folder: Path | None) -> str | None:
    """The net that makes chroma for a net."""
    found = (n for n in stand_ins(name) if net_file(n, "chroma", description.model_id, folder) is not None)
    return next(found, None)


def decode_luma(decoding: Decoding, name: str, folder: Path | None = None) -> np.ndarray:
    """The luma of a picture without higher layers, uint8 (height, width), as decode_neural() makes it."""
    (luma,) = _made(_luma_job(_Seen.of(decoding, folder), name, None), decoding.description, lambda: None)
    return luma


# outputs of features, float32 (rows, columns, channels) of cells both
Run = Callable[[np.ndarray], np.ndarray]
# features of a part, in blocks
View = Callable[[Area], np.ndarray]


@dataclass(frozen=True)
class _Job:
    """Planes that a net makes together: of what cells, how it runs, how many blocks around a block it looks at, what it
    sees, which blocks the margins leave, which of all stay as they are (bool, rows x columns), what it corrects in
    place, whole blocks at a scale of 1 << shown_log2, how much of its correction a block gets (float32, rows x columns;
    None for all), and what the linear decoder makes of the same, with its share in the result."""

    layout: Layout
    run: Run
    radius: int
    view: View
    inside: Area
    still: np.ndarray
    shown: list[np.ndarray]
    shown_log2: int
    strength: np.ndarray | None = None
    linear: list[np.ndarray] | None = None
    share: float = 0.0


@dataclass(frozen=True)
class _Seen:
    """What is there to go by: the folder of nets, latents, what is known of their blocks (features), and the plain
    planes, whole blocks."""

    decoding: Decoding
    folder: Path | None
    latents: list[PlaneLatents]
    known: list[np.ndarray]
    plain: list[np.ndarray]

    @classmethod
    def of(cls, decoding: Decoding, folder: Path | None) -> _Seen:
        latents = decoding.latents()
        known = [features(state, own) for state, own in zip(decoding.planes, latents, strict=True)]
        plain = [whole_blocks(p, own.shape[:2], BLOCK) for p, own in zip(decoding.plain(latents), known, strict=True)]
        return cls(decoding, folder, latents, known, plain)

    def busy(self, plane: int) -> np.ndarray:
        """Blocks (bool) that more than a first latent describes."""
        p = self.latents[plane]
        return p.group.reshape(p.rows, p.columns) > 0


def _made(job: _Job, description: Description, tick: Callable[[], None]) -> list[np.ndarray]:
    """The planes of a job at full size, uint8 (height, width); calls tick() after every tile."""
    height, width = shape_at(description, job.shown_log2)
    for tile in _tiles(job.layout, job.inside):
        if not job.still[tile].all():
            _correct(job, tile)
        tick()
    side = len(job.shown[0]) // len(job.still)
    return [enlarge_inside(p[:height, :width], job.inside, side, description, job.shown_log2) for p in job.shown]


def _luma_job(seen: _Seen, name: str, refined: Refined | None) -> _Job:
    d, plain, known, busy = seen.decoding.description, seen.plain[0], seen.known[0], seen.busy(0)
    latents, detailed = seen.latents[0], seen.decoding.planes[0].has_rest.reshape(busy.shape)
    own = luma_part(seen.decoding, refined)
    net, layout = load_net(name, own, d.model_id, seen.folder), LAYOUTS[own]
    strength = None
    if d.scale_log2:
        inside = inside_margins(latents, detailed, lambda: plain)
        shown_log2, (rows, columns) = d.scale_log2 - 1, shape_at(d, d.scale_log2)
        doubled = enlarge_inside(plain[:rows, :columns], inside, BLOCK, d, d.scale_log2, shown_log2)
        shown, still = whole_blocks(doubled, busy.shape, 2 * BLOCK), _featureless(latents, busy, inside)
    else:
        steps, changed, kept = _with_layers(seen.decoding, plain, refined if luma_has_layers(d) else None)
        inside = inside_margins(latents, detailed | kept | (steps != NO_STEP), lambda: plain)
        shown_log2, shown = 0, plain.copy()
        still = _featureless(latents, busy | changed, inside) | kept
        if own == "layered":
            coarseness = (steps - np.float32(FINEST_STEP)) / np.float32(FULL_STEP - FINEST_STEP)
            strength = np.where(steps == NO_STEP, np.float32(1), coarseness.clip(0, 1))

    def view(part: Area) -> np.ndarray:
        around = layout, plain[pixels(part, BLOCK)], known[part]
        return layered_features(*around, steps[part]) if own == "layered" else base_features(*around)

    run = _runner(seen, name, net, layout, 1)
    return _Job(layout, run, net.radius, view, inside, still, [shown], shown_log2, strength)


def _chroma_job(
    seen: _Seen, name: str, painter: str, luma: _Job, neighbours: Neighbours | None, refined: Refined | None
) -> _Job:
    """Cb and Cr, that go by what has been made of luma."""
    d, planes = seen.decoding.description, (1, 2)
    net, layout = load_net(painter, "chroma", d.model_id, seen.folder), LAYOUTS["chroma"]
    inside = halved(luma.inside)
    still = [_featureless(seen.latents[i], seen.busy(i), inside) for i in planes]
    all_still = still[0] & still[1] & _halved(luma.still, still[0].shape)
    if refined is not None and luma_has_layers(d):  # they will lie over all of this
        all_still |= np.logical_and(*(refined[1][i] > 0 for i in planes))
    own, (rows, columns) = d.scale_log2 + 1, shape_at(d, d.scale_log2 + 1)
    coded = (seen.plain[i][:rows, :columns] for i in planes)
    doubled = (enlarge_inside(plane, inside, BLOCK, d, own, d.scale_log2) for plane in coded)
    shown = [whole_blocks(plane, all_still.shape, 2 * BLOCK) for plane in doubled]
    height, width = shape_at(d, luma.shown_log2)
    guide = luma.shown[0][:height, :width]
    if d.scale_log2:
        guide = average(np.ascontiguousarray(guide), 1)

    def view(part: Area) -> np.ndarray:
        around = [seen.plain[i][pixels(part, BLOCK)] for i in planes]
        known = [seen.known[0][pixels(part, 2)], *(seen.known[i][part] for i in planes)]
        return chroma_features(layout, guide[pixels(part, 2 * BLOCK)], around, known)

    linear = None
    if neighbours is not None:
        linear = [decode_blocks(seen.decoding, neighbours, i, seen.latents[i], inside) for i in planes]
    share = _linear_share(seen.decoding.planes[1].usual_index())
    run = _runner(seen, name, net, layout, len(planes))
    return _Job(layout, run, net.radius, view, inside, all_still, shown, d.scale_log2, linear=linear, share=share)


def _linear_share(index: int) -> float:
    """What the linear decoder has of chroma at a quantiser index: the coarser, the less."""
    coarse = 1.0 if index == MISSING else index / MAX_INDEX
    return LINEAR_SHARE - coarse * (LINEAR_SHARE - LEAST_LINEAR_SHARE)


def _runner(seen: _Seen, name: str, net: Net, layout: Layout, planes: int) -> Run:
    """How a net is run."""
    if name not in MIRRORED:
        return net.run
    return partial(mean_of_mirrors, net.run, layout, planes, parities(seen.decoding.model))


def _with_layers(
    decoding: Decoding, plain: np.ndarray, refined: Refined | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring the higher layers into `plain`, whole blocks of luma: of every block the step of layer 2 where it was made
    in one go, whether (bool) they changed it, and whether it stays as they have it."""
    grid = plain.shape[0] // BLOCK, plain.shape[1] // BLOCK
    over, reached = (refined[0][0], refined[1][0]) if refined else (plain, np.zeros(grid, np.uint8))
    steps = decoding.layers.foretold_steps(0, reached)
    kept = (reached > 0) & ((steps <= FINEST_STEP) | (steps == NO_STEP))
    changed = np.zeros(grid, bool)
    for top in range(0, grid[0], ROWS):
        some = slice(top, min(top + ROWS, grid[0])), slice(0, grid[1])
        under, better = plain[pixels(some, BLOCK)], whole_blocks(over[pixels(some, BLOCK)], reached[some].shape, BLOCK)
        differs = (under != better) & spread_blocks(reached[some] > 0, under.shape)
        changed[some] = differs.reshape(-1, BLOCK, grid[1], BLOCK).any((1, 3))
        np.copyto(under, better, where=differs)
    return steps, changed, kept


def _featureless(latents: PlaneLatents, busy: np.ndarray, inside: Area) -> np.ndarray:
    """Blocks around which, two blocks far, everything inside is one flat tone, so that there is nothing to go by, and
    those outside: bool grid.

    A net would still move the tone a little, by what training pictures have in the mean; drawings are better off
    without.
    """
    first = latents.first.reshape(busy.shape)[inside]
    around = sliding_window_view(np.pad(first, 2, mode="edge"), (5, 5))
    near = sliding_window_view(np.pad(busy[inside], 2), (5, 5)).any((2, 3))
    still = np.ones(busy.shape, bool)
    still[inside] = (around.min((2, 3)) == around.max((2, 3))) & ~near
    return still


def _halved(still: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of squares of 2x2 blocks, whether all that there are are still."""
    padded = np.pad(still, [(0, 2 * n - m) for n, m in zip(shape, still.shape, strict=True)], constant_values=True)
    return np.asarray(padded.reshape(shape[0], 2, shape[1], 2).all((1, 3)))


def _correct(job: _Job, tile: Area) -> None:
    """Correct the blocks of a tile, as if the net had seen everything at once."""
    bounds = list(zip(tile, job.inside, strict=True))
    rows, columns = (slice(max(t.start - job.radius, b.start), min(t.stop + job.radius, b.stop)) for t, b in bounds)
    y, x = (slice(t.start - p.start, t.stop - p.start) for t, p in zip(tile, (rows, columns), strict=True))
    across = job.layout.across
    out = job.run(job.view((rows, columns)))[pixels((y, x), across)]
    down, along, channels = out.shape
    side = round((channels / len(job.shown)) ** 0.5)
    levels = out.reshape(down, along, -1, side, side).transpose(2, 0, 3, 1, 4).reshape(-1, side * down, side * along)
    wide = across * side
    area, moves = pixels(tile, wide), ~job.still[tile].repeat(wide, 0).repeat(wide, 1)
    if job.strength is not None:
        levels *= job.strength[tile].repeat(wide, 0).repeat(wide, 1)
    for i, (plane, correction) in enumerate(zip(job.shown, levels, strict=True)):
        part = plane[area]
        made = part + correction
        if job.linear is not None:
            made += np.float32(job.share) * (job.linear[i][area] - made)
        np.copyto(part, np.clip(np.rint(made), 0, 255), where=moves, casting="unsafe")


def _tiles(layout: Layout, inside: Area) -> list[Area]:
    """The tiles of some blocks."""
    side = max(TILE // layout.across, 1)
    rows, columns = ([slice(i, min(i + side, b.stop)) for i in range(b.start, b.stop, side)] for b in inside)
    return list(product(rows, columns))
