"""What other symbols and contexts of layer 0 would save, at the same quantised values.

    python -m benchmarks.contexts --images DIR... [--quality 30]

Four ways to code the first latents, each with three table sets of its own, made from one half of the pictures and
measured on the other, both ways round:

- now: as FORMAT.md section 5.2 says;
- upright: residuals keep their signs and no context knows the lean;
- pairs: runs of two zeros also in context 2, where a zero costs the least word of one bit;
- degrees: a strong lean has contexts of its own at three levels of activity and not at one.

For each quality: bits per pixel now, the change of the whole preview in bytes (mean over the pictures), and the excess
of layer 0 over the ideal adaptive coder of benchmarks.entropy (all pictures together). The excess alone is no guide:
pairs bring it down and cost bytes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from benchmarks.entropy import WHOLE, adaptive_bits, raw_bits
from onboard.encoder import Effort, quantise
from onboard.kernels.entropy import (
    FIRST_BUCKETS,
    FIRST_CONTEXTS,
    FIRST_DIRECT,
    FIRST_FOUR,
    FIRST_PAIR,
    FIRST_SPLIT,
    FIRST_STRONG,
    FIRST_SYMBOLS,
    SET_SYMBOLS,
    STRONG_LEAN,
    bucket,
    first_context,
    locate,
)
from onboard.model import SETS, default_model
from onboard.planes import phase_order
from onboard.wire import index_of
from training import codes
from training.fit import analysed
from training.pictures import find, load, luma

CONTEXTS = 2 * FIRST_CONTEXTS  # by level, for a weak and for a strong lean
WEIGHT = 256  # of the adaptive coder's starting counts
ROWS = [slice(c * FIRST_SYMBOLS, (c + 1) * FIRST_SYMBOLS) for c in range(CONTEXTS)]
NOW_RUNS = (4, 2) + (1,) * (FIRST_CONTEXTS - 2)


@dataclass(frozen=True)
class Way:
    """A way to code first latents.

    Attributes:
        runs: longest run of zeros by level of activity.
        leans: whether signs lean.
        split: levels at which a strong lean has a context of its own.
    """

    runs: tuple[int, ...] = NOW_RUNS
    leans: bool = True
    split: tuple[int, ...] = (FIRST_SPLIT,)


WAYS = {
    "now": Way(),
    "upright": Way(leans=False, split=()),
    "pairs": Way(runs=(4, 2, 2, *NOW_RUNS[3:])),
    "degrees": Way(split=(FIRST_SPLIT, FIRST_SPLIT + 1, FIRST_SPLIT + 2)),
}


@njit
def count_first(
    q: np.ndarray, rows: int, columns: int, runs: tuple[int, ...], leans: bool, split: np.ndarray, counts: np.ndarray
) -> None:
    """Add the symbols of int64 first latents in phase order, one section, to int64 (CONTEXTS * FIRST_SYMBOLS,).

    `split` holds what a strong lean adds to the context, by level.
    """
    size = np.empty(len(q), np.uint8)
    n = 0
    while n < len(q):
        row, column, width = locate(n, rows, columns)
        prediction, level, lean = first_context(q, size, n, 0, row, column, width)
        level = FIRST_SPLIT if level == FIRST_STRONG else level
        r = q[n] - prediction
        size[n] = min(abs(r), 31)
        symbol = FIRST_DIRECT + (-r if leans and lean < 0 else r)
        taken = 1
        if r == 0:
            while taken < runs[level] and column + taken < width:
                after, _, _ = first_context(q, size, n + taken, 0, row, column + taken, width)
                if q[n + taken] != after:
                    break
                size[n + taken] = 0
                taken += 1
            if taken > 1:
                taken &= ~1
                symbol = FIRST_FOUR if taken == 4 else FIRST_PAIR
        elif abs(r) > FIRST_DIRECT:
            symbol = 2 * FIRST_DIRECT + 1 + bucket(abs(r) - FIRST_DIRECT - 1)
        context = level + (split[level] if abs(lean) >= STRONG_LEAN else 0)
        counts[context * FIRST_SYMBOLS + symbol] += 1
        n += taken


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Code lengths for the counts of a table set, int64; run symbols have a word only where they were counted."""
    lengths = np.zeros(len(counts), np.int64)
    for row in ROWS:
        many = FIRST_PAIR + int((np.flatnonzero(counts[row][FIRST_PAIR:]) + 1).max(initial=0))
        weights = counts[row][:many] + codes.SMOOTHING
        lengths[row][:many] = codes.package_merge(np.append(weights, 0.0))[:-1]
    return lengths


