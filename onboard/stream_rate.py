"""Rate control of the single-pass mode: what the quantiser index should be, what must be left. See stream.py."""

from __future__ import annotations

from collections.abc import Callable

from onboard.wire import LAYER_FIRST, LAYER_REST, MAX_INDEX, STEPS

PRIOR_COST = (480, 28000)  # of a luma block (layer 0, layer 1), expected at first
# What rows so far count in an estimate, of 256: OWN_FIRST, and towards the end up to OWN_MORE more.
OWN_FIRST = 110
OWN_MORE = 140
RECENT_ROWS = 4  # what the last rows cost weighs as much as that many of the rows left
CALM = 32  # rows so far count as this part of PRIOR_COST at least
CAUTION = 120  # of 256, added to an estimate for all rows: to have spent too much is worse than too little
PACKET_COST = 16  # bytes that a packet costs beside its symbols, about
LEAST_ROW = (
    6  # half bits of a block of layer 0 that becomes its prediction, the first of its column; a half bit below it
)
OPEN_BITS = 255  # what opening a packet takes at most
OCTAVE = 32  # steps of a logarithm, as those of the quantiser


def fall(layer: int, index: int) -> int:
    """What a layer's bits are inversely proportional to: 2^(13 index / 1024), 2^(3 index / 64) for layers 0 and 1."""
    return _power(13 * index // 32 if layer == LAYER_FIRST else 3 * index // 2)


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

    A row's cost is its bits times `fall`, which is about the same at any index. What a row to come costs is estimated
    between what rows did so far and PRIOR_COST, by their logarithms: costs differ by factors, and a busy or a calm
    beginning says about half of what it seems to. The fewer rows are left, the more the last ones count.

    Attributes:
        parity_share: bytes of parity that come with a source packet in the mean.
        target: index that is asked for.
        spent: most bits that the stream has if it ends now.
        cost, recent: cost so far, and of a recent row, by layer.
        reserve: bits that layer 1 must leave for layer 0 of the rows below.
        least: half bits without which layer 0 of the blocks to come would leave a hole.
    """

    def __init__(self, quota: int, packet_size: int, parity_share: int, rows: int, columns: int) -> None:
        self.quota = 8 * quota
        self.packet_size, self.parity_share = packet_size, parity_share
        self.rows = rows
        self.prior = [columns * cost for cost in PRIOR_COST]
        self.target = self.spent = self.reserve = self.least = 0
        self.cost, self.seen = [0, 0], [0, 0]
        self.recent = list(self.prior)

    def aim(self, row: int, least: tuple[int, int], with_packets: Callable[[int], int]) -> None:
        """Set the target before luma row `row`.

        Args:
            least: bits that layer 0 needs at least, of the rows below, and of the row.
            with_packets: adds to bits of layer 0 the packets that must be opened for them.
        """
        left = self.rows - row
        first, rest = (self._expected(layer, row) for layer in (LAYER_FIRST, LAYER_REST))
        have = max(self.quota - self.spent, 0) * (self.packet_size - PACKET_COST)
        have //= self.packet_size + self.parity_share
        rest *= left + (row > 0)
        low, high = 0, MAX_INDEX
        while low < high:  # the finest index at which what is to come fits
            middle = (low + high) // 2
            if first * left // fall(LAYER_FIRST, middle) + rest // fall(LAYER_REST, middle) > have:
                low = middle + 1
            else:
                high = middle
        self.target = low
        bits = max(first * (left - 1) // fall(LAYER_FIRST, low), least[0])
        self.reserve, self.least = with_packets(min(bits, self.quota)), 2 * with_packets(sum(least))

    def _expected(self, layer: int, row: int) -> int:
        """What a row to come is taken to cost."""
        done, left = max(row - layer, 0), self.rows - row
        if not done:
            return self.prior[layer]
        self.recent[layer] = (3 * self.recent[layer] + self.cost[layer] - self.seen[layer]) // 4
        self.seen[layer] = self.cost[layer]
        own = (left * (self.cost[layer] // done) + RECENT_ROWS * self.recent[layer]) // (left + RECENT_ROWS)
        own = max(own, self.prior[layer] // CALM)
        weight = OWN_FIRST + OWN_MORE * done // self.rows
        n = (256 - weight) * _logarithm(self.prior[layer]) + weight * _logarithm(own)
        return _power(n >> 8) * (256 + CAUTION * left // self.rows) // 256

    def room(self, layer: int) -> int:
        """Bits that the quota leaves for a layer."""
        return self.quota - self.spent - (self.reserve if layer == LAYER_REST else 0)

    def least_behind(self, blocks: int) -> int:
        """`least` when so many more blocks of layer 0 are coded."""
        return max(self.least - blocks, 0)

    def count(self, bits: int, layer: int, index: int) -> None:
        self.spent += bits
        self.cost[layer] += bits * fall(layer, max(index, self.target))
