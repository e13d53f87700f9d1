"""The twins of layers 0 and 1: symbols to bits and back. FORMAT.md section 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.reference.codes import (
    BAD_CODE,
    FIRST_KIND,
    FIRST_LEVELS,
    MASK_KIND,
    OUT_OF_RANGE,
    OVERRUN,
    QUAD_KIND,
    QUAD_LEVELS,
    SIZE_KIND,
    TOO_MANY_BLOCKS,
    Bits,
    Codes,
    Place,
    around,
    bits_of,
    bucket_of,
    bucket_start,
    bytes_of,
    places,
)

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
