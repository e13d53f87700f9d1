"""The slow twin of layers 2 to 15, written to be read: FORMAT.md sections 11 to 13.

Plain integers and strings of bits, like tests.reference; nothing is imported from the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tests.reference import Bits, Rows, bucket_start, canonical_code, clamp

RUN_KIND, VALUE_KIND = 0, 1
ERROR_KIND, FLAT_KIND = 0, 1
REFINE_KINDS = ((128, 51), (64, 31))  # contexts, symbols per context
LOSSLESS_KINDS = ((41, 64), (2, 4))
REFINE_SETS, LOSSLESS_SETS = 6, 2

T = (
    (64, 64, 64, 64, 64, 64, 64, 64),
    (89, 75, 50, 18, -18, -50, -75, -89),
    (83, 36, -36, -83, -83, -36, 36, 83),
    (75, -18, -89, -50, 50, 89, 18, -75),
    (64, -64, -64, 64, 64, -64, -64, 64),
    (50, -89, 18, 75, -75, -18, 89, -50),
    (36, -83, 83, -36, -36, 83, -83, 36),
    (18, -50, 75, -89, 89, -75, 50, -18),
)


def scan() -> list[tuple[int, int]]:
    """(row, column) of every scan position."""
    order = []
    for diagonal in range(15):
        cells = [(row, diagonal - row) for row in range(8) if 0 <= diagonal - row < 8]
        order += cells if diagonal % 2 else cells[::-1]
    return order


def layer_step(index: int) -> int:
    return round(16 * 2 ** (index / 16))


@dataclass
class Tables:
    """One table set: for every kind and context, code word -> symbol."""

    symbol_of: list[list[dict[str, int]]]

    def read(self, bits: Bits, kind: int, context: int) -> int | None:
        for length in range(1, 13):
            word = bits.show(length)
            if word in self.symbol_of[kind][context]:
                bits.at += length
                return self.symbol_of[kind][context][word]
        return None


@cache
def shipped_tables() -> tuple[list[Tables], list[Tables]]:
    """The table sets of layers 2 to 14 and of layer 15."""
    data = (files("onboard") / "models" / "layers.obt").read_bytes()
    assert data[:5] == b"OBCT\x01"
    nibbles = iter([nibble for byte in data[5:-4] for nibble in (byte >> 4, byte & 15)])

    def code(symbols: int) -> dict[str, int]:
        return {word: symbol for symbol, word in canonical_code([next(nibbles) for _ in range(symbols)]).items()}

    def table_set(kinds: Sequence[tuple[int, int]]) -> Tables:
        return Tables([[code(symbols) for _ in range(contexts)] for contexts, symbols in kinds])

    return [table_set(REFINE_KINDS) for _ in range(REFINE_SETS)], [
        table_set(LOSSLESS_KINDS) for _ in range(LOSSLESS_SETS)
    ]


Place = tuple[int, int, int]  # stripe, row, column within the stripe


def place_of(n: int, rows: int, columns: int) -> tuple[Place, int]:
    """Place of a block and its stripe's width."""
    stripe = n // (32 * rows)
    width = min(32, columns - 32 * stripe)
    row, column = divmod(n - 32 * rows * stripe, width)
    return (stripe, row, column), width


def parse_refinement(payload: bytes, rows: int, columns: int, begin: int, tables: Tables) -> list[list[int]] | None:
    """Coefficients in scan order of the section's blocks; None when it is malformed."""
    bits = Bits("".join(format(b, "08b") for b in payload))
    known: dict[Place, set[int]] = {}
    blocks: list[list[int]] = []
    total = rows * columns
    while begin + len(blocks) < total and not bits.only_padding_left:
        place, _ = place_of(begin + len(blocks), rows, columns)
        stripe, row, column = place
        hands = [known[p] for p in ((stripe, row, column - 1), (stripe, row - 1, column)) if p in known]
        q = [0] * 64
        empties = 1
        position, larger = 0, 0
        while position < 64:
            count = sum(p >= position for mask in hands for p in mask) * (2 if len(hands) == 1 else 1)
            level = sum(count >= limit for limit in (1, 2, 4, 7, 12, 20)) if hands else 7
            symbol = tables.read(bits, RUN_KIND, (band_of(position) * 8 + level) * 2 + larger)
            if symbol is None or (symbol > 46 and position > 0):
                return None
            if symbol == 0:
                break
            if symbol == 46:
                position += 15
                if position > 63:
                    return None
                continue
            if symbol > 46:
                empties = 1 << (symbol - 46)
                break
            run, more = divmod(symbol - 1, 3)
            position += run
            if position > 63:
                return None
            magnitude = more + 1
            if more == 2:
                value = tables.read(bits, VALUE_KIND, band_of(position) * 8 + level)
                if value is None:
                    return None
                magnitude = 3 + value
                if value >= 12:
                    magnitude = 15 + bucket_start(value - 12) + bits.take(value - 12 + 1)
            q[position] = -magnitude if bits.take(1) else magnitude
            larger = int(magnitude > 1)
            position += 1
        if bits.overrun or begin + len(blocks) + empties > total:
            return None
        for _ in range(empties):
            known[place_of(begin + len(blocks), rows, columns)[0]] = {p for p in range(64) if q[p]}
            blocks.append(q)
    if begin + len(blocks) == total and not bits.only_padding_left:
        return None
    return blocks


def band_of(position: int) -> int:
    return sum(position >= limit for limit in (1, 3, 6, 10, 15, 21, 28))


