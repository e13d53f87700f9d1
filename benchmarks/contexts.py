"""What other symbols and contexts of layer 0 would save, at the same quantised values.

    python -m benchmarks.contexts --images DIR... [--quality 30]

Four ways to code the first latents, each with three table sets of its own, made from one half of the pictures and
measured on the other, both ways round:

- now: as FORMAT.md section 5.2 says;
- pairs: runs of two zeros also in contexts 2 and 3, where a zero costs the least word of one bit;
- leaning: residuals change their sign where a linear prediction lies below the median one, so that the likelier sign is
  always the same and the two can have words of different lengths;
- degrees: leaning, and three contexts instead of one by how far the two predictions lie apart.

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
    FIRST_SYMBOLS,
    SET_SYMBOLS,
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

LINEAR = (9, 6, -3, 4)  # sixteenths of W, N, NW, NE: least squares on training pictures, rounded
DEGREES = 3
CONTEXTS = FIRST_CONTEXTS * DEGREES
WEIGHT = 256  # of the adaptive coder's starting counts
ROWS = [slice(c * FIRST_SYMBOLS, (c + 1) * FIRST_SYMBOLS) for c in range(CONTEXTS)]
NOW_RUNS = (4, 2) + (1,) * (FIRST_CONTEXTS - 2)
FAR = 1 << 20


@dataclass(frozen=True)
class Way:
    """A way to code first latents.

    Attributes:
        runs: longest run of zeros by level of activity.
        leans: whether signs lean.
        degrees: leans, in sixteenths, from which the second and the third context are taken.
    """

    runs: tuple[int, ...] = NOW_RUNS
    leans: bool = False
    degrees: tuple[int, int] = (FAR, FAR)


WAYS = {
    "now": Way(),
    "pairs": Way(runs=(4, 2, 2, 2, *NOW_RUNS[4:])),
    "leaning": Way(leans=True),
    "degrees": Way(leans=True, degrees=(4, 9)),
}


@njit
def lean(q: np.ndarray, n: int, row: int, column: int, width: int, prediction: int) -> int:
    """How far the linear prediction of block `n` lies above the median one, in sixteenths; 0 at the edges."""
    if row == 0 or column == 0:
        return 0
    north_east = q[n - width + 1] if column + 1 < width else q[n - width]
    linear = LINEAR[0] * q[n - 1] + LINEAR[1] * q[n - width] + LINEAR[2] * q[n - width - 1] + LINEAR[3] * north_east
    return linear - 16 * prediction


@njit
def count_first(
    q: np.ndarray,
    rows: int,
    columns: int,
    runs: tuple[int, ...],
    leans: bool,
    degrees: tuple[int, int],
    counts: np.ndarray,
) -> None:
    """Add the symbols of int64 first latents in phase order, one section, to int64 (CONTEXTS * FIRST_SYMBOLS,)."""
    size = np.empty(len(q), np.uint8)
    n = 0
    while n < len(q):
        row, column, width = locate(n, rows, columns)
        prediction, level = first_context(q, size, n, 0, row, column, width)
        r = q[n] - prediction
        size[n] = min(abs(r), 31)
        far = lean(q, n, row, column, width, prediction) if leans else 0
        degree = np.int64(abs(far) >= degrees[0]) + np.int64(abs(far) >= degrees[1])
        symbol = FIRST_DIRECT + (-r if far < 0 else r)
        taken = 1
        if r == 0:
            while taken < runs[level] and column + taken < width:
                after, _ = first_context(q, size, n + taken, 0, row, column + taken, width)
                if q[n + taken] != after:
                    break
                size[n + taken] = 0
                taken += 1
            if taken > 1:
                taken &= ~1
                symbol = FIRST_FOUR if taken == 4 else FIRST_PAIR
        elif abs(r) > FIRST_DIRECT:
            symbol = 2 * FIRST_DIRECT + 1 + bucket(abs(r) - FIRST_DIRECT - 1)
        counts[(level * DEGREES + degree) * FIRST_SYMBOLS + symbol] += 1
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
                count_first(first, plane.rows, plane.columns, way.runs, way.leans, way.degrees, counts[name][p, i])
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
