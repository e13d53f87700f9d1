"""The slow twin: every kernel and the whole normative decoder, written to be read.

Plain Python integers throughout; numpy arrays go in and come out as containers only. Bits are strings of "0" and "1",
neighbours are looked up by place in a dictionary of what is already known. Nothing is imported from the package: the
constants below are the format's, written down a second time on purpose. Section numbers are those of FORMAT.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np

BLOCK = 8
STRIPE = 32

BAD_CODE, OVERRUN, OUT_OF_RANGE, TOO_MANY_BLOCKS = -1, -2, -3, -4

FIRST_LEVELS = (1, 2, 6, 10, 16, 24, 36)
QUAD_LEVELS = (1, 3, 6, 10, 15, 20, 26, 32)
FIRST_KIND, QUAD_KIND, MASK_KIND, SIZE_KIND = range(4)
KINDS = ((10, 29), (18, 19), (2, 256), (9, 18))  # contexts, symbols per context
SET_SYMBOLS = sum(contexts * symbols for contexts, symbols in KINDS)
ENLARGER = (-3, 61, 207, -9)


def clamp(value: int, low: int, high: int) -> int:
    return low if value < low else high if value > high else value


def clamp16(value: int) -> int:
    return clamp(value, -(1 << 15), (1 << 15) - 1)


def ceil_div(a: int, b: int) -> int:
    return (a + b - 1) // b


def rounded_mean(values: Sequence[int]) -> int:
    """Mean, halves rounded up."""
    return (2 * sum(values) + len(values)) // (2 * len(values))


# --- bits -----------------------------------------------------------------------------------------------------------


def to_bits(value: int, count: int) -> str:
    return format(value, f"0{count}b") if count else ""


def bits_of(data: Iterable[int]) -> str:
    return "".join(to_bits(int(byte), 8) for byte in data)


def bytes_of(text: str) -> bytes:
    """Bits to bytes, the last byte filled with ones."""
    text += "1" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


class Bits:
    """Reads a string of bits from the front. Beyond the end there are only ones."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def show(self, count: int) -> str:
        return self.text[self.at : self.at + count].ljust(count, "1")

    def take(self, count: int) -> int:
        value = int(self.show(count) or "0", 2)
        self.at += count
        return value

    @property
    def overrun(self) -> bool:
        return self.at > len(self.text)

    @property
    def only_padding_left(self) -> bool:
        left = self.text[self.at :]
        return len(left) < 8 and "0" not in left


# --- Huffman codes --------------------------------------------------------------------------------------------------


def canonical_code(lengths: Iterable[int]) -> dict[int, str]:
    """Symbol -> code word. ValueError unless exactly the all-ones word of the longest length is left over."""
    ordered = sorted((int(length), symbol) for symbol, length in enumerate(lengths) if length)
    if not ordered or ordered[-1][0] > 12:
        raise ValueError("code words have 1 to 12 bits")
    longest = ordered[-1][0]
    code: dict[int, str] = {}
    word = 0  # the next free word of `longest` bits
    for length, symbol in ordered:
        if word + (1 << (longest - length)) > (1 << longest):
            raise ValueError("over-subscribed")
        code[symbol] = to_bits(word, longest)[:length]
        word += 1 << (longest - length)
    if word != (1 << longest) - 1:
        raise ValueError("not exactly one word is free")
    return code


@dataclass
class Codes:
    """A table set: the code of every kind of symbol in every context."""

    lengths: Iterable[int]
    of: list[list[dict[int, str]]] = field(init=False)
    symbol_of: list[list[dict[str, int]]] = field(init=False)

    def __post_init__(self) -> None:
        left = [int(length) for length in self.lengths]
        assert len(left) == SET_SYMBOLS
        self.of = []
        for contexts, symbols in KINDS:
            self.of.append([canonical_code(left[c * symbols : (c + 1) * symbols]) for c in range(contexts)])
            del left[: contexts * symbols]
        self.symbol_of = [[{w: s for s, w in code.items()} for code in kind] for kind in self.of]

    def write(self, kind: int, context: int, symbol: int) -> str:
        return self.of[kind][context][symbol]

    def read(self, bits: Bits, kind: int, context: int) -> int | None:
        """The next symbol; None when no code word matches."""
        known = self.symbol_of[kind][context]
        for length in range(1, 13):
            word = bits.show(length)
            if word in known:
                bits.at += length
                return known[word]
        return None


