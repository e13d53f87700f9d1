"""Four machine instructions that numba has no name for, and what they mean in plain Python.

They are the compiler's own and never change, so kernels of other files may call them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload


def ones(x: Any) -> int:
    """Number of ones in a uint64."""
    return int(x).bit_count()


def trailing_zeros(x: Any) -> int:
    """Number of zeros below the lowest one of a uint64 that is not 0."""
    return (int(x) & -int(x)).bit_length() - 1


@intrinsic  # type: ignore[untyped-decorator]
def _ones(context: Any, x: Any) -> Any:
    return types.int64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic  # type: ignore[untyped-decorator]
def _trailing_zeros(context: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, True))

    return types.int64(types.uint64), generate


def prefetch(array: Any, y: int, x: int) -> None:
    """Have the line of the cache that holds array[y, x] fetched; the place must be inside the array."""


def copy_32(source: Any, at: int, out: Any, to: int) -> None:
    """32 values of `source`, from `at` on, to `out`, from `to` on: arrays in C order, of one type, that do not overlap.

    A loop would first ask whether they do.
    """
    out[to : to + 32] = source[at : at + 32]


@intrinsic  # type: ignore[untyped-decorator]
def _copy_32(context: Any, source: Any, at: Any, out: Any, to: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        vector = ir.VectorType(ir.IntType(8 * size), 32)

        def pointer(which: int) -> Any:
            array = context.make_array(signature.args[which])(context, builder, args[which])
            return builder.bitcast(builder.gep(array.data, [args[which + 1]]), vector.as_pointer())

        builder.store(builder.load(pointer(0), align=size), pointer(2), align=size)
        return context.get_dummy_value()

    return types.void(source, types.int64, out, types.int64), generate


@overload(copy_32, inline="always")  # type: ignore[untyped-decorator]
def _overload_copy_32(source, at, out, to):  # type: ignore[no-untyped-def]
    return lambda source, at, out, to: _copy_32(source, at, out, to)  # noqa: PLW0108


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(context: Any, array: Any, y: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        value = context.make_array(kind)(context, builder, args[0])
        place = cgutils.get_item_pointer(context, builder, kind, value, args[1:], wraparound=False)
        pointer, number = cgutils.voidptr_t, ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, form, "llvm.prefetch.p0i8")
        builder.call(function, [builder.bitcast(place, pointer), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


@overload(prefetch, inline="always")  # type: ignore[untyped-decorator]
def _overload_prefetch(array, y, x):  # type: ignore[no-untyped-def]
    return lambda array, y, x: _prefetch(array, y, x)  # noqa: PLW0108 - numba wants a function


@overload(ones, inline="always")  # type: ignore[untyped-decorator]
def _overload_ones(x):  # type: ignore[no-untyped-def]
    return lambda x: _ones(x)  # noqa: PLW0108


@overload(trailing_zeros, inline="always")  # type: ignore[untyped-decorator]
def _overload_trailing_zeros(x):  # type: ignore[no-untyped-def]
    return lambda x: _trailing_zeros(x)  # noqa: PLW0108
