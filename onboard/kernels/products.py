"""Sums of products of 8x8 blocks with weights, where analysis spends its time, for instructions that multiply 16 bits.

Left alone with a loop over a block, LLVM adds up the lanes of a vector once a sum. Here the rows of a block, or of
several side by side, are added first, and the lanes of several sums then together. What is computed never changes, as
the cached code of other files holds it. Without the JIT the plain functions run.

Bound: |samples| and |weights| <= 128, so a sum is at most 64 * 2^14 = 2^20 (int32).
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

# x86 multiplies pairs of 16 bits and adds them in one instruction, up to 32 at once; others accumulate product by
# product, eight at once.
IN_PAIRS = platform.machine().lower() in ("x86_64", "amd64")
SIDE, LATENTS = 8, 8
ABREAST = 4 if IN_PAIRS else 1  # neighbouring blocks that are multiplied together
LANES = SIDE * ABREAST
_I16, _I32, _I64 = (ir.IntType(bits) for bits in (16, 32, 64))


def first_sums(lines, at, weights, energy, sums, to):
    """Energy of ABREAST blocks, and their sums with unit 1.

    Args:
        lines: int16 (8, samples), rows of blocks side by side; at: the blocks' first sample.
        weights: int16 (64, LANES): rows of unit 1, 2, ...; each holds a row's weights once for every block abreast.
        energy: int32 (blocks,) out, from `to` on; sums: int32 (8, blocks) out, row 0 from `to` on.
    """
    blocks = _blocks(lines, at)
    energy[to : to + ABREAST] = (blocks * blocks).sum((0, 2))
    sums[0, to : to + ABREAST] = _sums(blocks, weights, 0)


def other_sums(lines, at, weights, sums, to):
    """Sums of ABREAST blocks with units 2 to 8, in rows 1 to 7: see first_sums()."""
    blocks = _blocks(lines, at)
    for unit in range(1, LATENTS):
        sums[unit, to : to + ABREAST] = _sums(blocks, weights, unit)


def _blocks(lines: np.ndarray, at: int) -> np.ndarray:
    return lines[:, at : at + LANES].astype(np.int32).reshape(SIDE, ABREAST, SIDE)


def _sums(blocks: np.ndarray, weights: np.ndarray, unit: int) -> np.ndarray:
    rows = weights[SIDE * unit : SIDE * (unit + 1)].reshape(SIDE, ABREAST, SIDE)
    return np.asarray((blocks * rows).sum((0, 2)))


@overload(first_sums, inline="always")
def _first_sums(lines, at, weights, energy, sums, to):
    def compiled(lines, at, weights, energy, sums, to):
        _first_vectors(lines, at, weights, energy, sums, to)

    return compiled


@overload(other_sums, inline="always")
def _other_sums(lines, at, weights, sums, to):
    def compiled(lines, at, weights, sums, to):
        _other_vectors(lines, at, weights, sums, to)

    return compiled


@intrinsic
def _first_vectors(typing, lines, at, weights, energy, sums, to):
    def code(context, builder, signature, arguments):
        given = zip(signature.args, arguments, strict=True)
        memory = _Memory(context, builder, dict(zip(names, given, strict=True)))
        rows = [memory.load("lines", y, "at") for y in range(SIDE)]
        unit = [memory.load("weights", y) for y in range(SIDE)]
        square, first = _folded(builder, [_product(builder, rows, rows), _product(builder, rows, unit)])
        memory.store(square, "energy", 0, "to")
        memory.store(first, "sums", 0, "to")
        return context.get_dummy_value()

    names = ("lines", "at", "weights", "energy", "sums", "to")
    return types.void(lines, at, weights, energy, sums, to), code


@intrinsic
def _other_vectors(typing, lines, at, weights, sums, to):
    def code(context, builder, signature, arguments):
        given = zip(signature.args, arguments, strict=True)
        memory = _Memory(context, builder, dict(zip(names, given, strict=True)))
        rows = [memory.load("lines", y, "at") for y in range(SIDE)]
        for units in (range(1, 5), range(5, LATENTS)):  # more at once would not fit in the registers
            weighed = [[memory.load("weights", SIDE * unit + y) for y in range(SIDE)] for unit in units]
            found = _folded(builder, [_product(builder, rows, w) for w in weighed])
            for unit, own in zip(units, found, strict=True):
                memory.store(own, "sums", unit, "to")
        return context.get_dummy_value()

    names = ("lines", "at", "weights", "sums", "to")
    return types.void(lines, at, weights, sums, to), code


class _Memory:
    """Vectors in the arrays that an intrinsic is given, by name: at a row, which is known, and a column, which is an
    argument. `given` holds types and values."""

    def __init__(self, context: Any, builder: Any, given: dict[str, tuple[Any, Any]]) -> None:
        self._context, self._builder, self._given = context, builder, given

    def load(self, name: str, row: int, column: str | None = None) -> Any:
        """LANES values of 16 bits."""
        return self._builder.load(self._pointer(name, row, column, _I16, LANES), align=2)

    def store(self, values: Any, name: str, row: int, column: str) -> None:
        """Values of 32 bits, one a block."""
        self._builder.store(values, self._pointer(name, row, column, _I32, ABREAST), align=4)

    def _pointer(self, name: str, row: int, column: str | None, element: Any, lanes: int) -> Any:
        builder, (kind, array) = self._builder, self._given[name]
        view = self._context.make_array(kind)(self._context, builder, array)
        width = builder.extract_value(view.shape, kind.ndim - 1)
        if name == "weights":
            width = ir.Constant(_I64, LANES)  # so that places are known when this is compiled
        at = builder.mul(width, ir.Constant(_I64, row))
        if column is not None:
            at = builder.add(at, self._given[column][1])
        return builder.bitcast(builder.gep(view.data, [at]), ir.VectorType(element, lanes).as_pointer())


def _product(builder: Any, a: Sequence[Any], b: Sequence[Any]) -> Any:
    """Sums over the rows of two sets of vectors, lane by lane, or pair of lanes by pair."""
    wide = ir.VectorType(_I32, LANES)
    total = None
    for x, y in zip(a, b, strict=True):
        product = builder.mul(builder.sext(x, wide), builder.sext(y, wide), flags=("nsw",))
        if IN_PAIRS:
            product = neighbours_added(builder, product, product, LANES)
        total = product if total is None else builder.add(total, product, flags=("nsw",))
    return total


def _folded(builder: Any, vectors: Sequence[Any]) -> list[Any]:
    """The sums of the blocks of every vector: vectors of ABREAST lanes."""
    count = len(vectors)
    nothing = ir.Constant(vectors[0].type, None)
    vectors = [*vectors, *[nothing] * (-count % 4 if count > 2 else 0)]
    lanes, wanted = vectors[0].type.count, len(vectors) * ABREAST
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [neighbours_added(builder, a, b, 2 * lanes) for a, b in pairs]
    (whole,) = vectors
    while whole.type.count > wanted:
        whole = neighbours_added(builder, whole, whole, whole.type.count)
    return [picked(builder, whole, whole, range(ABREAST * i, ABREAST * (i + 1))) for i in range(count)]


def neighbours_added(builder: Any, a: Any, b: Any, lanes: int) -> Any:
    """Sums of every two neighbouring lanes of the first `lanes` of `a` and `b` in a row."""
    even, odd = (picked(builder, a, b, range(first, lanes, 2)) for first in (0, 1))
    return builder.add(even, odd, flags=("nsw",))


def picked(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes)))
