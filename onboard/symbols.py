"""Symbols of the single-pass mode, one at a time: a slot's open packet, contexts, code words. FORMAT.md section 5.

The twin of kernels.entropy_code for a coder that sees a row of a stripe at a time; written to be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from onboard.kernels import entropy as e
from onboard.wire import QUAD, Section

Word = tuple[int, int]  # value, bits


class Candidate(NamedTuple):
    """Latents 2 to 8 of a block and their prediction; None in its place is a block of group 1."""

    latents: list[int]
    prediction: list[int]


@dataclass
class Slot:
    """One (plane, phase, stripe, layer): its open packet, and what contexts look at.

    Block numbers count from the stripe's first block.

    Attributes:
        offset: number of the stripe's first block in phase order.
        width, total: blocks across, blocks in all.
        next: first block that is not coded yet.
        begin: first block of the open packet, None when none is open; index: its quantiser index; room: its bytes.
        payload, acc, fill: bits so far.
        q, size: quantised first latents and residual sizes (layer 0); count: activity (layer 1); by block.
        waiting: candidates of a quad that reaches into the next row.
    """

    plane: int
    phase: int
    layer: int
    offset: int
    width: int
    total: int
    next: int = 0
    begin: int | None = None
    index: int = 0
    room: int = 0
    payload: bytearray = field(default_factory=bytearray)
    acc: int = 0
    fill: int = 0
    q: dict[int, int] = field(default_factory=dict)
    size: dict[int, int] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)
    waiting: list[Candidate | None] = field(default_factory=list)

    def has_symbols(self) -> bool:
        return self.begin is not None and bool(self.payload or self.fill)

    def bits(self) -> int:
        return 8 * len(self.payload) + self.fill

    def fits(self, bits: int) -> bool:
        return self.bits() + bits <= 8 * self.room

    def put(self, words: list[Word]) -> None:
        for value, length in words:
            self.acc = self.acc << length | value
            self.fill += length
            while self.fill >= 8:
                self.fill -= 8
                self.payload.append(self.acc >> self.fill & 255)
            self.acc &= (1 << self.fill) - 1

    def section(self) -> Section:
        """Pad with ones; no packet is open then."""
        assert self.begin is not None
        if self.fill:
            self.put([((1 << (8 - self.fill)) - 1, 8 - self.fill)])
        made = Section(self.plane, self.layer, self.phase, self.offset + self.begin, bytes(self.payload))
        self.payload.clear()
        self.begin = None
        return made

    def at_hand(self, n: int) -> tuple[bool, bool]:
        """Whether the neighbours W and N of block `n` are in the section."""
        assert self.begin is not None
        return n % self.width > 0 and n - 1 >= self.begin, n - self.width >= self.begin


def first_symbol(slot: Slot, words: list[int]) -> tuple[int, list[Word]]:
    """(blocks, words) of the longest run, or the one block, from `slot.next` on. FORMAT.md section 5.2."""
    n, q = slot.next, slot.q
    prediction, context, lean = first_context(slot, n)
    r = q[n] - prediction
    slot.size[n] = min(abs(r), 31)
    r = -r if lean < 0 else r
    table = e.FIRST_BASE + context * e.FIRST_SYMBOLS
    longest = {0: 4, 1: 2}.get(context, 1) if r == 0 else 1
    run = 1
    while run < longest and (n + run) % slot.width and q[n + run] == first_context(slot, n + run)[0]:
        slot.size[n + run] = 0
        run += 1
    if run >= 2:
        run = run & ~1
        return run, [split(words[table + (e.FIRST_FOUR if run == 4 else e.FIRST_PAIR)])]
    if abs(r) <= e.FIRST_DIRECT:
        return 1, [split(words[table + e.FIRST_DIRECT + r])]
    b, raw = bucket(abs(r) - e.FIRST_DIRECT - 1)
    return 1, [split(words[table + 2 * e.FIRST_DIRECT + 1 + b]), (raw << 1 | (r < 0), b + 2)]


def first_context(slot: Slot, n: int) -> tuple[int, int, int]:
    """Prediction, context and lean of a first latent. FORMAT.md section 5.2."""
    q, size, width = slot.q, slot.size, slot.width
    west, north = slot.at_hand(n)
    if not north:
        if not west:
            return 0, e.FIRST_ALONE, 0
        return q[n - 1], sum(6 * size[n - 1] >= level for level in e.FIRST_LEVELS), 0
    qw = qn = qne = prediction = q[n - width]
    total, terms = size[n - width], 1
    if (n + 1) % width:
        qne = q[n - width + 1]
        total += size[n - width + 1] + abs(qn - qne)
        terms += 2
    if west:
        qw = prediction = q[n - 1]
        total += size[n - 1]
        terms += 1
        assert slot.begin is not None
        if n - width - 1 >= slot.begin:
            qnw = q[n - width - 1]
            total += abs(qw - qnw) + abs(qn - qnw)
            terms += 2
            prediction = sorted((qw, qn, qw + qn - qnw))[1]
    lean = 2 * qw + qn + qne - 4 * prediction
    context = sum(6 * total // terms >= level for level in e.FIRST_LEVELS)
    return prediction, e.FIRST_STRONG if context == e.FIRST_SPLIT and abs(lean) >= e.STRONG_LEAN else context, lean


def rest_symbol(slot: Slot, words: list[int], rest: dict[int, list[int] | None], end: int) -> tuple[int, list[Word]]:
    """(block behind, words) of the run of quads, or the quad, from `slot.next` on. FORMAT.md section 5.3."""
    n = slot.next
    last = min(n + QUAD, end)
    activity = 2 * west_north(slot, n)[0]
    for i in range(n, last):
        activity += west_north(slot, i)[1] if i - slot.width < n else 0
    context = 2 * sum(activity >= level for level in e.QUAD_LEVELS) + (west_north(slot, n)[0] > 0)
    symbol = signs(rest, n, last)
    if symbol in (0, 15):
        longest = 4 if symbol == 0 and context == 0 else 2
        run = 1
        while (
            run < longest
            and n + QUAD * (run + 1) <= end
            and signs(rest, n + QUAD * run, n + QUAD * (run + 1)) == symbol
        ):
            run += 1
        if run >= 2:
            run = run & ~1
            last = n + QUAD * run
            symbol = e.QUAD_ONES if symbol else (e.QUAD_ZEROS4 if run == 4 else e.QUAD_ZEROS)
    coded = [split(words[e.QUAD_BASE + context * e.QUAD_SYMBOLS + symbol])]
    for i in range(n, last):
        latents = rest[i]
        slot.count[i] = 0
        if latents is not None:
            coded += block_words(latents, words, sum(west_north(slot, i)) >= e.MASK_LEVEL)
            slot.count[i] = 1 + sum(q != 0 for q in latents)
    return last, coded


def block_words(q: list[int], words: list[int], context: bool) -> list[Word]:
    """Latents 2 to 8 of one block. FORMAT.md section 5.3."""
    sizes = [abs(v) for v in q]
    mask = sum((s > 0) << u for u, s in enumerate(sizes))
    nonzero, largest = mask.bit_count(), max(sizes)
    coded = [split(words[e.MASK_BASE + context * e.MASK_SYMBOLS + (mask + 128 if largest == 1 else mask)])]
    ones = before = 0
    for u, size in enumerate(sizes):
        if size == 0:
            continue
        if largest > 1:
            forced = ones == nonzero - 1 and before == ones
            table = e.SIZE_BASE + e.SIZE_SYMBOLS * (e.SIZE_FORCED if forced else 4 * (u > 1) + min(nonzero, 6) // 2)
            before += 1
            ones += size == 1
            if size <= e.SIZE_DIRECT:
                coded.append(split(words[table + size - 1]))
            else:
                b, raw = bucket(size - 1 - e.SIZE_DIRECT)
                coded += [split(words[table + e.SIZE_DIRECT + b]), (raw, b + 1)]
        coded.append((int(q[u] < 0), 1))
    return coded


def thin(rest: dict[int, list[int] | None], begin: int, end: int) -> bool:
    """Send the last group-2 block of a run to group 1; False when there is none."""
    for n in range(end - 1, begin - 1, -1):
        if rest[n] is not None:
            rest[n] = None
            return True
    return False


def signs(rest: dict[int, list[int] | None], begin: int, end: int) -> int:
    return sum((rest[n] is not None) << (3 - (n - begin)) for n in range(begin, end))


def west_north(slot: Slot, n: int) -> tuple[int, int]:
    """Activity of the neighbours W and N of block `n`; 0 for one that is not in the section."""
    west, north = slot.at_hand(n)
    return slot.count.get(n - 1, 0) if west else 0, slot.count.get(n - slot.width, 0) if north else 0


def bucket(excess: int) -> tuple[int, int]:
    """(bucket, raw bits) of a value past the direct range."""
    b = (excess + 2).bit_length() - 2
    return b, excess - ((2 << b) - 2)


def split(word: int) -> Word:
    return word >> 4, word & 15
