"""Rate control of the single-pass mode: what the quantiser index should be, what must be left. See stream.py."""

from __future__ import annotations

from collections.abc import Callable

from onboard.wire import LAYER_FIRST, LAYER_REST, MAX_INDEX, STEPS

# Layer 0, layer 1. Parts are of 256, logarithms and their differences in OCTAVE.
PRIOR_COST = (500, 30000)  # of a luma block, expected at first, for USUAL_ENERGY and USUAL_SIZE;
ENERGY_COST = (25, 40)  # it rises with this part of the energy's logarithm
SIZE_COST = (0, 80)  # and falls with this part of the number of rows': large pictures have less to a block
USUAL_ENERGY = 236
USUAL_SIZE = 192  # 64 rows
LEAST_ENERGY = 64  # added to the mean of a block, for the logarithm
# What rows so far count in an estimate, of 256: OWN_FIRST, and towards the end up to OWN_MORE more.
OWN_FIRST = (85, 110)
OWN_MORE = (180, 200)
RECENT_ROWS = 24  # what the last rows cost weighs as much as that many, and those so far, of the rows left
CALM = 128  # rows so far are not taken for cheaper than what is usual by more than this
CAUTION = 30  # of 256, added to an estimate for all rows: to have spent too much is worse than too little
PACKET_COST = 17  # bytes that a packet costs beside its symbols, about
# Half bits of a block of layer 0 that becomes its prediction: one, in the first of its column, in chroma's last row.
LEAST_ROW = 5
LEAST_LAST = 4
OPEN_BITS = 255  # what opening a packet takes at most
OCTAVE = 32  # steps of a logarithm, as those of the quantiser
FIRST_TARGET = 110  # before the first row is known
# A packet is closed for a target that is finer than its index by CLOSE_FINER; in the last rows, LATE_ROWS of 256, by
# LATE_FINER, when otherwise UNUSED of 256 of the quota would be left.
CLOSE_FINER = 56
LATE_FINER = 16
LATE_ROWS = 48
UNUSED = 10


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
    between what rows did so far and what is usual, by their logarithms: costs differ by factors, and a busy or a calm
    beginning says about half of what it seems to. What is usual depends on the size of the picture and on the energy
    that G1 leaves in the rows known so far, of which the first is known before anything is coded. The fewer rows are
    left, the more the last ones count.

    Attributes:
        parity_share: bytes of parity that come with a source packet in the mean.
        target: index that is asked for.
        finer: a packet is closed when the target is finer than its index by this.
        spent: most bits that the stream has if it ends now.
        energy: what G1 leaves in the luma rows that are known.
        cost, recent: cost so far, and of a recent row, by layer.
        reserve: bits that layer 1 must leave for layer 0 of the rows below.
        least: half bits without which layer 0 of the blocks to come would leave a hole.
    """

    def __init__(self, quota: int, packet_size: int, parity_share: int, rows: int, columns: int) -> None:
        self.quota = 8 * quota
        self.packet_size, self.parity_share = packet_size, parity_share
        self.rows, self.columns = rows, columns
        self.target, self.finer = FIRST_TARGET, CLOSE_FINER
        self.energy = self.spent = self.reserve = self.least = 0
        self.cost, self.seen = [0, 0], [0, 0]
        self.recent = [columns * cost for cost in PRIOR_COST]

    def aim(self, row: int, index: int, least: tuple[int, int], with_packets: Callable[[int], int]) -> None:
        """Set the target before luma row `row` is coded, whose energy is known.

        Args:
            index: of the packet that was opened last, -1 when there is none.
            least: bits that layer 0 needs at least, of the rows below, and of the row.
            with_packets: adds to bits of layer 0 the packets that must be opened for them.
        """
        left = self.rows - row
        first, rest = (self._expected(layer, row) for layer in (LAYER_FIRST, LAYER_REST))
        have = max(self.quota - self.spent, 0) * (self.packet_size - PACKET_COST)
        have //= self.packet_size + self.parity_share
        rest *= left + (row > 0)

        def bits(index: int) -> int:
            return first * left // fall(LAYER_FIRST, index) + rest // fall(LAYER_REST, index)

        low, high = 0, MAX_INDEX
        while low < high:  # the finest index at which what is to come fits
            middle = (low + high) // 2
            low, high = (middle + 1, high) if bits(middle) > have else (low, middle)
        self.target, self.finer = low, CLOSE_FINER
        if index >= 0 and 256 * left < LATE_ROWS * self.rows and bits(index) + UNUSED * self.quota // 256 < have:
            self.finer = LATE_FINER
        below = max(first * (left - 1) // fall(LAYER_FIRST, low), least[0])
        self.reserve, self.least = with_packets(min(below, self.quota)), 2 * with_packets(sum(least))

    def _expected(self, layer: int, row: int) -> int:
        """What a row to come is taken to cost."""
        done, left = max(row - layer, 0), self.rows - row
        energy = _logarithm(self.energy // (self.columns * (row + 1)) + LEAST_ENERGY)
        size = _logarithm(64 * self.rows)
        more = ENERGY_COST[layer] * (energy - USUAL_ENERGY) - SIZE_COST[layer] * (size - USUAL_SIZE)
        usual = max(_logarithm(self.columns * PRIOR_COST[layer]) + (more >> 8), 0)
        if not done:
            return _power(usual)
        self.recent[layer] = (3 * self.recent[layer] + self.cost[layer] - self.seen[layer]) // 4
        self.seen[layer] = self.cost[layer]
        recent = RECENT_ROWS + done
        own = (left * (self.cost[layer] // done) + recent * self.recent[layer]) // (left + recent)
        weight = min(OWN_FIRST[layer] + OWN_MORE[layer] * done // self.rows, 256)
        n = (256 - weight) * usual + weight * max(_logarithm(own), usual - CALM)
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
