"""Canonical Huffman codes from code lengths. FORMAT.md section 5.1. Cold path: tables are built once per model.

Among codes of one length, code words ascend with the symbol; shorter code words come first. The all-ones word of the
longest length belongs to no symbol, so a section can be padded with ones (as ITU-T T.81 annex C does).
"""

from __future__ import annotations

import numpy as np

from onboard.errors import ModelError
from onboard.kernels.entropy import BRIEF, FIRST_DIRECT, KINDS, MAX_LENGTH, QUAD_ROW, SET_CONTEXTS, SET_SYMBOLS

Lengths = np.ndarray


def canonical_codes(lengths: Lengths) -> np.ndarray:
    """Code words of one context.

    Args:
        lengths: uint8 (symbols,), 0 for a symbol that never occurs, else 1 to 12.

    Returns:
        int64 (symbols,) code words.

    Raises:
        ModelError: the lengths are over-subscribed, or leave more or less than one word of the longest length free.
    """
    lengths = np.asarray(lengths, np.int64)
    longest = int(lengths.max(initial=0))
    if not 1 <= longest <= MAX_LENGTH:
        raise ModelError(f"longest code word has {longest} bits: must be 1 to {MAX_LENGTH}")
    used = lengths[lengths > 0]
    if int((1 << (longest - used)).sum()) != (1 << longest) - 1:
        raise ModelError("code lengths must leave exactly the all-ones word of the longest length free")
    codes = np.zeros(len(lengths), np.int64)
    order = np.argsort(lengths, kind="stable")[len(lengths) - len(used) :]
    share = 1 << (longest - lengths[order])  # of all words of the longest length, those that begin with this one
    codes[order] = (np.cumsum(share) - share) // share
    return codes


def check_lengths(lengths: Lengths) -> None:
    """Raise ModelError when any context of a table set has no canonical code."""
    for row in _rows(lengths):
        canonical_codes(lengths[row])


def code_words(lengths: Lengths) -> np.ndarray:
    """Table set for the coder: uint16 (SET_SYMBOLS,) of `code << 4 | length`, from uint8 lengths of that shape."""
    words = np.zeros(SET_SYMBOLS, np.uint16)
    for row in _rows(lengths):
        words[row] = canonical_codes(lengths[row]) << 4 | lengths[row]
    return words


def lookup_tables(lengths: Lengths) -> np.ndarray:
    """Table set for the parser: uint16 (SET_CONTEXTS, 2^BRIEF + 2^MAX_LENGTH) of
    `symbol << 8 | magnitude << 4 | length`.

    The magnitude is that of the residual which a symbol of layer 0 is by itself, else 0. The entries for the next BRIEF
    bits come first, those for the next MAX_LENGTH bits behind them; 0 where no word matches.
    """
    tables = np.zeros((SET_CONTEXTS, 1 << MAX_LENGTH), np.uint16)
    for context, (table, row) in enumerate(zip(tables, _rows(lengths), strict=True)):
        for symbol, (code, length) in enumerate(zip(canonical_codes(lengths[row]), lengths[row], strict=True)):
            if length:
                spread = MAX_LENGTH - int(length)
                direct = context < QUAD_ROW and symbol <= 2 * FIRST_DIRECT
                magnitude = abs(symbol - FIRST_DIRECT) if direct else 0
                entry = symbol << 8 | magnitude << 4 | int(length)
                table[int(code) << spread : (int(code) + 1) << spread] = entry
    brief = tables[:, :: 1 << (MAX_LENGTH - BRIEF)]
    return np.concatenate([np.where(brief & 15 > BRIEF, np.uint16(0), brief), tables], axis=1)


def _rows(lengths: Lengths) -> list[slice]:
    """One slice per context of a table set, in table order."""
    if lengths.shape != (SET_SYMBOLS,):
        raise ModelError(f"a table set has {SET_SYMBOLS} code lengths, not {lengths.shape}")
    return [
        slice(base + c * symbols, base + (c + 1) * symbols)
        for base, contexts, symbols in KINDS
        for c in range(contexts)
    ]
