"""Static Huffman codes against an ideal adaptive arithmetic coder on the same symbols in the same contexts.

    python -m benchmarks.entropy --train DIR [DIR...] [--data DIR] [--quality 30] [--parts]

The oracle's counts start from the training statistics of the same table set, scaled to a weight in every context, so
that it does not pay for learning; the weight is the one that serves it best over these very pictures, which no coder
can know before. A second table says what other weights give, and the training counts as they are. Its length depends on
the counts alone: for a context with starting counts a and counts n of the picture, -log2 of
prod Gamma(a_s + n_s) / Gamma(a_s) * Gamma(sum a) / Gamma(sum a + sum n). Signs and the raw bits of buckets cost both
the same; they count in the first figure and are left out of the second.

`--parts` takes the first figure apart by kind of symbol: what whole bits a word cost against fractions of bits with the
training statistics, how much of that is due to symbols of a probability above one half, which still need a bit, and
what these statistics, the same for all pictures, cost against the oracle's. Beside it stands what the best of the
model's table sets, chosen picture by picture and layer by layer, would save.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
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
    KINDS,
    MASK_BASE,
    MASK_SYMBOLS,
    QUAD_BASE,
    SET_SYMBOLS,
    SIZE_BASE,
    SIZE_BUCKETS,
    SIZE_DIRECT,
    SIZE_SYMBOLS,
)
from onboard.model import Model, default_model
from onboard.wire import index_of
from training import codes
from training.fit import analysed, count_symbols
from training.pictures import find, luma

WEIGHTS = (16, 64, 256, 1024, 4096, 16384)
WHOLE = 1 << 30  # blocks: one section
KIND_SYMBOLS = [slice(base, base + many * size) for base, many, size in KINDS]
KIND_ROWS = {
    name: [slice(at, at + size) for at in range(base, base + many * size, size)]
    for name, (base, many, size) in zip(("first", "quad", "mask", "size"), KINDS, strict=True)
}
LAYER_SYMBOLS = (slice(FIRST_BASE, QUAD_BASE), slice(QUAD_BASE, SET_SYMBOLS))


@dataclass(frozen=True)
class Coded:
    """What the pictures cost at one quality, in bits, added up by kind of symbol.

    Attributes:
        static, ideal: float64 (pictures, kinds): code words, and the oracle with the weight that serves it best.
        weighted: float64 (WEIGHTS + 1,): the oracle with each weight, and with the training counts as they are.
        fraction: float64 (pictures, kinds): as static, with ideal fractions of bits from the training statistics.
        least: float64 (pictures, kinds): what of the difference is due to a word having at least one bit.
        chosen: int64 (pictures,): code words of the best table set for each layer.
        raw: signs and bucket bits of all pictures.
        table_set: what coded them.
    """

    static: np.ndarray
    ideal: np.ndarray
    weighted: np.ndarray
    fraction: np.ndarray
    least: np.ndarray
    chosen: np.ndarray
    raw: int
    table_set: int


def adaptive_bits(counts: np.ndarray, start: np.ndarray, weight: float | None, rows: list[slice]) -> float:
    """Bits of the ideal adaptive coder for counts in the contexts `rows`, starting from `start` scaled to `weight`, or
    as it is."""
    total = 0.0
    for row in rows:
        n = counts[row]
        if not n.any():
            continue
        a = start[row] + codes.SMOOTHING
        if weight is not None:
            a = a * (weight / a.sum())
        used = np.flatnonzero(n)
        total -= sum(lgamma(a[s] + n[s]) - lgamma(a[s]) for s in used)
        total -= lgamma(a.sum()) - lgamma(a.sum() + n.sum())
    return total / log(2)


def fraction_bits(counts: np.ndarray, start: np.ndarray, rows: list[slice]) -> tuple[float, float]:
    """Bits of a static arithmetic coder with the statistics `start` for counts in the contexts `rows`, and those of a
    bit that it saves where it spends less than one."""
    total = saved = 0.0
    for row in rows:
        a = start[row] + codes.SMOOTHING
        bits = -np.log2(a / a.sum())
        total += float(counts[row] @ bits)
        saved += float(counts[row] @ np.maximum(1 - bits, 0))
    return total, saved


def raw_bits(counts: np.ndarray) -> int:
    """Signs and bucket bits that follow the counted symbols (FORMAT.md sections 5.2 and 5.3)."""
    first = counts[FIRST_BASE:QUAD_BASE].reshape(-1, FIRST_SYMBOLS).sum(0)
    mask = counts[MASK_BASE:SIZE_BASE].reshape(-1, MASK_SYMBOLS).sum(0)
    size = counts[SIZE_BASE:].reshape(-1, SIZE_SYMBOLS).sum(0)
    signs = sum(int(n) * (s & 127).bit_count() for s, n in enumerate(mask))
    firsts = sum(int(first[2 * FIRST_DIRECT + 1 + b]) * (b + 2) for b in range(FIRST_BUCKETS))
    return signs + firsts + sum(int(size[SIZE_DIRECT + b]) * (b + 1) for b in range(SIZE_BUCKETS))


def measure(greys: list[np.ndarray], quality: float, start: np.ndarray, model: Model) -> Coded:
    """Code all pictures at a quality."""
    index = index_of(quality)
    table_set = model.table_set(index)
    effort = Effort(model.threshold, model.price)
    counts = np.zeros((len(greys), SET_SYMBOLS), np.int64)
    for grey, row in zip(greys, counts, strict=True):
        codes.count_symbols(quantise(analysed(grey, model)[0], model, index, effort), row, WHOLE)
    begin = start[table_set]
    lengths = model.lengths.astype(np.int64)
    fractions = np.array([[fraction_bits(c, begin, rows) for rows in KIND_ROWS.values()] for c in counts])
    adaptive = [
        np.array([[adaptive_bits(c, begin, w, rows) for rows in KIND_ROWS.values()] for c in counts])
        for w in (*WEIGHTS, None)
    ]
    return Coded(
        np.stack([counts[:, kind] @ lengths[table_set, kind] for kind in KIND_SYMBOLS], -1),
        min(adaptive, key=np.sum),
        np.array([bits.sum() for bits in adaptive]),
        fractions[..., 0],
        fractions[..., 1],
        sum((counts[:, layer] @ lengths[:, layer].T).min(1) for layer in LAYER_SYMBOLS),
        sum(map(raw_bits, counts)),
        table_set,
    )


def whole_line(quality: float, coded: Coded) -> str:
    """How far static codes are from the oracle."""
    static, ideal = coded.static.sum(1), coded.ideal.sum(1)
    excess = static / ideal - 1
    whole = (static.sum() + coded.raw) / (ideal.sum() + coded.raw) - 1
    return (
        f"{quality:7g} {len(static):8d} {100 * whole:18.2f} % {100 * (static.sum() / ideal.sum() - 1):15.2f} %"
        f" {100 * excess.max():5.1f} % {100 * excess.mean():5.2f} % {coded.table_set:9d}"
    )


def weight_line(quality: float, coded: Coded) -> str:
    """The first figure of whole_line() by the oracle's weight."""
    excess = (coded.static.sum() + coded.raw) / (coded.weighted + coded.raw) - 1
    return f"{quality:7g} " + " ".join(f"{100 * x:6.2f} %" for x in excess)


