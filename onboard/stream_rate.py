"""Rate control of the single-pass mode: what the quantiser index should be, what must be left. See stream.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from onboard.wire import LAYER_FIRST, LAYER_REST, MAX_INDEX, STEPS

# What is usual, by the half octave of what G1 leaves of a luma block: how many of 1024 blocks have it.
HALVES = 34
LEAST_BITS = 5  # of the smallest number in the first half octave; blocks with less cost layer 1 nothing
# fmt: off
USUAL_DETAIL = (
    2, 4, 10, 16, 24, 34, 48, 35, 39, 41, 45, 45, 47, 47, 49, 52, 57,
    59, 60, 57, 52, 48, 42, 35, 27, 19, 13, 8, 4, 1, 0, 0, 0, 0,
)
# fmt: on
USUAL_COST = 620  # of a luma block in layer 0, in bits times `fall`
USUAL_SIZE = 384  # logarithm of 4096 blocks: above it fewer of them cost something, below it more,
SIZE_FALL = 72  # by this part of the logarithm, of 256
GREY = 12  # less of a logarithm for a picture that has no chroma
# Of coarse detail, in (step / 8)^2 / 256: less than the model's, which is of all detail. With it, half octaves begin
# where indices do.
THRESHOLD = 256
# Layer 1: bits of a block that the threshold lets pass, and for every half octave above that.
DETAIL_BITS = 4
HALF_BITS = 2
HALF = 8  # indices that move the threshold by half an octave of energy
KEEP = 171  # of 256: what a row weighs after the next one
ROW = 64  # what the newest row weighs
CAUTION = 8  # of 256, of what is left at the beginning: to have spent too much is worse than too little
PACKET_COST = 27  # bytes that a packet costs beside its symbols, about
# Half bits of a block of layer 0 that becomes its prediction: one, in the first of its column, in chroma's last row.
LEAST_ROW = 5
LEAST_LAST = 4
OPEN_BITS = 255  # what opening a packet takes at most
OCTAVE = 32  # steps of a logarithm, as those of the quantiser
FIRST_TARGET = 110  # before the first row is known
# A packet is closed for a target that is finer than its index by CLOSE_FINER when it holds CLOSE_BYTES, or when
# otherwise MUCH of 256 of the quota would be left.
CLOSE_FINER = 50
CLOSE_BYTES = 120
MUCH = 30


def fall(index: int) -> int:
    """What the bits of layer 0 are inversely proportional to: 2^(13 index / 1024)."""
    return _power(13 * index // 32)


def _power(n: int) -> int:
    """64 * 2^(n / OCTAVE)."""
    return STEPS[n % OCTAVE] << (n // OCTAVE)


def _logarithm(value: int) -> int:
    """The largest n whose _power is not above a value; 0 when there is none."""
    n = 0
    while value >= STEPS[OCTAVE]:
        value >>= 1
        n += OCTAVE
    return n + sum(value >= step for step in STEPS[1:OCTAVE])


class Rate:
    """Target index from what is left of the quota, and what must be left for layer 0, so that no hole is left.

    What a row to come costs is taken to be between what the last rows cost and what is usual in a picture of that size,
    nearer to the former the more rows are known. In layer 0 that is bits times `fall`, which is about the same at any
    index. In layer 1 it follows at any index from how much G1 leaves of how many blocks, which is known of the row at
    hand before it is coded.

    Attributes:
        parity_share: bytes of parity that come with a source packet in the mean.
        target: index that is asked for.
        held: bits that a packet must hold to be closed for a finer target.
        spent: most bits that the stream has if it ends now.
        weight, detail, cost: rows so far, their luma blocks by the half octave of what G1 leaves of them, and what they
            cost in layer 0; all in weights of rows, ROW for the newest, except that `cost` has 1.
        usual: columns times 64, as many as usual are to be reckoned with.
        reserve: bits that layer 1 must leave for layer 0 of the rows below.
        least: half bits without which layer 0 of the blocks to come would leave a hole.
    """

    def __init__(self, quota: int, packet_size: int, parity_share: int, rows: int, columns: int, colour: bool) -> None:
        self.quota = 8 * quota
        self.packet_size, self.parity_share = packet_size, parity_share
        self.rows = rows
        larger = _logarithm(64 * rows * columns) - USUAL_SIZE
        usual = _logarithm(64 * columns) - (0 if colour else GREY)
        self.usual = _power(max(256 * usual - SIZE_FALL * larger, 0) >> 8)
        self.target, self.held = FIRST_TARGET, 0
        self.spent = self.reserve = self.least = self.weight = 0
        self.cost = USUAL_COST * self.usual >> 6
        self.detail = [0] * HALVES

    def see(self, residual: Iterable[int]) -> None:
        """Learn what G1 leaves of the luma blocks of a row."""
        for left in residual:
            bits = max(left, 0).bit_length()
            if bits >= LEAST_BITS:
                self.detail[2 * (bits - LEAST_BITS) + (left >> (bits - 2) & 1)] += ROW

    def aim(self, row: int, index: int, least: tuple[int, int], with_packets: Callable[[int], int]) -> None:
        """Set the target before luma row `row` is coded, which has been seen.

        Args:
            index: of the packet that was opened last, -1 when there is none.
            least: bits that layer 0 needs at least, of the rows below, and of the row.
            with_packets: adds to bits of layer 0 the packets that must be opened for them.
        """
        left = self.rows - row
        self.weight += ROW
        share = 128 + 128 * row // self.rows
        scale = (share << 8) // self.weight
        cost = (self.cost * scale >> 10) + (USUAL_COST * self.usual * (256 - share) >> 14)
        have = max(self.quota - self.spent, 0) * (self.packet_size - PACKET_COST)
        have = have // (self.packet_size + self.parity_share) * (256 * self.rows - CAUTION * left) // self.rows
        unspent = self._set_target(left, row > 0, share, scale, (cost << 8) // fall(MAX_INDEX), have, index)
        self.held = 0 if unspent > MUCH * self.quota else 8 * CLOSE_BYTES
        below = max(cost * (left - 1) // fall(self.target), least[0])
        self.reserve, self.least = with_packets(min(below, self.quota)), 2 * with_packets(sum(least))
        self.weight = self.weight * KEEP >> 8
        self.cost = self.cost * KEEP >> 8
        self.detail = [n * KEEP >> 8 for n in self.detail]

    def _set_target(self, left: int, above: int, share: int, scale: int, first: int, have: int, index: int) -> int:
        """The finest index at which what is to come fits; returns what would be left at `index`.

        Costs are in bits times 256; from half octave to half octave, and along a line between two.

        Args:
            left, above: rows that layer 0 has to come, and how many more layer 1 has.
            share, scale: of 256, what rows so far count; that over their weight.
            first: cost of a row of layer 0 at the coarsest index.
        """
        blocks = further = before = unspent = 0
        usual = self.usual * (256 - share)
        for half in reversed(range(HALVES)):
            further += blocks
            blocks += (self.detail[half] * scale >> 8) + (USUAL_DETAIL[half] * usual >> 16)
            if half > MAX_INDEX // HALF:
                continue
            bits = first * left + (DETAIL_BITS * blocks + HALF_BITS * further) * (left + above)
            if bits > have:
                coarser = HALF * (half + 1) - (HALF * (have - before) // (bits - before) if before else 0)
                self.target = min(coarser, MAX_INDEX)
                return unspent
            if index >= 0 and half == (index + HALF // 2) // HALF:
                unspent = have - bits
            before = bits
            first += first // 14
        self.target = 0
        return unspent

    def room(self, layer: int) -> int:
        """Bits that the quota leaves for a layer."""
        return self.quota - self.spent - (self.reserve if layer == LAYER_REST else 0)

    def least_behind(self, blocks: int) -> int:
        """`least` when so many more blocks of layer 0 are coded."""
        return max(self.least - blocks, 0)

    def count(self, bits: int, layer: int, index: int) -> None:
        self.spent += bits
        if layer == LAYER_FIRST:
            self.cost += bits * fall(max(index, self.target))
