"""Bits, Huffman codes and the order of blocks, spelt out as text. FORMAT.md sections 3 to 5."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

BLOCK = 8
STRIPE = 32

BAD_CODE, OVERRUN, OUT_OF_RANGE, TOO_MANY_BLOCKS = -1, -2, -3, -4

FIRST_LEVELS = (1, 2, 6, 10, 16, 24, 36)
QUAD_LEVELS = (1, 3, 6, 10, 15, 20, 26, 32)
FIRST_KIND, QUAD_KIND, MASK_KIND, SIZE_KIND = range(4)
KINDS = ((10, 29), (18, 19), (2, 256), (9, 18))  # contexts, symbols per context
SET_SYMBOLS = sum(contexts * symbols for contexts, symbols in KINDS)
ENLARGER = (-3, 61, 207, -9)

Rows = Sequence[Sequence[int]]


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
