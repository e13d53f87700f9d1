"""Code tables that belong to the format: those of the refinement layers and of the lossless one. FORMAT.md section 13.

They come as one small file, made once by `onboard-train layers`, and are never changed: a changed file is a changed
format.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np

from onboard.errors import ModelError
from onboard.huffman import canonical_codes
from onboard.kernels import lossless, refine
from onboard.kernels import refine_parse as parse

TABLES_MAGIC = b"OBCT"
TABLES_VERSION = 1
TABLES_FILE = "layers.obt"
REFINE_SETS = 6
LOSSLESS_SETS = 2

_ALL = slice(None)
Kinds = tuple[tuple[int, int, int], ...]
_LAYOUT = (
    (REFINE_SETS, refine.SET_SYMBOLS, refine.KINDS, refine.MAX_LENGTH),
    (LOSSLESS_SETS, lossless.SET_SYMBOLS, lossless.KINDS, lossless.MAX_LENGTH),
)


@dataclass(frozen=True, eq=False)
class Codes:
    """The table sets of one coder.

    Attributes:
        lengths: uint8 (sets, symbols).
        kinds: (base, contexts, symbols per context) in table order.
        longest: bits of the longest code word that there may be.
    """

    lengths: np.ndarray
    kinds: Kinds
    longest: int

    def contexts(self) -> list[slice]:
        return [slice(base + c * n, base + (c + 1) * n) for base, many, n in self.kinds for c in range(many)]

    @cached_property
    def words(self) -> np.ndarray:
        """For coders: uint16 (sets, symbols) of `code << 4 | length`."""
        found = np.zeros(self.lengths.shape, np.uint16)
        for out, lengths in zip(found, self.lengths, strict=True):
            for row in self.contexts():
                out[row] = canonical_codes(lengths[row]) << 4 | lengths[row]
        return found

    def cost(self, counts: np.ndarray, table_set: int | slice = _ALL) -> np.ndarray:
        """Bits of counted symbols in a table set, or in each of them: (..., symbols) to float (...) or (..., sets),
        whole numbers."""
        return counts.astype(float) @ self._costs[table_set].T

    @cached_property
    def _costs(self) -> np.ndarray:
        return self.lengths.astype(float)

    @lru_cache(maxsize=8)  # noqa: B019 - there is one of each coder
    def lookup(self, table_set: int) -> np.ndarray:
        """For parsers: uint16 (contexts, 2^longest) of `symbol << 4 | length`, 0 where no code word matches."""
        rows = self.contexts()
        tables = np.zeros((len(rows), 1 << self.longest), np.uint16)
        for table, row in zip(tables, rows, strict=True):
            words = self.words[table_set][row]
            for symbol in np.flatnonzero(words & 15):
                length = int(words[symbol]) & 15
                spread = self.longest - length
                code = int(words[symbol]) >> 4
                table[code << spread : (code + 1) << spread] = symbol << 4 | length
        return tables


def pack_tables(lengths: tuple[np.ndarray, np.ndarray]) -> bytes:
    """The file: refinement sets, then lossless sets, each set's lengths as 4-bit numbers; then a CRC-32."""
    nibbles = np.concatenate([a.ravel() for a in lengths])
    if len(nibbles) & 1:
        nibbles = np.append(nibbles, 0)
    pairs = nibbles.reshape(-1, 2).astype(np.uint8)
    body = TABLES_MAGIC + bytes((TABLES_VERSION,)) + (pairs[:, 0] << 4 | pairs[:, 1]).tobytes()
    return body + zlib.crc32(body).to_bytes(4, "big")


def parse_tables(data: bytes) -> tuple[Codes, Codes]:
    """(refinement, lossless) codes of a file. Raises ModelError."""
    symbols = sum(sets * size for sets, size, _, _ in _LAYOUT)
    if len(data) != 5 + (symbols + 1) // 2 + 4 or data[:5] != TABLES_MAGIC + bytes((TABLES_VERSION,)):
        raise ModelError(f"not a file of format tables: {len(data)} bytes")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ModelError("the file of format tables is corrupt: CRC-32 does not match")
    pairs = np.frombuffer(data, np.uint8)[5:-4]
    nibbles = np.stack([pairs >> 4, pairs & 15], -1).ravel()
    found, at = [], 0
    for sets, size, kinds, longest in _LAYOUT:
        found.append(Codes(nibbles[at : at + sets * size].reshape(sets, size), kinds, longest))
        at += sets * size
    return found[0], found[1]


@lru_cache(maxsize=1)
def _shipped() -> tuple[Codes, Codes]:
    return parse_tables((files("onboard") / "models" / TABLES_FILE).read_bytes())


def refinement_codes() -> Codes:
    return _shipped()[0]


def lossless_codes() -> Codes:
    return _shipped()[1]


@lru_cache(maxsize=REFINE_SETS)
def refinement_parser(table_set: int) -> tuple[np.ndarray, np.ndarray]:
    """What kernels.refine_parse looks up in a table set, by context and the bits that come next; words as it says.

    Returns:
        (int32 (contexts * 2^SHORT_LENGTH,) of the words that so few bits tell, which are nearly all that occur and stay
        in the processor's caches, and int32 (contexts * 2^MAX_LENGTH,) of all of them).
    """
    symbol = np.arange(refine.RUN_SYMBOLS)
    step, kind = (symbol - 1) // 3 + 1, (symbol - 1) % 3 + 1
    step[0], step[refine.SKIP], kind[0], kind[refine.SKIP :] = parse.WORD_END, parse.WORD_SKIP, 0, 0
    step[refine.SKIP + 1 :] = symbol[refine.SKIP + 1 :] - refine.SKIP
    signed = (kind == 1) | (kind == 2)
    moves = step | parse.LARGER * (kind > 1)
    words = kind << parse.WORD_REST | moves | parse.SLOW
    # a coefficient whose sign is among the bits: the place behind it has LARGER in it, and is one too far
    brief = [
        np.where(signed, (value * 64 - 1 - parse.LARGER * (kind > 1)) << parse.WORD_REST | moves, words)
        for value in (kind, -kind)
    ]
    usual = refinement_codes().lookup(table_set)
    runs = usual[: refine.SIZE_ROW]
    found = np.where(usual > 0, (usual >> 4).astype(np.int32) << parse.WORD_REST, parse.SLOW).astype(np.int32)
    found[: refine.SIZE_ROW] = np.where(runs > 0, (words + (signed << parse.WORD_BITS))[runs >> 4], parse.SLOW)
    found += (usual & 15).astype(np.int32) << parse.WORD_BITS
    spread = 1 << (refine.MAX_LENGTH - parse.SHORT_LENGTH)
    short = np.where(usual[:, ::spread] & 15 > parse.SHORT_LENGTH, parse.SLOW, found[:, ::spread])
    some = runs[:, ::spread]
    which, taken = some >> 4, (some & 15).astype(np.int32) + 1  # sign included
    bits = np.arange(1 << parse.SHORT_LENGTH)
    fits = (some > 0) & signed[which] & (taken <= parse.SHORT_LENGTH)
    negative = bits >> (parse.SHORT_LENGTH - np.minimum(taken, parse.SHORT_LENGTH)) & 1 > 0
    short[: refine.SIZE_ROW] = np.where(
        fits,
        np.where(negative, brief[1][which], brief[0][which]) + (taken << parse.WORD_BITS),
        short[: refine.SIZE_ROW],
    )
    return short.astype(np.int32).ravel(), found.ravel()
