"""Which interleave and erasure packets to send when a loss is expected: a table, measured by `benchmarks.link`.

Every row is the best of `benchmarks.link study` on training pictures, 0.15 bits per pixel in packets of 200 bytes: see
benchmarks/results/link.txt. Of mixes that are alike in the mean, that with the better worst picture is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from onboard.erasure import Protection
from onboard.errors import InputError

MAX_LOSS = 0.9
SMALL_PACKET = 2048  # bytes; of a radio
FEW_PACKETS = 4  # have nothing to spread
SMALL_PACKET_INTERLEAVE: Literal[1, 2, 4] = 4
STREAM_INTERLEAVE: Literal[1, 2, 4] = 4

Order = Literal["layers", "spread"]
# Parity packets beyond those lost in the mean, in standard deviations of the number of lost packets: for groups of
# layer 0 and for groups of the layers above, None for no parity; or for groups that all layers share.
Margin = tuple[float | None, float | None] | float
NO_PARITY: Margin = (None, None)


@dataclass(frozen=True)
class Row:
    """What is best up to a loss rate.

    Attributes:
        loss: highest loss rate for which the row holds.
        interleave: 1, 2 or 4.
        margin: parity packets.
        order: "layers", coarse to fine, or "spread" (see erasure.spread), where bursts take too much of layer 0.
    """

    loss: float
    interleave: Literal[1, 2, 4]
    margin: Margin
    order: Order = "layers"


# Losses one by one, and in bursts.
SINGLE = (
    Row(0.0, 1, NO_PARITY),
    Row(0.02, 1, (1, None)),
    Row(0.07, 1, 2.0),
    Row(0.15, 1, 2.5),  # as good in the mean as 1.5, but 99 and not 96 of a hundred pictures come whole
    Row(0.25, 2, 2.0),
    Row(0.4, 4, 2.0),  # as good in the mean as interleave 2, and the worst picture is 3 dB better
    Row(MAX_LOSS, 4, (2, None)),
)
BURSTS = (
    Row(0.0, 1, NO_PARITY),
    Row(0.02, 2, NO_PARITY, "spread"),
    Row(0.07, 2, (1, None), "spread"),
    Row(0.15, 1, 1.5, "spread"),
    Row(0.4, 4, (1, None), "spread"),
    Row(MAX_LOSS, 2, (1, None), "spread"),
)
BURST_FROM = 2.0  # mean packets lost in a row


@dataclass(frozen=True)
class Plan:
    """How to spend bytes on a bad link."""

    interleave: Literal[1, 2, 4]
    protection: Protection | None
    order: Order


def usual_interleave(budget: int | None, packet_size: int) -> Literal[1, 2, 4]:
    """Interleave where no loss is expected.

    Small packets are a radio's, and a radio loses some: what fits a size is then spread over the picture all the same.
    It costs 0.2 dB; of pictures that lose one packet in ten the worst stays above 18 dB, where interleave 1 had 14.
    """
    small = budget is not None and packet_size <= SMALL_PACKET and budget >= FEW_PACKETS * packet_size
    return SMALL_PACKET_INTERLEAVE if small else 1


def plan(loss: float, burst: float = 1.0) -> Plan:
    """What to send when packets get lost at this rate, in bursts of this mean length. Raises InputError."""
    if not 0 <= loss <= MAX_LOSS:
        raise InputError(f"expected loss {loss:g}: must be a fraction, 0 to {MAX_LOSS}; 50 % is 0.5")
    if not burst >= 1:
        raise InputError(f"expected bursts of {burst:g} packets: must be 1 or more, 1 where losses come one by one")
    table = BURSTS if burst >= BURST_FROM else SINGLE
    row = next((r for r in table if loss <= r.loss), table[-1])
    return Plan(row.interleave, protection(loss, burst, row.margin), row.order)


def stream_plan(loss: float, burst: float = 1.0) -> Plan:
    """The same for a stream, which sends packets as they come and closes a group when the index changes.

    Its groups stay small, so that parity costs more than it saves at any loss; interleaving is best at all of them. In
    packets of 200 bytes at 0.15 bits per pixel, training pictures win 0.5, 1.2 and 2.1 dB over interleave 1 when 5, 10
    and 30 % get lost; with parity by the table above they lose 1.3, 1.7 and -0.5 dB. Raises InputError.
    """
    plan(loss, burst)  # checks both
    return Plan(STREAM_INTERLEAVE if loss else 1, None, "layers")


def protection(loss: float, burst: float, margin: Margin) -> Protection | None:
    """Parity for the packets that get lost in the mean, parity packets included, and a margin."""
    if loss == 0 or margin == NO_PARITY:
        return None
    mean = loss / (1 - loss)
    deviation = sqrt(loss * (1 - loss) * (2 * burst - 1)) / (1 - loss)  # bursts widen the spread of a mean of n
    margins = margin if isinstance(margin, tuple) else (margin, None)
    first, rest = (0.0 if m is None else mean for m in margins)
    return Protection(
        (first, rest), (deviation * (margins[0] or 0.0), deviation * (margins[1] or 0.0)), margins is not margin
    )