def residual(q: Sequence[int], step: int, depth: int) -> Rows:
    """Quantised coefficients in scan order to the block's residual."""
    limit = (1 << (depth + 7)) - 1
    c = [[0] * 8 for _ in range(8)]
    for value, (row, column) in zip(q, scan(), strict=True):
        c[row][column] = clamp(value * step, -limit, limit)
    t = [[(sum(T[k][i] * c[k][m] for k in range(8)) + 16) >> 5 for m in range(8)] for i in range(8)]
    return [[(sum(t[i][m] * T[m][j] for m in range(8)) + 8192) >> 14 for j in range(8)] for i in range(8)]


def coefficients(x: Rows) -> list[int]:
    """A block's residual to coefficients in sixteenths, in scan order."""
    return [(sum(T[k][i] * x[i][j] * T[m][j] for i in range(8) for j in range(8)) + 1024) >> 11 for k, m in scan()]


def quantised(c: Sequence[int], step: int, dead_zone: int) -> list[int]:
    """Coefficients in scan order as the encoder quantises them: the more zeros before it, up to 24, the dearer is 1."""
    q, zeros = [], 0
    for value in c:
        magnitude = abs(value)
        kept = magnitude >= step * (24 * dead_zone + 448 * min(zeros, 24)) // (24 * 1024)
        zeros = 0 if kept else zeros + 1
        q.append(kept * max((magnitude + step // 3) // step, 1) * (1 if value > 0 else -1))
    return q


def parse_lossless(
    payload: bytes, depth: int, rows: int, columns: int, joined: bool, begin: int, tables: Tables
) -> list[Rows] | None:
    """Samples of the section's blocks; None when it is malformed."""
    bits = Bits("".join(format(b, "08b") for b in payload))
    half = 1 << (depth - 1)
    known: dict[Place, Rows] = {}
    flat: dict[Place, bool] = {}
    blocks: list[Rows] = []
    total = rows * columns
    runs = 0  # flat blocks still to come
    while begin + len(blocks) < total and (runs or not bits.only_padding_left):
        place, _ = place_of(begin + len(blocks), rows, columns)
        stripe, row, column = place
        north_at_hand = joined and (stripe, row - 1, column) in known
        if not runs:
            near = [(stripe, row, column - 1), (stripe, row - 1, column)]
            around = sum(joined and flat.get(p, False) for p in near)
            if around:
                symbol = tables.read(bits, FLAT_KIND, around - 1)
                if symbol is None:
                    return None
                runs = (0, 1, 4, 16)[symbol]
                if begin + len(blocks) + runs > total:
                    return None
        block = [[-1] * 8 for _ in range(8)]
        all_right = True

        def sample(i: int, j: int, block: Rows = block, here: Place = place, north: bool = north_at_hand) -> int | None:
            """The sample at a place relative to the block, None when it is not at hand."""
            if 0 <= i < 8 and 0 <= j < 8:
                return block[i][j] if block[i][j] >= 0 else None
            other = (here[0], here[1] + (i >> 3), here[2] + (j >> 3))
            if not joined or i >= 8 or (i >= 0 and j >= 8) or other not in known or (i < 0 and not north):
                return None
            return known[other][i & 7][j & 7]

        for i in range(8):
            for j in range(8):
                prediction, activity = predict(sample, i, j, half)
                mapped = 0
                if not runs:
                    context, low = (40, 0) if activity is None else context_of(activity)
                    symbol = tables.read(bits, ERROR_KIND, context)
                    if symbol is None:
                        return None
                    raw = low
                    if symbol >= 48:
                        raw += symbol - 48 + 1
                        symbol = 48 + bucket_start(symbol - 48)
                    if raw > 16:
                        return None
                    mapped = (symbol << low) + bits.take(raw)
                    if mapped >= 2 * half:
                        return None
                all_right &= mapped == 0
                error = -(mapped + 1) // 2 if mapped % 2 else mapped // 2
                block[i][j] = (prediction + error) % (2 * half)
        if bits.overrun:
            return None
        runs = max(runs - 1, 0)
        known[place], flat[place] = block, all_right
        blocks.append(block)
    if begin + len(blocks) == total and not bits.only_padding_left:
        return None
    return blocks


def context_of(activity: int) -> tuple[int, int]:
    octave = 0
    while activity >= 4:
        activity //= 2
        octave += 1
    return min(2 * octave + activity, 39), max(octave + activity // 2 - 5, 0)


def predict(sample: object, i: int, j: int, half: int) -> tuple[int, int | None]:
    """Prediction of a sample and its activity, None with no neighbour at hand."""
    at = sample
    w, n = at(i, j - 1), at(i - 1, j)  # type: ignore[operator]
    if w is None and n is None:
        return half, None
    above = n is not None
    w, n = (n if w is None else w), (w if n is None else n)

    def or_else(value: int | None, other: int) -> int:
        return other if value is None else value

    nw = or_else(at(i - 1, j - 1), n) if above else n  # type: ignore[operator]
    ne = or_else(at(i - 1, j + 1), n) if above else n  # type: ignore[operator]
    nn = or_else(at(i - 2, j), n) if above else n  # type: ignore[operator]
    ww = or_else(at(i, j - 2), w)  # type: ignore[operator]
    median = min(w, n) if nw >= max(w, n) else max(w, n) if nw <= min(w, n) else w + n - nw
    prediction = clamp((4 * median + 2 * (w + n) + ne - nw + 4) >> 3, 0, 2 * half - 1)
    return prediction, abs(w - nw) + abs(n - nw) + abs(n - ne) + abs(w - ww) + abs(n - nn)


def claim(blocks: list[int], exact: list[bool], wanted: int, layer: int, reached: list[int]) -> list[int]:
    """The blocks of a section to which its layer is applied; `reached` says so afterwards."""
    found = [m for m in blocks if exact[m] and reached[m] == wanted]
    for m in found:
        reached[m] = layer
    return found
