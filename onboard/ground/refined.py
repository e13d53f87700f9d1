"""The higher layers in the shown picture: refined blocks over the base's, lossless ones over all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onboard.decoder import Decoding
from onboard.layers import spread_blocks
from onboard.planes import assemble, enlarge
from onboard.reference import layer_log2

LOSSLESS = 255


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
    if d.window is None and not luma_has_all and all(got.all() for got in reached):
        picture = assemble([enlarge(over, d, layer_log2(plane)) for plane, over in enumerate(planes)], d)
    elif d.window is None:
        shown, base = [], make_base()
        for plane, (under, over, got) in enumerate(zip(base, planes, reached, strict=True)):
            if plane == 0 and luma_has_all:
                shown.append(under)
                continue
            log2 = layer_log2(plane)
            where = spread_blocks(got > 0, over.shape)
            if log2:
                where = where.repeat(1 << log2, 0).repeat(1 << log2, 1)[: d.height, : d.width]
            shown.append(np.where(where, enlarge(over, d, log2), under))
        picture = assemble(shown, d)
    else:
        picture = assemble(make_base(), d)
        if picture.ndim == 2:
            where = spread_blocks(reached[0] > 0, picture.shape)
            picture = np.where(where, planes[0], picture)
    exact = decoding.layers.lossless()
    if exact is not None:
        where = spread_blocks(exact[1], picture.shape)
        picture[where] = exact[0][where]
    mask = decoding.reached_mask(reached)
    levels, blocks = np.unique(mask, return_counts=True)
    report = {
        "blocks_by_mask": {str(level): int(n) for level, n in zip(levels, blocks, strict=True)},
        "sections_by_layer": decoding.layers.counts(),
        "unused_sections": decoding.layers.unused,
        "lossless": bool((mask == LOSSLESS).all()),
    }
    return picture, mask, {"layers": report}
