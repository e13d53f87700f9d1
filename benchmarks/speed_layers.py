"""Speed at 1 bit per pixel against Pillow's JPEG, one thread: `python -m benchmarks.speed_layers [--data DIR]`.

Grey, 12 MP, in memory; the peer has the least quality that reaches the same size, and is told it: ours codes to the
budget, and at the step that this finds. Timed as in benchmarks.speed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from time import process_time

import numpy as np
from PIL import Image

from benchmarks import RESULTS, codec, one_thread, run
from benchmarks.pictures import add_data_option, data_folder, read
from benchmarks.speed import PAIRS, jpeg, pairs, unjpeg

BPP = 1.0
REGION_SIDE = 256
REGION_BUDGET = 20000


def known_step(grey: np.ndarray, data: bytes) -> Callable[[], list[bytes]]:
    """Encodes a picture at the refinement step that a stream of it has."""
    from onboard.job import Job
    from onboard.layer_header import FIRST_REFINEMENT, unpack_header
    from onboard.model import default_model
    from onboard.scan import scan
    from onboard.shot import single_shot
    from onboard.tables import REFINE_SETS
    from onboard.wire import MAX_PACKET, Description

    sections = [s for p in scan(data)[0] for s in p.sections if s.layer == FIRST_REFINEMENT]
    step = unpack_header(sections[0].payload, FIRST_REFINEMENT, REFINE_SETS)[0].step
    model = default_model()
    description = Description(1, 0, model.model_id, grey.shape[1], grey.shape[0])
    return lambda: single_shot(Job(grey, description, model, MAX_PACKET, (), None), step)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_data_option(parser)
    options = parser.parse_args(arguments)
    onboard = codec()
    grey = read(data_folder(options.data) / "big" / "caliterra_gray_4000x3000.png")
    image = Image.fromarray(grey)
    theirs = next(d for q in range(20, 101) if 8 * len(d := jpeg(image, q)) >= BPP * grey.size)
    quality = next(q for q in range(20, 101) if jpeg(image, q) == theirs)
    data = onboard.compress(grey, bpp=BPP)
    peer = partial(jpeg, image, quality)
    rows = [
        ("encode at a known step", *pairs(known_step(grey, data), peer)),
        ("encode to a budget", *pairs(partial(onboard.compress, grey, bpp=BPP), peer)),
    ]
    for enhance in ("plain", "linear"):
        ours = partial(onboard.decompress, data, enhance=enhance)
        rows.append((f"decode {enhance}", *pairs(ours, partial(unjpeg, theirs))))
    preview = onboard.compress(grey, bpp=0.05)
    region = (grey.shape[1] // 2, grey.shape[0] // 3, REGION_SIDE, REGION_SIDE)
    times = []
    for _ in range(PAIRS):
        began = process_time()
        onboard.refine(grey, preview, budget=REGION_BUDGET, regions=[region])
        times.append(process_time() - began)
    lines = [
        f"| what, 12 MP grey, {BPP:g} bpp, one thread | ours ms | peer ms | peer / ours |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [f"| {what}, JPEG quality {quality} | {a:.1f} | {b:.1f} | {ratio:.2f} |" for what, a, b, ratio in rows]
    lines += [
        "",
        f"A region of {REGION_SIDE}x{REGION_SIDE} refined to {REGION_BUDGET} bytes: {1e3 * min(times):.0f} ms.",
    ]
    print("\n".join(lines))
    (RESULTS / "speed_layers.md").write_text("# Speed of the layers\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    one_thread()
    sys.exit(run(main, sys.argv[1:]))