def part_lines(quality: float, coded: Coded) -> list[str]:
    """Where the excess comes from, in per cent of the oracle's bits, raw ones included."""
    ideal = coded.ideal.sum() + coded.raw
    static = coded.static.sum() + coded.raw
    least = 100 * coded.least.sum(0) / ideal
    integer = 100 * (coded.static - coded.fraction).sum(0) / ideal
    settled = 100 * (coded.fraction - coded.ideal).sum(0) / ideal
    share = 100 * coded.static.sum(0) / static
    rows = [*zip(KIND_ROWS, share, integer, least, settled, strict=True)]
    rows += [("raw", 100 * coded.raw / static, 0.0, 0.0, 0.0)]
    rows += [("all", 100.0, integer.sum(), least.sum(), settled.sum())]
    saved = 100 * (1 - (coded.chosen.sum() + coded.raw) / static)
    lines = [f"{quality:7g} {name:6} {a:7.1f} % {b:11.2f} % {c:7.2f} % {d:11.2f} %" for name, a, b, c, d in rows]
    return [*lines[:-1], f"{lines[-1]} {saved:9.2f} %"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_data_option(parser)
    parser.add_argument("--train", nargs="+", type=Path, required=True, help="folders the model was trained on")
    parser.add_argument("--quality", type=float, nargs="+", default=[10, 20, 30, 40, 50, 65, 80])
    parser.add_argument("--parts", action="store_true", help="where the excess comes from")
    options = parser.parse_args(argv)
    model = default_model()
    folder = data_folder(options.data)
    greys = [luma(picture) for name in HEADLINE_SETS for _, picture in pictures(folder, name)]
    start = count_symbols(find(options.train)[::4], model)
    measured = {quality: measure(greys, quality, start, model) for quality in options.quality}
    print("quality pictures static over adaptive  without raw bits   worst    mean table set")
    print("\n".join(whole_line(quality, coded) for quality, coded in measured.items()))
    print("\nquality " + " ".join(f"{w:>8}" for w in (*WEIGHTS, "as is")))
    print("\n".join(weight_line(quality, coded) for quality, coded in measured.items()))
    if options.parts:
        print("\nquality kind     share   whole bits one bit   statistics  best set")
        print("\n".join(line for quality, coded in measured.items() for line in part_lines(quality, coded)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
