"""Pixels of 8x8 blocks out of latents, where plain decoding spends its time, for instructions that multiply 16 bits.

Left alone with loops over blocks, LLVM multiplies 32 bits, one coefficient at a time, and stores a block's rows one by
one. Here several blocks share each weight that is loaded, and neighbours are stored together. What is computed never
changes, as the cached code of other files holds it. Without the JIT the plain functions run.

Bounds: a latent is int16 and a gain below 2^12, so a coefficient lies within 2^19; its high part (>> 8) then within
2^11, and the low part is 0..255. A weight is int8, and 256 times it int16. A pair of products with a high and a low
part is below 2^27, eight of them below 2^30. A prediction is a sum of nine products of int16 and a weight, of which
eight are below 2^7 and one below 2^11: below 2^27.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from onboard.kernels.products import IN_PAIRS, SIDE, neighbours_added, picked

NEIGHBOURING = 8  # blocks that put_kept() writes: a line of the cache
ABREAST = 4 if IN_PAIRS else 1  # blocks that put_coded() works on together
LATENTS, PIXELS = 8, SIDE * SIDE
PIXEL_SHIFT = 16  # of a sum of weights and coefficients
GREY = 128

# A table of put_coded(): for each of the rows above, at and below a block, for its left and middle and for its right
# neighbour, a pair of weights for each latent; then, for each latent, a pair of weights for each pixel.
FORETELLING = 3 * 2 * LATENTS * 2
TABLE = FORETELLING + LATENTS * PIXELS * 2

_LANES = 16  # pixels that are summed up in one vector
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def put_kept(kept, which, column, out, top):
    """Copy blocks that were worked out before.

    Args:
        kept: uint8 (blocks * 64,); which: uint16 (columns,), block of `kept` for each column.
        column: of the first of NEIGHBOURING blocks; top: their first row of pixels.
        out: uint8 (8 * rows, 8 * columns), contiguous.
    """
    for x in range(column, column + NEIGHBOURING):
        block = kept[PIXELS * int(which[x]) : PIXELS * (int(which[x]) + 1)]
        out[top : top + SIDE, SIDE * x : SIDE * (x + 1)] = block.reshape(SIDE, SIDE)


def put_coded(padded, members, m, many, rest, begin, table, gains, out, top):
    """Work out ABREAST blocks of group 2, or the last one several times when fewer are left.

    Args:
        padded: int16 (3, columns + 3), first latents of the rows above, at and below, with one neighbour to the left.
        members: uint32 (columns,), columns of the row's blocks of group 2, `many`; m: the first one to do.
        rest: int16 (8 * blocks,), residuals of latents 2 to 8 and a zero; begin: the row's first block.
        table: int16 (TABLE,), see above, latents in the order of `rest`, so that the first one comes last. To its
            place, the zero, 256 times the first latent itself is foretold.
        gains: int32 (8,), in the order of `rest`.
        out, top: as in put_kept().
    """
    neighbours = table[:FORETELLING].reshape(3, 2, LATENTS, 2).astype(np.int64)
    weights = table[FORETELLING:].reshape(LATENTS, PIXELS, 2)[:, :, 1].astype(np.int64)
    for x in members[m : min(m + ABREAST, many)].astype(np.int64):
        around = padded[:, x : x + 4].reshape(3, 2, 1, 2)
        foretold = ((neighbours * around).sum((0, 1, 3)) + 128) >> 8
        at = LATENTS * (begin + x)
        latents = np.clip(rest[at : at + LATENTS] + foretold, -32768, 32767)
        sums = (((latents * gains + 128) >> 8)[:, None] * weights).sum(0)
        block = np.clip(GREY + ((sums + (1 << PIXEL_SHIFT - 1)) >> PIXEL_SHIFT), 0, 255)
        out[top : top + SIDE, SIDE * x : SIDE * (x + 1)] = block.reshape(SIDE, SIDE)


@overload(put_kept, inline="always")
def _put_kept(kept, which, column, out, top):
    def compiled(kept, which, column, out, top):
        _kept_vectors(kept, which, column, out, top)

    return compiled


@overload(put_coded, inline="always")
def _put_coded(padded, members, m, many, rest, begin, table, gains, out, top):
    def compiled(padded, members, m, many, rest, begin, table, gains, out, top):
        _coded_vectors(padded, members, m, many, rest, begin, table, gains, out, top)

    return compiled


@intrinsic
def _kept_vectors(typing, kept, which, column, out, top):
    def code(context, builder, signature, arguments):
        memory = _Memory(context, builder, names, signature.args, arguments)
        column, blocks = memory["column"], []
        for x in range(NEIGHBOURING):
            block = builder.zext(memory.load("which", _more(builder, column, x), _I16, 2), _I64)
            blocks.append(builder.mul(block, ir.Constant(_I64, PIXELS)))
        rows = []
        for y in range(SIDE):
            row = ir.Constant(ir.VectorType(_I64, NEIGHBOURING), ir.Undefined)
            for x, block in enumerate(blocks):
                part = memory.load("kept", _more(builder, block, SIDE * y), _I64, SIDE)
                row = builder.insert_element(row, part, ir.Constant(_I32, x))
            rows.append(row)
        memory.put(rows, "out", memory["top"], column)
        return context.get_dummy_value()

    names = ("kept", "which", "column", "out", "top")
    return types.void(kept, which, column, out, top), code


@intrinsic
def _coded_vectors(typing, padded, members, m, many, rest, begin, table, gains, out, top):
    def code(context, builder, signature, arguments):
        memory = _Memory(context, builder, names, signature.args, arguments)
        last, columns = builder.sub(memory["many"], ir.Constant(_I64, 1)), []
        for i in range(ABREAST):
            member = _more(builder, memory["m"], i)
            member = builder.select(builder.icmp_signed("<", member, last), member, last)
            columns.append(builder.zext(memory.load("members", member, _I32, 4), _I64))
        coefficients = _coefficients(builder, memory, columns)
        for column, sums in zip(columns, _pixel_sums(builder, memory, coefficients), strict=True):
            rows = []
            for values in sums:
                clipped = _clamped(builder, builder.ashr(values, _all(PIXEL_SHIFT, _LANES)), 0, 255)
                pair = builder.trunc(clipped, ir.VectorType(_I8, _LANES))
                rows += [picked(builder, pair, pair, range(SIDE * i, SIDE * (i + 1))) for i in range(2)]
            memory.put(rows, "out", memory["top"], column)
        return context.get_dummy_value()

    names = ("padded", "members", "m", "many", "rest", "begin", "table", "gains", "out", "top")
    return types.void(padded, members, m, many, rest, begin, table, gains, out, top), code


class _Memory:
    """What an intrinsic is given, by name: arrays to load vectors from and to store them in, and numbers."""

    def __init__(self, context: Any, builder: Any, names: Any, kinds: Any, values: Any) -> None:
        self._builder, self._views, self._numbers = builder, {}, {}
        for name, kind, value in zip(names, kinds, values, strict=True):
            if isinstance(kind, types.Array):
                self._views[name] = context.make_array(kind)(context, builder, value)
            else:
                self._numbers[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._numbers[name]

    def width(self, name: str) -> Any:
        return self._builder.extract_value(self._views[name].shape, 1)

    def load(self, name: str, at: Any, kind: Any, align: int) -> Any:
        """A value or a vector, from element `at` of a flat array on."""
        place = self._builder.gep(self._views[name].data, [at])
        return self._builder.load(self._builder.bitcast(place, kind.as_pointer()), align=align)

    def put(self, rows: list[Any], name: str, top: Any, column: Any) -> None:
        """Store the rows of a block, or of several side by side."""
        builder, width = self._builder, self.width(name)
        begin = builder.add(builder.mul(top, width), builder.mul(column, ir.Constant(_I64, SIDE)))
        for y, row in enumerate(rows):
            at = builder.add(begin, builder.mul(width, ir.Constant(_I64, y)))
            place = builder.gep(self._views[name].data, [at])
            builder.store(row, builder.bitcast(place, row.type.as_pointer()), align=1)


def _coefficients(builder: Any, memory: _Memory, columns: list[Any]) -> list[Any]:
    """Coefficients of blocks: residuals with what is foretold, times gains."""
    width, half = memory.width("padded"), _all(128, LATENTS)
    gains = memory.load("gains", ir.Constant(_I64, 0), ir.VectorType(_I32, LATENTS), 4)
    foretold = [half] * len(columns)
    for i in range(6):
        row, right = divmod(i, 2)
        weights = memory.load("table", ir.Constant(_I64, 2 * LATENTS * i), ir.VectorType(_I16, 2 * LATENTS), 32)
        for j, column in enumerate(columns):
            at = builder.add(builder.mul(width, ir.Constant(_I64, row)), _more(builder, column, 2 * right))
            pair = memory.load("padded", at, _I32, 2)
            foretold[j] = builder.add(foretold[j], _pairs(builder, weights, _spread(builder, pair, LATENTS)))
    found = []
    for column, sums in zip(columns, foretold, strict=True):
        at = builder.mul(builder.add(memory["begin"], column), ir.Constant(_I64, LATENTS))
        residuals = builder.sext(memory.load("rest", at, ir.VectorType(_I16, LATENTS), 2), half.type)
        latents = _clamped(builder, builder.add(residuals, builder.ashr(sums, _all(8, LATENTS))), -32768, 32767)
        products = builder.add(builder.mul(latents, gains), half)
        found.append(builder.ashr(products, _all(8, LATENTS)))
    return found


def _pixel_sums(builder: Any, memory: _Memory, coefficients: list[Any]) -> list[list[Any]]:
    """Sums of weights and coefficients for the pixels of every block, rounded and with grey, _LANES a vector."""
    if IN_PAIRS:  # of a coefficient's high and low part
        mask = _all(0xFFFF, LATENTS)
        high = (builder.and_(builder.ashr(c, _all(8, LATENTS)), mask) for c in coefficients)
        low = (builder.shl(builder.and_(c, _all(255, LATENTS)), _all(16, LATENTS)) for c in coefficients)
        coefficients = [builder.or_(*halves) for halves in zip(high, low, strict=True)]
    parts = PIXELS // _LANES
    sums = [[_all((1 << PIXEL_SHIFT - 1) + (GREY << PIXEL_SHIFT), _LANES)] * parts for _ in coefficients]
    for k in range(LATENTS):
        spread = [_picked_all(builder, c, k, _LANES) for c in coefficients]
        for j in range(parts):
            at = ir.Constant(_I64, FORETELLING + 2 * _LANES * (parts * k + j))
            weights = memory.load("table", at, ir.VectorType(_I16, 2 * _LANES), 64)
            for own, value in zip(sums, spread, strict=True):
                if IN_PAIRS:
                    product = _pairs(builder, weights, value)
                else:
                    single = picked(builder, weights, weights, range(1, 2 * _LANES, 2))
                    product = builder.mul(builder.sext(single, value.type), value, flags=("nsw",))
                own[j] = builder.add(own[j], product)
    return sums


def _pairs(builder: Any, weights: Any, spread: Any) -> Any:
    """Products of vectors of int16 (the second given as int32), neighbours added."""
    wide = ir.VectorType(_I32, weights.type.count)
    values = builder.bitcast(spread, weights.type)
    products = builder.mul(builder.sext(weights, wide), builder.sext(values, wide), flags=("nsw",))
    return neighbours_added(builder, products, products, weights.type.count)


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    """A vector of one value."""
    vector = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    return _picked_all(builder, builder.insert_element(vector, value, ir.Constant(_I32, 0)), 0, lanes)


def _picked_all(builder: Any, vector: Any, lane: int, lanes: int) -> Any:
    return picked(builder, vector, vector, [lane] * lanes)


def _all(value: int, lanes: int) -> Any:
    return ir.Constant(ir.VectorType(_I32, lanes), [value] * lanes)


def _more(builder: Any, number: Any, by: int) -> Any:
    return builder.add(number, ir.Constant(_I64, by))


def _clamped(builder: Any, values: Any, low: int, high: int) -> Any:
    for sign, bound in (("<", low), (">", high)):
        limit = _all(bound, values.type.count)
        values = builder.select(builder.icmp_signed(sign, values, limit), limit, values)
    return values