def bucket_of(excess: int) -> tuple[int, str]:
    """Bucket of a value past the direct range, and the raw bits inside: buckets hold 2, 4, 8, ... values."""
    bucket = 0
    while excess >= 2 << bucket:
        excess -= 2 << bucket
        bucket += 1
    return bucket, to_bits(excess, bucket + 1)


def bucket_start(bucket: int) -> int:
    return sum(2 << b for b in range(bucket))


# --- the order of blocks --------------------------------------------------------------------------------------------

Place = tuple[int, int, int]  # stripe, row, column within the stripe


def places(rows: int, columns: int) -> list[Place]:
    """Places in phase order: stripes of 32 columns left to right, each row by row."""
    return [
        (stripe, row, column)
        for stripe in range(ceil_div(columns, STRIPE))
        for row in range(rows)
        for column in range(min(STRIPE, columns - STRIPE * stripe))
    ]


def phase_order(rows: int, columns: int, interleave_log2: int, phase: int) -> list[int]:
    """Raster index in the plane of every block of an interleave phase, in phase order."""
    rows_of = range(rows) if interleave_log2 < 2 else range(phase // 2, rows, 2)
    columns_of = range(columns) if interleave_log2 == 0 else range(phase % 2, columns, 2)
    return [
        rows_of[row] * columns + columns_of[STRIPE * stripe + column]
        for stripe, row, column in places(len(rows_of), len(columns_of))
    ]


def phase_grid(rows: int, columns: int, interleave_log2: int, phase: int) -> tuple[int, int]:
    """Rows and columns of an interleave phase."""
    return (
        len(range(phase // 2, rows, 2)) if interleave_log2 == 2 else rows,
        len(range(phase % 2, columns, 2)) if interleave_log2 else columns,
    )


def around(place: Place) -> tuple[Place, Place, Place, Place]:
    """West, north, north-west and north-east of a place, in the same stripe."""
    s, r, c = place
    return (s, r, c - 1), (s, r - 1, c), (s, r - 1, c - 1), (s, r - 1, c + 1)


# --- layer 0 --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class First:
    """A first latent already known in this section, and how large its residual was (at most 31 counts)."""

    value: int
    size: int


def first_context(known: dict[Place, First], place: Place) -> tuple[int, int, int]:
    """Prediction and context of a first latent from the neighbours that the section has already given; the sign that
    its residual is coded with, 1 or -1."""
    w, n, nw, ne = (known.get(p) for p in around(place))
    if n is None and w is None:
        return 0, 9, 1
    lean = 0
    if n is None:
        prediction, activity = w.value, 6 * w.size
    else:
        terms = [n.size]
        if ne is not None:
            terms += [ne.size, abs(n.value - ne.value)]
        if w is None:
            prediction = n.value
        else:
            terms.append(w.size)
            prediction = w.value
            if nw is not None:
                terms += [abs(w.value - nw.value), abs(n.value - nw.value)]
                prediction = sorted((w.value, n.value, w.value + n.value - nw.value))[1]
        activity = 6 * sum(terms) // len(terms)
        lean = 2 * (w or n).value + n.value + (ne or n).value - 4 * prediction
    level = sum(activity >= least for least in FIRST_LEVELS)
    return prediction, 8 if level == 2 and abs(lean) >= 3 else level, -1 if lean < 0 else 1


def code_first(q: Sequence[int], rows: int, columns: int, begin: int, codes: Codes, limit: int) -> tuple[int, bytes]:
    """Code first latents from block `begin` on, as many as fit `limit` bytes: (block behind the last, payload)."""
    order = places(rows, columns)
    known: dict[Place, First] = {}
    text = ""
    n = begin
    while n < len(order):
        prediction, context, sign = first_context(known, order[n])
        r = sign * (int(q[n]) - prediction)
        known[order[n]] = First(int(q[n]), min(abs(r), 31))
        longest = {0: 4, 1: 2}.get(context, 1) if r == 0 else 1
        run = 1
        while run < longest and n + run < len(order) and order[n + run][:2] == order[n][:2]:
            foretold, _, _ = first_context(known, order[n + run])
            if int(q[n + run]) != foretold:
                break
            known[order[n + run]] = First(foretold, 0)
            run += 1
        if run == 3:
            run = 2
            del known[order[n + 2]]
        raw = ""
        if run > 1:
            symbol = {2: 27, 4: 28}[run]
        elif abs(r) <= 8:
            symbol = r + 8
        else:
            bucket, raw = bucket_of(abs(r) - 9)
            symbol = 17 + bucket
            raw += "1" if r < 0 else "0"
        more = codes.write(FIRST_KIND, context, symbol) + raw
        if len(text) + len(more) > 8 * limit:
            break
        text += more
        n += run
    return n, bytes_of(text)


def parse_first(payload: bytes, rows: int, columns: int, begin: int, codes: Codes) -> tuple[int, list[int]]:
    """(block behind the last one, first latents of the section), or (a negative status, [])."""
    order = places(rows, columns)
    known: dict[Place, First] = {}
    bits = Bits(bits_of(payload))
    n = begin
    while n < len(order) and not bits.only_padding_left:
        prediction, context, sign = first_context(known, order[n])
        symbol = codes.read(bits, FIRST_KIND, context)
        if symbol is None:
            return BAD_CODE, []
        r = 0
        if symbol >= 27:
            run = 2 if symbol == 27 else 4
            if n + run > len(order) or order[n + run - 1][:2] != order[n][:2]:
                return TOO_MANY_BLOCKS, []
            for _ in range(run - 1):
                known[order[n]] = First(prediction, 0)
                n += 1
                prediction, _, _ = first_context(known, order[n])
        elif symbol <= 16:
            r = symbol - 8
        else:
            r = 9 + bucket_start(symbol - 17) + bits.take(symbol - 16)
            if bits.take(1):
                r = -r
        if bits.overrun:
            return OVERRUN, []
        r *= sign
        if abs(prediction + r) > 1023:
            return OUT_OF_RANGE, []
        known[order[n]] = First(prediction + r, min(abs(r), 31))
        n += 1
    if not bits.only_padding_left:
        return TOO_MANY_BLOCKS, []
    return n, [known[order[i]].value for i in range(begin, n)]


# --- layer 1 --------------------------------------------------------------------------------------------------------


def activity(known: dict[Place, int], place: Place) -> tuple[int, int]:
    """What the section already knows of the west and the north neighbour: 0 for group 1, 1 + non-zero latents else."""
    west, north, _, _ = around(place)
    return known.get(west, 0), known.get(north, 0)


def quad_context(known: dict[Place, int], quad: Sequence[Place]) -> int:
    """Context of a quad's sign bits. Blocks of the quad itself are not known yet, so they count 0."""
    west, _ = activity(known, quad[0])
    total = 2 * west + sum(activity(known, place)[1] for place in quad)
    return 2 * sum(total >= level for level in QUAD_LEVELS) + (west > 0)


def mask_context(known: dict[Place, int], place: Place) -> int:
    return int(sum(activity(known, place)) >= 6)


def size_context(unit: int, nonzero: int, sizes_so_far: Sequence[int]) -> int:
    if len(sizes_so_far) == nonzero - 1 and all(size == 1 for size in sizes_so_far):
        return 8  # this one cannot be 1, or the mask would have said "all ones"
    return (4 if unit > 1 else 0) + min(nonzero, 6) // 2


def block_bits(q: Sequence[int], context: int, codes: Codes) -> str:
    """Latents 2 to 8 of a group 2 block: mask, then size and sign of each that is not zero."""
    values = [int(v) for v in q]
    nonzero = sum(v != 0 for v in values)
    all_ones = nonzero > 0 and all(abs(v) <= 1 for v in values)
    mask = sum(1 << u for u, v in enumerate(values) if v)
    text = codes.write(MASK_KIND, context, mask + (128 if all_ones else 0))
    sizes: list[int] = []
    for u, v in enumerate(values):
        if not v:
            continue
        if not all_ones:
            where = size_context(u, nonzero, sizes)
            if abs(v) <= 9:
                text += codes.write(SIZE_KIND, where, abs(v) - 1)
            else:
                bucket, raw = bucket_of(abs(v) - 10)
                text += codes.write(SIZE_KIND, where, 9 + bucket) + raw
            sizes.append(abs(v))
        text += "1" if v < 0 else "0"
    return text


def code_rest(
    group: Sequence[int], q: Sequence[Sequence[int]], rows: int, columns: int, begin: int, codes: Codes, limit: int
) -> tuple[int, bytes]:
    """Code sign bits and latents 2 to 8 from block `begin` on, quad by quad, as many as fit `limit` bytes."""
    order = places(rows, columns)
    known: dict[Place, int] = {}
    text = ""

    def quad_of(start: int) -> list[int]:
        return [int(g) for g in group[start : min(start + 4, len(order))]]

    n = begin
    while n < len(order):
        signs = quad_of(n)
        context = quad_context(known, order[n : n + len(signs)])
        run = 1
        if signs in ([0] * 4, [1] * 4):
            longest = 4 if signs[0] == 0 and context == 0 else 2
            while run < longest and quad_of(n + 4 * run) == signs:
                run += 1
            run = 2 if run == 3 else run
        if run == 1:
            symbol = sum(g << (3 - i) for i, g in enumerate(signs))
            end = n + len(signs)
        else:
            symbol = 17 if signs[0] else {2: 16, 4: 18}[run]
            end = n + 4 * run
        more = codes.write(QUAD_KIND, context, symbol)
        for i in range(n, end):
            known[order[i]] = 0
            if group[i]:
                more += block_bits(q[i], mask_context(known, order[i]), codes)
                known[order[i]] = 1 + sum(int(v) != 0 for v in q[i])
        if len(text) + len(more) > 8 * limit:
            break
        text += more
        n = end
    return n, bytes_of(text)


def read_block(bits: Bits, context: int, codes: Codes) -> list[int] | None:
    """Latents 2 to 8 of a group 2 block; None when a code word is bad."""
    symbol = codes.read(bits, MASK_KIND, context)
    if symbol is None:
        return None
    mask, all_ones = symbol % 128, symbol >= 128
    units = [u for u in range(7) if mask >> u & 1]
    values, sizes = [0] * 7, []
    for u in units:
        size = 1
        if not all_ones:
            size_symbol = codes.read(bits, SIZE_KIND, size_context(u, len(units), sizes))
            if size_symbol is None:
                return None
            size = size_symbol + 1
            if size_symbol >= 9:
                size = 10 + bucket_start(size_symbol - 9) + bits.take(size_symbol - 8)
            sizes.append(size)
        values[u] = -size if bits.take(1) else size
    return values


def parse_rest(
    payload: bytes, rows: int, columns: int, begin: int, codes: Codes
) -> tuple[int, list[tuple[int, list[int]]]]:
    """(block behind the last one, (sign bit, seven latents) of each block), or (a negative status, [])."""
    order = places(rows, columns)
    known: dict[Place, int] = {}
    found: list[tuple[int, list[int]]] = []
    bits = Bits(bits_of(payload))
    n = begin
    while n < len(order) and not bits.only_padding_left:
        blocks = min(4, len(order) - n)
        symbol = codes.read(bits, QUAD_KIND, quad_context(known, order[n : n + blocks]))
        if symbol is None:
            return BAD_CODE, []
        if symbol < 16:
            signs = [symbol >> 3 & 1, symbol >> 2 & 1, symbol >> 1 & 1, symbol & 1]
            if any(signs[blocks:]):
                return TOO_MANY_BLOCKS, []
            signs = signs[:blocks]
        else:
            signs = {16: [0] * 8, 17: [1] * 8, 18: [0] * 16}[symbol]
        if n + len(signs) > len(order):
            return TOO_MANY_BLOCKS, []
        for sign in signs:
            values: list[int] | None = [0] * 7
            known[order[n]] = 0
            if sign:
                values = read_block(bits, mask_context(known, order[n]), codes)
                if values is None:
                    return BAD_CODE, []
                known[order[n]] = 1 + sum(v != 0 for v in values)
            if bits.overrun:
                return OVERRUN, []
            found.append((sign, values))
            n += 1
    if not bits.only_padding_left:
        return TOO_MANY_BLOCKS, []
    return n, found


# --- the board's arithmetic -----------------------------------------------------------------------------------------

Rows = Sequence[Sequence[int]]


def block_of(pixels: Rows, row: int, column: int) -> list[int]:
    """The 64 samples of a block; outside the plane the nearest sample inside."""
    height, width = len(pixels), len(pixels[0])
    return [
        int(pixels[min(BLOCK * row + y, height - 1)][min(BLOCK * column + x, width - 1)])
        for y in range(BLOCK)
        for x in range(BLOCK)
    ]


def latent(product: int, multiplier: int, shift: int) -> int:
    """Accumulator to latent in sixteenths, rounded to nearest, halves away from zero."""
    size = (abs(product) * multiplier + (1 << (shift - 1))) >> shift
    return -size if product < 0 else size


def analyse(
    pixels: Rows, weights: Rows, multiplier: Sequence[int], shift: Sequence[int], norm: int
) -> tuple[list[int], list[list[int]]]:
    """What G1 leaves of every block's energy, and all eight latents of every block."""
    left, latents = [], []
    for row in range(ceil_div(len(pixels), BLOCK)):
        for column in range(ceil_div(len(pixels[0]), BLOCK)):
            centred = [v - 128 for v in block_of(pixels, row, column)]
            products = [sum(int(w) * c for w, c in zip(unit, centred, strict=True)) for unit in weights]
            left.append(sum(c * c for c in centred) - (products[0] ** 2 * norm >> 40))
            latents.append([latent(p, int(m), int(s)) for p, m, s in zip(products, multiplier, shift, strict=True)])
    return left, latents


def nearest_multiple(value: int, step: int) -> int:
    """How many steps, rounded to nearest, halves away from zero."""
    m = (abs(value) + step // 2) // step
    return -m if value < 0 else m


def quantise_first(first: Sequence[int], step: int) -> tuple[list[int], list[int]]:
    q = [nearest_multiple(int(z), step) for z in first]
    return q, [m * step for m in q]


def quantise_rest(
    latents: Sequence[int], foretold: Sequence[int], steps: Sequence[int], dead_zone: int, price: int
) -> tuple[list[int], bool]:
    """Quantised residuals of latents 2 to 8 of a candidate block, and whether they are worth their bits."""
    out, gain, bits = [], 0, 4
    for z, p, step in zip(map(int, latents), map(int, foretold), map(int, steps[1:]), strict=True):
        m = (abs(z - p) + (step * dead_zone >> 8)) // step
        bits += 2 * m.bit_length()
        m = -m if z < p else m
        out.append(m)
        gain += z * z - (z - p - m * step) ** 2
    return out, gain > int(steps[1]) ** 2 * price * bits >> 8


# --- the normative decoder ------------------------------------------------------------------------------------------


def prediction(first: Rows, row: int, column: int, matrix: Rows) -> list[int]:
    """What the first latents around a block foretell of its latents 2 to 8."""
    rows, columns = len(first), len(first[0])
    centre = int(first[row][column])
    differences = [
        int(first[clamp(row + dy, 0, rows - 1)][clamp(column + dx, 0, columns - 1)]) - centre
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
    ]
    return [(sum(int(m) * d for m, d in zip(line, differences, strict=True)) + 128) >> 8 for line in matrix]


def synthesise_block(coefficients: Sequence[int], weights: Rows, gains: Sequence[int]) -> list[int]:
    """Latents to 64 samples; group 1 has one of each, group 2 eight."""
    sums = [0] * 64
    for value, unit, gain in zip(coefficients, weights, gains, strict=True):
        c = (int(value) * int(gain) + 128) >> 8
        sums = [s + int(w) * c for s, w in zip(sums, unit, strict=True)]
    return [clamp(128 + ((s + 32768) >> 16), 0, 255) for s in sums]


def pull(cells: list[list[int | None]]) -> list[list[int | None]]:
    """Half the size: mean of the known cells of each 2x2 square, None where there is none."""
    out: list[list[int | None]] = []
    for y in range(0, len(cells), 2):
        line: list[int | None] = []
        for x in range(0, len(cells[0]), 2):
            known = [v for row in cells[y : y + 2] for v in row[x : x + 2] if v is not None]
            line.append(rounded_mean(known) if known else None)
        out.append(line)
    return out


def push(cells: list[list[int | None]], coarse: list[list[int]]) -> list[list[int]]:
    """Unknown cells from the four nearest cells of the coarser level, weights 9, 3, 3, 1."""

    def other(at: int, size: int) -> int:
        return clamp(at // 2 + (1 if at % 2 else -1), 0, size - 1)

    out = []
    for y, row in enumerate(cells):
        line = []
        for x, value in enumerate(row):
            near, far = coarse[y // 2], coarse[other(y, len(coarse))]
            x0, x1 = x // 2, other(x, len(near))
            line.append((9 * near[x0] + 3 * near[x1] + 3 * far[x0] + far[x1] + 8) >> 4 if value is None else value)
        out.append(line)
    return out


def relax(cells: list[list[int]], fixed: list[list[int | None]]) -> list[list[int]]:
    """Every cell that is not fixed becomes the mean of its neighbours as they were."""
    out = []
    for y, row in enumerate(cells):
        line = []
        for x, value in enumerate(row):
            near = [
                cells[j][i]
                for j, i in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                if 0 <= j < len(cells) and 0 <= i < len(row)
            ]
            line.append(rounded_mean(near) if fixed[y][x] is None and near else value)
        out.append(line)
    return out


def conceal(first: list[list[int | None]]) -> list[list[int]]:
    """First latents with the missing ones (None) filled in; all zero when nothing arrived."""
    if all(v is not None for row in first for v in row):
        return [list(row) for row in first]
    levels = [first]
    while len(levels[-1]) > 1 or len(levels[-1][0]) > 1:
        levels.append(pull(levels[-1]))
    filled = [[v or 0 for v in row] for row in levels.pop()]
    while levels:
        filled = push(levels.pop(), filled)
    for _ in range(8):
        filled = relax(filled, first)
    return filled


# --- samples --------------------------------------------------------------------------------------------------------


def box_average(pixels: Rows, side: int) -> list[list[int]]:
    """Mean of squares, halves rounded up; outside the picture the nearest sample inside."""
    height, width = len(pixels), len(pixels[0])
    return [
        [
            rounded_mean(
                [
                    int(pixels[min(side * y + j, height - 1)][min(side * x + i, width - 1)])
                    for j in range(side)
                    for i in range(side)
                ]
            )
            for x in range(ceil_div(width, side))
        ]
        for y in range(ceil_div(height, side))
    ]


def rgb_to_ycc(r: int, g: int, b: int, depth: int = 8) -> tuple[int, int, int]:
    half = 1 << (depth - 1)
    return (
        (19595 * r + 38470 * g + 7471 * b + 32768) >> 16,
        (-11059 * r - 21709 * g + 32768 * b + (half << 16) + 32767) >> 16,
        (32768 * r - 27439 * g - 5329 * b + (half << 16) + 32767) >> 16,
    )


def ycc_to_rgb(y: int, cb: int, cr: int, depth: int = 8) -> tuple[int, int, int]:
    half, top = 1 << (depth - 1), (1 << depth) - 1
    u, v = cb - half, cr - half
    return (
        clamp(y + ((91881 * v + 32768) >> 16), 0, top),
        clamp(y - ((22554 * u + 46802 * v + 32768) >> 16), 0, top),
        clamp(y + ((116130 * u + 32768) >> 16), 0, top),
    )


def double(line: Sequence[int], count: int, top: int = 255) -> list[int]:
    """A row of samples at twice the density, of which `count` are kept: the even ones lean left, the odd ones right."""
    out = []
    for k in range(count):
        j, towards = k // 2, 1 if k % 2 else -1
        total = 128
        for t, weight in enumerate(ENLARGER):
            total += weight * int(line[clamp(j + towards * (2 - t), 0, len(line) - 1)])
        out.append(clamp(total >> 8, 0, top))
    return out


def transpose(rows: Rows) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)]


def enlarge(plane: Rows, height: int, width: int, halvings: int, top: int = 255) -> Rows:
    """A plane that was halved so often, brought back to height x width: rows first, then columns, level by level."""
    for level in reversed(range(halvings)):
        h, w = ceil_div(height, 1 << level), ceil_div(width, 1 << level)
        plane = [double(line, w, top) for line in plane]
        plane = transpose([double(column, h, top) for column in transpose(plane)])
    return plane


def window_inverse(value: int, curve: int, no_data: bool, low: int, high: int) -> int:
    """Plane value to source sample, rounded to nearest, halves up."""
    if no_data and value < 8:
        return 0
    floor = 16 if no_data else 0
    part, whole = max(value - floor, 0), 255 - floor
    if curve == 1:
        part, whole = part * part, whole * whole
    return low + (2 * (high - low) * part + whole) // (2 * whole)


def chroma_to_depth(value: int, depth: int, no_data: bool, low: int, high: int) -> int:
    """Sample of a base's Cb or Cr to the depth of the source, rounded to nearest, halves up."""
    levels = 239 if no_data else 255
    half = 1 << (depth - 1)
    return clamp(half + (2 * (high - low) * (value - 128) + levels) // (2 * levels), 0, 2 * half - 1)


# --- files ----------------------------------------------------------------------------------------------------------


def crc32(data: bytes) -> int:
    """CRC-32 ISO-HDLC, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@cache
def quantiser_step(index: int) -> int:
    """round(64 * 2^(index / 32)) without a float: the largest s with s - 1/2 <= 64 * 2^(index / 32)."""
    step = 1
    while (2 * step + 1) ** 32 <= 128**32 << index:
        step += 1
    return step


@dataclass
class Section:
    plane: int
    layer: int
    phase: int
    first: int
    payload: bytes


@dataclass
class Packet:
    kind: int
    picture_id: int
    tag: int
    model_id: int
    width: int
    height: int
    scale_log2: int
    interleave_log2: int
    colour: int
    index: int
    window: tuple[int, int, int, int, int] | None = None  # depth, curve, no-data, low, high
    extensions: list[tuple[int, bytes]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def read_packet(data: bytes) -> Packet:
    """The packet that `data` is; ValueError when it is none."""
    if crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ValueError("checksum")
    bits = Bits(bits_of(data[:-4]))
    take = bits.take
    magic, version, kind, extended, windowed, reserved = take(12), take(4), take(4), take(1), take(1), take(2)
    if (magic, version, reserved) != (0x0BC, 1, 0):
        raise ValueError("magic, version or reserved flags")
    packet = Packet(kind, *(take(n) for n in (16, 16, 16, 16, 16, 3, 2, 3, 8)))
    if take(16) != len(data):
        raise ValueError("length")
    if windowed:
        packet.window = (take(4) + 1, take(3), take(1), take(16), take(16))
    if extended:
        while (type_ := take(8)) != 0:
            packet.extensions.append((type_, bytes(take(8) for _ in range(take(8)))))
    while kind == 0 and bits.at < len(bits.text):
        plane, layer, phase, sized, extra = take(4), take(4), take(2), take(1), take(2)
        first = take(3 + 8 * extra)
        length = take(16) if sized else (len(bits.text) - bits.at) // 8
        packet.sections.append(Section(plane, layer, phase, first, bytes(take(8) for _ in range(length))))
    if bits.overrun:
        raise ValueError("cut short")
    return packet


@dataclass
class Model:
    """The parts of a model file that a decoder needs."""

    set_limits: tuple[int, int]
    chroma_offset: int
    gains: list[int]
    matrix: list[list[int]]
    weights1: list[list[int]]
    gains1: list[int]
    weights2: list[list[int]]
    gains2: list[int]
    codes: list[Codes]


def read_model(data: bytes) -> Model:
    if data[:5] != b"OBCM\x01" or crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ValueError("not a model")
    at = 0

    def take(size: int, signed: bool = False) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big", signed=signed)

    def matrix(rows: int, columns: int) -> list[list[int]]:
        return [[take(1, signed=True) for _ in range(columns)] for _ in range(rows)]

    take(5)
    limits, offset = (take(1), take(1)), take(1, signed=True)
    take(4)  # threshold, dead zone, price: the encoder's
    gains = [take(1) for _ in range(8)]
    take(512 + 16 + 8)  # the encoder's weights
    predictor = matrix(7, 8)
    weights1, gains1 = matrix(1, 64), [take(2)]
    weights2, gains2 = matrix(8, 64), [take(2) for _ in range(8)]
    codes = []
    for _ in range(3):
        pairs = [take(1) for _ in range(SET_SYMBOLS // 2)]
        codes.append(Codes([n for pair in pairs for n in (pair >> 4, pair & 15)]))
    if at + 4 != len(data):
        raise ValueError("length")
    return Model(limits, offset, gains, predictor, weights1, gains1, weights2, gains2, codes)


@cache
def shipped_model(model_id: int) -> Model:
    for file in (files("onboard") / "models").iterdir():
        if file.name.endswith(".obm") and int.from_bytes(file.read_bytes()[-2:], "big") == model_id:
            return read_model(file.read_bytes())
    raise ValueError(f"no model {model_id:04x}")


@dataclass
class Block:
    """What is known of one block: dequantised latents, None where nothing arrived."""

    first: int | None = None
    rest: list[int] | None = None  # None also for group 1
    first_index: int = 255  # of the packet that brought it, larger than any when none did
    rest_index: int = 255


def decode_plain(packets: Iterable[bytes], model: Model | None = None) -> list[np.ndarray]:
    """Packets of one picture, in any order, to its planes at coded scale: uint8 arrays, Y first.

    Of two copies of a block's layer the one with the lower packet index stays (of equal ones the first). Sections that
    do not parse are left out.
    """
    read = [p for p in map(read_packet, packets) if p.kind == 0]
    about = read[0]
    model = model or shipped_model(about.model_id)
    out = []
    for plane in range(3 if about.colour == 1 else 1):
        side = 1 << (about.scale_log2 + (plane > 0))
        height, width = ceil_div(about.height, side), ceil_div(about.width, side)
        rows, columns = ceil_div(height, BLOCK), ceil_div(width, BLOCK)
        blocks = [Block() for _ in range(rows * columns)]
        for packet in read:
            for section in packet.sections:
                if section.plane == plane and section.layer < 2:
                    apply_section(section, packet, model, blocks, rows, columns)
        pixels = plane_pixels(blocks, rows, columns, model)
        out.append(np.array([line[:width] for line in pixels[:height]], np.uint8))
    return out


def apply_section(section: Section, packet: Packet, model: Model, blocks: list[Block], rows: int, columns: int) -> None:
    if section.phase >= 1 << packet.interleave_log2:
        return
    grid = phase_grid(rows, columns, packet.interleave_log2, section.phase)
    if section.first >= grid[0] * grid[1] or (section.layer == 1 and section.first % 4):
        return
    index = packet.index
    if section.plane:
        index = clamp(index + model.chroma_offset, 0, 200)
    steps = [(quantiser_step(index) * gain + 32) >> 6 for gain in model.gains]
    codes = model.codes[sum(index >= limit for limit in model.set_limits)]
    where = phase_order(rows, columns, packet.interleave_log2, section.phase)[section.first :]
    if section.layer == 0:
        _, values = parse_first(section.payload, *grid, section.first, codes)
        for n, value in zip(where, values, strict=False):
            if packet.index < blocks[n].first_index:
                blocks[n].first_index = packet.index
                blocks[n].first = clamp16(value * steps[0])
    else:
        _, found = parse_rest(section.payload, *grid, section.first, codes)
        for n, (sign, values) in zip(where, found, strict=False):
            if packet.index < blocks[n].rest_index:
                blocks[n].rest_index = packet.index
                blocks[n].rest = [clamp16(v * s) for v, s in zip(values, steps[1:], strict=True)] if sign else None


def plane_pixels(blocks: list[Block], rows: int, columns: int, model: Model) -> list[list[int]]:
    first = conceal([[b.first for b in blocks[r * columns : (r + 1) * columns]] for r in range(rows)])
    pixels = [[0] * (BLOCK * columns) for _ in range(BLOCK * rows)]
    for n, block in enumerate(blocks):
        row, column = divmod(n, columns)
        if block.rest is None:
            values = synthesise_block([first[row][column]], model.weights1, model.gains1)
        else:
            foretold = prediction(first, row, column, model.matrix)
            rest = [clamp16(v + p) for v, p in zip(block.rest, foretold, strict=True)]
            values = synthesise_block([first[row][column], *rest], model.weights2, model.gains2)
        for y in range(BLOCK):
            pixels[BLOCK * row + y][BLOCK * column : BLOCK * column + BLOCK] = values[BLOCK * y : BLOCK * y + BLOCK]
    return pixels


def decode_picture(packets: Iterable[bytes], model: Model | None = None) -> np.ndarray:
    """Packets of one picture to the picture at full size."""
    packets = list(packets)
    about = read_packet(packets[0])
    planes = [
        enlarge(plane.tolist(), about.height, about.width, about.scale_log2 + (i > 0))
        for i, plane in enumerate(decode_plain(packets, model))
    ]
    if about.colour == 1:
        picture = np.array(
            [[ycc_to_rgb(*sample) for sample in zip(*lines, strict=True)] for lines in zip(*planes, strict=True)],
            np.uint8,
        )
    else:
        picture = np.array(planes[0], np.uint8)
    if about.window:
        _, curve, no_data, low, high = about.window
        table = [window_inverse(v, curve, bool(no_data), low, high) for v in range(256)]
        picture = np.array([table[v] for v in picture.ravel().tolist()], np.uint16).reshape(picture.shape)
    return picture
