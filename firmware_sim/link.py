"""A bad radio link, seeded: what of a stream's packets arrives, when, and in what state.

Nothing here knows what packets mean; only `split` and the command look for packets in bytes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

from onboard.errors import InputError, PacketError
from onboard.image_io import STDIO, check_outputs, read_bytes, write_bytes
from onboard.unframe import unframe
from onboard.wire import unpack


@dataclass(frozen=True)
class Pass:
    """A contact: from `start` for `seconds`, at `bitrate` bits per second."""

    start: float
    seconds: float
    bitrate: float


@dataclass(frozen=True)
class Link:
    """What a link does to packets. Each effect draws from its own random numbers, so one does not shift another.

    Attributes:
        loss: fraction of packets lost, 0 to 1.
        burst: mean number of packets lost in a row: None for independent losses; 1 or more for the Gilbert model (a
            two-state chain that loses all packets in its bad state; E. N. Gilbert, "Capacity of a burst-noise
            channel", Bell System Technical Journal 39, 1960).
        good_loss, bad_loss: with a burst, the losses within the two states (E. O. Elliott, "Estimates of error rates
            for codes on burst-noise channels", ibid. 42, 1963); `loss` is then the fraction of time in the bad state.
        bit_error_rate: of every bit that is sent.
        duplicate: fraction of packets that arrive twice.
        reorder: packets arrive up to so many places late.
        truncate: fraction of packets that lose their end.
        schedule: contacts, in order; None for a link that is always there.
        overhead: bytes of framing that each packet takes on the air, for the schedule.
    """

    loss: float = 0.0
    burst: float | None = None
    good_loss: float = 0.0
    bad_loss: float = 1.0
    bit_error_rate: float = 0.0
    duplicate: float = 0.0
    reorder: int = 0
    truncate: float = 0.0
    schedule: tuple[Pass, ...] | None = None
    overhead: int = 0

    def __post_init__(self) -> None:
        rates = (self.loss, self.good_loss, self.bad_loss, self.bit_error_rate, self.duplicate, self.truncate)
        if not all(0 <= r <= 1 for r in rates):
            raise InputError(f"loss and error rates {rates}: each must be 0 to 1")
        if self.burst is not None and not (self.burst >= 1 and self.loss < 1):
            raise InputError(f"burst {self.burst}: must be at least 1, with a loss below 1")
        if self.burst is not None and self.loss / (1 - self.loss) > self.burst:
            raise InputError(f"a loss of {self.loss} needs bursts longer than {self.burst}")
        if self.reorder < 0 or self.overhead < 0:
            raise InputError("reorder and overhead must not be negative")

    def transmit(self, packets: Sequence[bytes], seed: int) -> list[bytes]:
        """What arrives, in order of arrival."""
        return [data for _, data in self.deliveries(packets, seed)]

    def deliveries(self, packets: Sequence[bytes], seed: int) -> list[tuple[int, bytes]]:
        """The same, each with the number of the packet that was sent."""
        streams = {name: random.Random(f"{name} {seed}") for name in ("loss", "bits", "copies", "order", "cut")}
        sent = len(packets) if self.schedule is None else len(list(arrivals(packets, self.schedule, self.overhead)))
        arrived: list[tuple[float, int, bytes]] = []
        lost = self._losses(sent, streams["loss"])
        for i, packet in enumerate(packets[:sent]):
            copies = 1 + (streams["copies"].random() < self.duplicate)
            if lost[i]:
                continue
            for _ in range(copies):
                data = flip_bits(packet, self.bit_error_rate, streams["bits"])
                if streams["cut"].random() < self.truncate:
                    data = data[: streams["cut"].randrange(len(data))]
                late = streams["order"].random() * self.reorder if self.reorder else 0
                arrived.append((i + late, i, data))
        return [(i, data) for _, i, data in sorted(arrived, key=lambda item: item[0])]

    def _losses(self, count: int, rng: random.Random) -> list[bool]:
        if self.burst is None:
            return [rng.random() < self.loss for _ in range(count)]
        leave = 1 / self.burst
        enter = leave * self.loss / (1 - self.loss)
        bad = rng.random() < self.loss
        lost = []
        for _ in range(count):
            lost.append(rng.random() < (self.bad_loss if bad else self.good_loss))
            bad = rng.random() >= leave if bad else rng.random() < enter
        return lost


def flip_bits(data: bytes, rate: float, rng: random.Random) -> bytes:
    """Data with each bit inverted at the given rate."""
    if rate <= 0:
        return data
    out = bytearray(data)
    bit = -1
    while True:
        gap = 0 if rate >= 1 else int(log(1 - rng.random()) / log(1 - rate))
        bit += 1 + gap
        if bit >= 8 * len(out):
            return bytes(out)
        out[bit >> 3] ^= 128 >> (bit & 7)


def arrivals(packets: Iterable[bytes], schedule: Sequence[Pass], overhead: int = 0) -> Iterator[float]:
    """When each packet's last bit is sent: those that the contacts hold, back to back, none across two of them."""
    contacts = iter(schedule)
    now, end, bitrate = 0.0, 0.0, 1.0
    for packet in packets:
        while now + 8 * (len(packet) + overhead) / bitrate > end:
            contact = next(contacts, None)
            if contact is None:
                return
            now, end, bitrate = contact.start, contact.start + contact.seconds, contact.bitrate
        now += 8 * (len(packet) + overhead) / bitrate
        yield now


def split(data: bytes) -> list[bytes]:
    """The packets in a run of bytes, of any kind and version; what lies between them is left out."""
    found = []
    at = 0
    while at < len(data):
        try:
            end = unpack(data, at)[1]
        except PacketError as e:
            if e.end is None:
                at += 1
                continue
            end = e.end
        found.append(data[at:end])
        at = end
    return found


def add_link(parser: argparse.ArgumentParser) -> None:
    """Options of `firmware-sim link`."""
    parser.add_argument("stream", metavar="IN", help='packets, as onboard-compress writes them; "-" is standard input')
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="what arrives, without frames")
    parser.add_argument("--loss", type=float, default=0.0, metavar="P", help="fraction of packets lost, 0 to 1")
    parser.add_argument("--burst", type=float, metavar="N", help="mean number of packets lost in a row")
    parser.add_argument("--good-loss", type=float, default=0.0, metavar="P", help="with --burst: loss between bursts")
    parser.add_argument("--bad-loss", type=float, default=1.0, metavar="P", help="with --burst: loss within bursts")
    parser.add_argument("--bit-errors", type=float, default=0.0, metavar="P", help="bit error rate")
    parser.add_argument("--duplicate", type=float, default=0.0, metavar="P", help="fraction that arrives twice")
    parser.add_argument("--reorder", type=int, default=0, metavar="N", help="packets arrive up to N places late")
    parser.add_argument("--truncate", type=float, default=0.0, metavar="P", help="fraction that loses its end")
    parser.add_argument(
        "--contact",
        action="append",
        type=read_pass,
        metavar="START+SECONDS@BITRATE",
        help="a pass, such as 0+60@1200; several may be given, in order; packets that no pass holds are not sent",
    )
    parser.add_argument("--overhead", type=int, default=0, metavar="N", help="bytes of framing per packet on the air")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same losses (default 0)")


def read_pass(text: str) -> Pass:
    """ "0+60@1200" to a pass."""
    start, _, rest = text.partition("+")
    seconds, _, bitrate = rest.partition("@")
    try:
        found = Pass(float(start), float(seconds), float(bitrate))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not START+SECONDS@BITRATE, such as 0+60@1200") from None
    if not (isfinite(found.start) and 0 < found.seconds < inf and 0 < found.bitrate < inf):
        raise argparse.ArgumentTypeError(f"{text!r}: seconds and bit rate must be numbers above 0, the start a number")
    return found


def link_command(options: argparse.Namespace) -> dict[str, int]:
    """Send a file over the link that the options describe; returns counts. Raises InputError."""
    if options.json and options.output == STDIO:
        raise InputError("--json and packets cannot both go to standard output: give a file with -o")
    check_outputs([options.output], [options.stream])
    if options.burst is None and (options.good_loss, options.bad_loss) != (0, 1):
        raise InputError("--good-loss and --bad-loss go with --burst")
    if options.burst is not None and not options.loss:
        raise InputError("--burst goes with --loss")
    link = Link(
        options.loss,
        options.burst,
        options.good_loss,
        options.bad_loss,
        options.bit_errors,
        options.duplicate,
        options.reorder,
        options.truncate,
        tuple(options.contact) if options.contact else None,
        options.overhead,
    )
    stream = read_bytes(options.stream)
    packets = split(unframe(stream))
    if stream and not packets:
        raise InputError(f"{options.stream}: no packets in it; give what onboard-compress wrote")
    arrived = link.transmit(packets, options.seed)
    write_bytes(options.output, b"".join(arrived))
    intact = set(packets)
    return {
        "packets": len(packets),
        "arrived": len(arrived),
        "intact": len(intact.intersection(arrived)),
        "bytes": sum(map(len, arrived)),
    }
