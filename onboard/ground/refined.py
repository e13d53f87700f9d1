"""The higher layers in the shown picture: refined blocks over the base's, lossless ones over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onboard.decoder import Decoding
from onboard.depth import colour_picture, to_depth
from onboard.layers import LOSSLESS_REACHED, spread_blocks
from onboard.planes import assemble, enlarge
from onboard.reference import layer_log2
from onboard.wire import Description

LOSSLESS = LOSSLESS_REACHED + 1  # in a mask


# planes with layers 2 to 14 applied, and the highest layer of each of their blocks
Refined = tuple[list[np.ndarray], list[np.ndarray]]


def show(
    decoding: Decoding,
    make_base: Callable[[], list[np.ndarray]],
    refined: Refined | None,
    luma_has_all: bool = False,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Picture, mask and report of a decoding.

    Args:
        make_base: gives the base's planes at full size, as any decoder shows them; asked only if they will be seen.
        refined: Decoding.refined(); None without higher layers.
        luma_has_all: the luma of the base has the higher layers already.
    """
    d = decoding.description
    if refined is None:
        return assemble(make_base(), d), decoding.mask(), {}
    planes, reached = refined
    if luma_has_all or not all(got.all() for got in reached):
        base = make_base()
        shown, anywhere = [], np.zeros((d.height, d.width), bool)
        for plane, (under, over, got) in enumerate(zip(base, planes, reached, strict=True)):
            if plane == 0 and luma_has_all:
                shown.append(under)
                continue
            where = _spread(got, plane, d)
            anywhere |= where
            low = to_depth(d.window, plane)[under] if d.window else under
            shown.append(np.where(where, enlarge(over, d, layer_log2(plane)), low))
        picture = _compose(shown, d)
        if d.window and len(planes) > 1:  # a pixel without layers is shown as if there were none, to the last bit
            picture = np.where(anywhere[..., None], picture, assemble(base, d))
    else:
        picture = _compose([enlarge(over, d, layer_log2(plane)) for plane, over in enumerate(planes)], d)
    exact = decoding.layers.lossless()
    if exact is not None:
        where = spread_blocks(exact[1], picture.shape)
        picture[where] = exact[0][where]
    mask = decoding.reached_mask(reached)
    blocks = np.bincount(mask.ravel())
    report = {
        "blocks_by_mask": {str(level): int(blocks[level]) for level in np.flatnonzero(blocks)},
        "sections_by_layer": decoding.layers.counts(),
        "unused_sections": decoding.layers.unused,
        "lossless": bool((mask == LOSSLESS).all()),
    }
    return picture, mask, {"layers": report}


def _spread(reached: np.ndarray, plane: int, description: Description) -> np.ndarray:
    """Where layers were applied to a plane, as a mask of the picture's samples."""
    log2 = layer_log2(plane)
    grid = (reached > 0).repeat(1 << log2, 0).repeat(1 << log2, 1)
    return spread_blocks(grid, (description.height, description.width))


def _compose(full: list[np.ndarray], description: Description) -> np.ndarray:
    """Picture from its planes at full size and at the depth of the source."""
    if description.window is None:
        return assemble(full, description)
    return colour_picture(full, description.window.depth) if len(full) > 1 else full[0]