def crossed(counts: np.ndarray, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Huffman, adaptive) bits of int64 (pictures, qualities, symbols) counts, tables being those of other pictures."""
    static, ideal = np.zeros(counts.shape[:2]), np.zeros(counts.shape[:2])
    for half in (0, 1):
        for table_set in range(SETS):
            used = np.flatnonzero(sets == table_set)
            start = counts[half::2][:, used].sum((0, 1))
            lengths = code_lengths(start)
            for picture in range(1 - half, len(counts), 2):
                for quality in used:
                    row = counts[picture, quality]
                    static[picture, quality] = row @ lengths
                    ideal[picture, quality] = adaptive_bits(row, start, WEIGHT, ROWS)
    return static, ideal


def bucket_bits(counts: np.ndarray) -> np.ndarray:
    """Raw bits of the first latents, over the last axis."""
    symbols = counts.reshape(*counts.shape[:-1], CONTEXTS, FIRST_SYMBOLS).sum(-2)
    return symbols[..., 2 * FIRST_DIRECT + 1 : FIRST_PAIR] @ np.arange(2, FIRST_BUCKETS + 2)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", nargs="+", type=Path, required=True, metavar="DIR", help="training pictures")
    parser.add_argument("--every", type=int, default=2, help="take every so many-th picture")
    parser.add_argument("--quality", type=float, nargs="+", default=[10, 20, 30, 40, 50])
    options = parser.parse_args(argv)
    model = default_model()
    effort = Effort(model.threshold, model.price)
    indices = [index_of(quality) for quality in options.quality]
    sets = np.array([model.table_set(index) for index in indices])
    paths = find(options.images)[:: options.every]
    counts = {name: np.zeros((len(paths), len(indices), CONTEXTS * FIRST_SYMBOLS), np.int64) for name in WAYS}
    whole = np.zeros((len(paths), len(indices)))
    pixels = np.zeros((len(paths), 1))
    for p, picture in enumerate(load(paths, "pictures")):
        grey = luma(picture)
        pixels[p] = grey.size
        (plane,) = analysed(grey, model)
        order = phase_order(plane.rows, plane.columns, 0, 0)
        for i, index in enumerate(indices):
            symbols = quantise(plane, model, index, effort)
            every = np.zeros(SET_SYMBOLS, np.int64)
            codes.count_symbols(symbols, every, WHOLE)
            whole[p, i] = every @ model.lengths[sets[i]].astype(np.int64) + raw_bits(every)
            first = symbols.first[order].astype(np.int64)
            for name, way in WAYS.items():
                split = FIRST_CONTEXTS * np.isin(np.arange(FIRST_CONTEXTS), way.split)
                count_first(first, plane.rows, plane.columns, way.runs, way.leans, split, counts[name][p, i])
    coded = {name: crossed(found, sets) for name, found in counts.items()}
    raw = {name: bucket_bits(found) for name, found in counts.items()}
    before = coded["now"][0] + raw["now"]
    print("quality  bpp    " + "".join(f"{name:>20}" for name in WAYS))
    for i, quality in enumerate(options.quality):
        line = f"{quality:7g}  {(whole[:, i] / pixels[:, 0]).mean():.4f} "
        for name, (static, ideal) in coded.items():
            change = 100 * ((static + raw[name] - before) / whole)[:, i].mean()
            excess = 100 * (static[:, i].sum() / ideal[:, i].sum() - 1)
            line += f" {change:+7.2f} % ({excess:5.2f} %)"
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
