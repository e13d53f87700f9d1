"""Static Huffman codes against an ideal adaptive arithmetic coder on the same symbols in the same contexts.

    python -m benchmarks.entropy --train DIR [DIR...] [--data DIR] [--quality 30]

The oracle's counts start from the training statistics of the same table set, scaled to a weight, so that it does not
pay for learning; the weight is the one that serves it best over all pictures. Its length depends on the counts alone:
for a context with starting counts a and counts n of the picture, -log2 of prod Gamma(a_s + n_s) / Gamma(a_s) *
Gamma(sum a) / Gamma(sum a + sum n). Signs and the raw bits of buckets cost both the same; they count in the first
figure and are left out of the second.
"""

from __future__ import annotations

import argparse
import sys
from math import lgamma, log
from pathlib import Path

import numpy as np

from benchmarks.pictures import HEADLINE_SETS, add_data_option, data_folder, pictures
from onboard.encoder import Effort, quantise
from onboard.kernels.entropy import (
    FIRST_BASE,
    FIRST_BUCKETS,
    FIRST_DIRECT,
    FIRST_SYMBOLS,
    MASK_BASE,
    MASK_SYMBOLS,
    QUAD_BASE,
    SET_SYMBOLS,
    SIZE_BASE,
    SIZE_BUCKETS,
    SIZE_DIRECT,
    SIZE_SYMBOLS,
)
from onboard.model import default_model
from onboard.wire import index_of
from training import codes
from training.fit import analysed, count_symbols
from training.pictures import find, luma

WEIGHTS = (64, 256, 1024, 4096, 16384)
WHOLE = 1 << 30  # blocks: one section


def adaptive_bits(counts: np.ndarray, start: np.ndarray, weight: float) -> float:
    """Bits of the ideal adaptive coder for int64 (SET_SYMBOLS,) counts, starting from `start` scaled to `weight`."""
    total = 0.0
    for row in codes.contexts():
        n = counts[row]
        if not n.any():
            continue
        a = start[row] + codes.SMOOTHING
        a = a * (weight / a.sum())
        used = np.flatnonzero(n)
        total -= sum(lgamma(a[s] + n[s]) - lgamma(a[s]) for s in used)
        total -= lgamma(a.sum()) - lgamma(a.sum() + n.sum())
    return total / log(2)


def raw_bits(counts: np.ndarray) -> int:
    """Signs and bucket bits that follow the counted symbols (FORMAT.md sections 5.2 and 5.3)."""
    first = counts[FIRST_BASE:QUAD_BASE].reshape(-1, FIRST_SYMBOLS).sum(0)
    mask = counts[MASK_BASE:SIZE_BASE].reshape(-1, MASK_SYMBOLS).sum(0)
    size = counts[SIZE_BASE:].reshape(-1, SIZE_SYMBOLS).sum(0)
    signs = sum(int(n) * (s & 127).bit_count() for s, n in enumerate(mask))
    firsts = sum(int(first[2 * FIRST_DIRECT + 1 + b]) * (b + 2) for b in range(FIRST_BUCKETS))
    return signs + firsts + sum(int(size[SIZE_DIRECT + b]) * (b + 1) for b in range(SIZE_BUCKETS))


def by_set(found: list[tuple[int, np.ndarray]], excess: np.ndarray) -> str:
    """Mean excess of the pictures that each table set coded."""
    sets = np.array([table_set for table_set, _ in found])
    return ", ".join(f"{s}: {100 * excess[sets == s].mean():.2f} %" for s in np.unique(sets))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_data_option(parser)
    parser.add_argument("--train", nargs="+", type=Path, required=True, help="folders the model was trained on")
    parser.add_argument("--quality", type=float, nargs="+", default=[10, 20, 30, 40, 50, 65, 80])
    options = parser.parse_args(argv)
    model = default_model()
    folder = data_folder(options.data)
    greys = [luma(picture) for name in HEADLINE_SETS for _, picture in pictures(folder, name)]
    start = count_symbols(find(options.train)[::4], model)
    effort = Effort(model.threshold, model.price)
    print("quality pictures static over adaptive  without raw bits  worst   by table set")
    for quality in options.quality:
        found = []
        for grey in greys:
            index = index_of(quality)
            counts = np.zeros(SET_SYMBOLS, np.int64)
            codes.count_symbols(quantise(analysed(grey, model)[0], model, index, effort), counts, WHOLE)
            found.append((model.table_set(index), counts))
        static = [float(model.lengths[s].astype(np.int64) @ c) for s, c in found]
        ideal = min(([adaptive_bits(c, start[s], w) for s, c in found] for w in WEIGHTS), key=sum)
        excess = np.array(static) / np.array(ideal) - 1
        raw = sum(raw_bits(c) for _, c in found)
        whole = 100 * ((sum(static) + raw) / (sum(ideal) + raw) - 1)
        words = 100 * (sum(static) / sum(ideal) - 1)
        row = f"{quality:7g} {len(found):8d} {whole:18.2f} % {words:15.2f} % {100 * excess.max():5.1f} %"
        print(f"{row}   {by_set(found, excess)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
