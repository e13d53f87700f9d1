"""PSNR over lossy links: which interleave and erasure packets are best, and how the shipped choice does.

    python -m benchmarks.link study --images DIR [--seeds 10]      mixes, on eight training pictures
    python -m benchmarks.link targets [--data DIR] [--seeds 50]    the shipped table, on kodak and aerial
    python -m benchmarks.link peers [--data DIR] [--seeds 10] [--ssdv PATH]    against other codecs, on the same

0.15 bits per pixel of grey pictures in packets of 200 bytes, parity and headers included, decoded with the default
decoder. Lost pictures (no packet arrived) count as plain grey. Mixes see the same losses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS, BenchmarkError, codec, run
from benchmarks.link_peers import GREY, Sent, peers
from benchmarks.metrics import luma, psnr
from benchmarks.pictures import add_data_option, data_folder, pictures, read

BPP = 0.15
PACKET = 200
STUDIED = (
    "photo/misc/monarch.webp",
    "photo/misc/motorcycle.webp",
    "photo/mate/GreenMeadow_d2.webp",
    "photo/plasma/Path_d3.webp",
    "aerial/brighton/DJI_0021_d4.webp",
    "aerial/seneca/IMG_0494_d5.webp",
    "aerial/usc/2.1.07.webp",
    "aerial/misc/landsat_pucallpa_2020.webp",
)
LOSSES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
Margin = tuple[float | None, float | None] | float  # see onboard.expect
NO_PARITY: Margin = (None, None)
LARGEST = 1_500_000  # pixels


@dataclass(frozen=True)
class Mix:
    """Interleave, parity margins (see onboard.expect), order, and how often layer 0 is sent."""

    interleave: int
    margin: Margin = (None, None)
    copies: int = 1
    order: str = "layers"

    def __str__(self) -> str:
        margins = self.margin if isinstance(self.margin, tuple) else (self.margin,)
        parity = "/".join("-" if m is None else f"{m:g}" for m in margins)
        return (
            f"interleave {self.interleave}, "
            + ("layer 0 twice" if self.copies > 1 else f"parity {parity}")
            + (", spread" if self.order == "spread" else "")
        )


def in_layers(*some: tuple[int, Margin]) -> list[Mix]:
    return [Mix(interleave, margin) for interleave, margin in some]


def spread_out(*some: tuple[int, Margin]) -> list[Mix]:
    return [Mix(interleave, margin, order="spread") for interleave, margin in some]


BASE = (1, None)  # layer 0 alone is protected
TRIED: dict[tuple[float, int], list[Mix]] = {  # by loss and mean burst
    (0.01, 1): in_layers((1, NO_PARITY), (1, BASE), (1, 1.0), (1, 2.0)),
    (0.05, 1): in_layers((4, NO_PARITY), (1, (2, 0)), (1, 1.5), (1, 2.0), (1, 2.5)),
    (0.1, 1): in_layers((4, NO_PARITY), (1, (3, 1)), (1, 1.5), (1, 2.0), (1, 2.5), (2, 2.0)),
    (0.2, 1): in_layers((4, NO_PARITY), (4, (2, 1)), (1, 2.0), (2, 2.0)),
    (0.3, 1): [*in_layers((4, (2, 1)), (2, 2.0), (4, 2.0)), Mix(4, copies=2)],
    (0.5, 1): [*in_layers((1, (3, None)), (4, (2, None))), Mix(4, copies=2)],
    (0.01, 4): in_layers((2, NO_PARITY)) + spread_out((2, NO_PARITY), (2, BASE)),
    (0.05, 4): in_layers((4, NO_PARITY), (1, 1.0)) + spread_out((2, NO_PARITY), (1, BASE), (2, BASE)),
    (0.1, 4): in_layers((4, NO_PARITY), (1, 1.5)) + spread_out((1, BASE), (1, 1.5), (2, 1.5)),
    (0.2, 4): spread_out((4, BASE), (2, BASE), (1, 1.5)),
    (0.3, 4): spread_out((4, BASE), (2, BASE)),
    (0.5, 4): [*spread_out((2, BASE)), Mix(4, copies=2)],
}


def streams(picture: np.ndarray, mix: Mix, loss: float, burst: float) -> list[bytes]:
    """The packets of a picture."""
    from firmware_sim.link import split
    from onboard.erasure import spread
    from onboard.expect import protection
    from onboard.wire import unpack

    budget = int(BPP * picture.size / 8)
    options: dict[str, Any] = {"packet_size": PACKET, "interleave": mix.interleave}
    options["order"] = mix.order if mix.copies == 1 else "layers"
    options["parity"] = protection(loss, burst, mix.margin)
    packets = split(codec().compress(picture, budget=budget, **options))
    if mix.copies == 1:
        return packets
    room = budget
    while True:  # layer 0 counts twice
        first = [p for p in packets if unpack(p)[0].sections[0].layer == 0]
        excess = sum(map(len, packets + first)) - budget
        if excess <= 0:
            return spread(first + packets) if mix.order == "spread" else first + packets
        room -= max(excess * 2 // 3, PACKET // 8)
        packets = split(codec().compress(picture, budget=room, **options))


def ours(packets: list[bytes]) -> Sent:
    """Our packets, and the default decoder, which is asked but once for what parity makes the same."""
    from onboard.ground.recover import recover
    from onboard.wire import Kind, pack, unpack

    known: dict[frozenset[bytes], np.ndarray] = {}

    def show(arrived: list[bytes]) -> np.ndarray:
        parsed = [unpack(p)[0] for p in arrived]
        sources = [p for p in parsed if p.kind == Kind.SOURCE]
        restored = recover(sources, [p for p in parsed if p.kind == Kind.PARITY])
        key = frozenset(map(pack, sources + restored))
        if key not in known:
            known[key] = codec().decompress(arrived).image
        return known[key]

    return Sent(packets, show)


def losses(picture: np.ndarray, sent: Sent, loss: float, burst: float, seeds: Iterable[int]) -> list[float]:
    """PSNR of what arrives, for each seed."""
    from firmware_sim.link import Link
    from onboard.errors import NothingDecodableError

    link = Link(loss, None if burst == 1 else burst)
    found = []
    known: dict[tuple[bytes, ...], float] = {}
    for seed in seeds:
        arrived = sorted(set(link.transmit(sent.packets, seed)))
        key = tuple(arrived)
        if key not in known:
            decoded = np.full_like(picture, GREY)
            with suppress(NothingDecodableError):
                decoded = sent.show(arrived) if arrived else decoded
            known[key] = psnr(picture, decoded)
        found.append(known[key])
    return found


def study(options: argparse.Namespace) -> list[str]:
    """The mixes that come into question for each loss: mean PSNR, and the worst of all pictures and seeds."""
    if options.images is None:
        raise BenchmarkError("study: give the folder of training pictures with --images")
    chosen = [luma(read(options.images / name)) for name in STUDIED]
    out = [f"{len(chosen)} training pictures, {options.seeds} seeds, {BPP} bpp, {PACKET}-byte packets"]
    out.append("parity margins in standard deviations: of all, or of layer 0/above, - for none")
    out.append(f"{'loss':>6s} {'burst':>6s} {'mix':32s} {'mean PSNR':>10s} {'worst':>7s}")
    for (loss, burst), mixes in TRIED.items():
        for mix in mixes:
            found = one_cell(chosen, mix, loss, burst, options.seeds)
            out.append(f"{loss:6g} {burst:6d} {mix!s:32s} {np.mean(found):10.2f} {min(found):7.2f}")
            print(out[-1], flush=True)
    return out


def one_cell(chosen: list[np.ndarray], mix: Mix, loss: float, burst: float, seeds: int) -> list[float]:
    """PSNR of all pictures and seeds; nan when so much parity leaves too little for a picture."""
    from onboard.errors import BudgetError

    found = []
    for i, picture in enumerate(chosen):
        try:
            packets = streams(picture, mix, loss, burst)
        except BudgetError:
            return [nan]
        found += losses(picture, ours(packets), loss, burst, range(1000 * i, 1000 * i + seeds))
    return found


def targets(options: argparse.Namespace) -> list[str]:
    """What the shipped choice reaches on all pictures of kodak and aerial."""
    from firmware_sim.link import split

    folder = data_folder(options.data)
    chosen = [
        luma(p) for s in ("kodak", "aerial") for _, p in pictures(folder, s) if p.shape[0] * p.shape[1] <= LARGEST
    ]
    out = [f"{len(chosen)} pictures of kodak and aerial up to {LARGEST / 1e6:g} MP, {options.seeds} seeds"]
    out.append(f"{'expected':>9s} {'loss':>6s} {'burst':>6s} {'mean PSNR':>10s} {'below loss-free':>16s} {'worst':>7s}")
    whole = 0.0
    for expected, loss, burst in ((0, 0, 1), (0, 0.1, 1), (0.1, 0.1, 1), (0.3, 0.3, 1), (0, 0.1, 4), (0.1, 0.1, 4)):
        found = []
        for i, picture in enumerate(chosen):
            coded = codec().compress(
                picture, bpp=BPP, packet_size=PACKET, scale=1, expect_loss=expected, expect_burst=burst
            )
            seeds = range(1) if loss == 0 else range(1000 * i, 1000 * i + options.seeds)
            found.append(losses(picture, ours(split(coded)), loss, burst, seeds))
        mean = float(np.mean([np.mean(f) for f in found]))
        whole = whole or mean
        worst = min(min(f) for f in found)
        out.append(
            f"{expected:9g} {loss:6g} {burst:6g} {mean:10.2f} {whole - mean:16.2f} {worst:7.2f}"
            f"   interleave {codec().describe(coded)['interleave']}"
        )
        print(out[-1], flush=True)
    return out


def against_peers(options: argparse.Namespace) -> list[str]:
    """Mean PSNR of all pictures and seeds for each codec, loss and burst length."""
    from firmware_sim.link import split

    folder = data_folder(options.data)
    chosen = [
        luma(p) for s in ("kodak", "aerial") for _, p in pictures(folder, s) if p.shape[0] * p.shape[1] <= LARGEST
    ][:: options.every]
    columns = [(0.0, 1)] + [(loss, burst) for burst in (1, 4) for loss in LOSSES]
    out = [
        f"{len(chosen)} pictures of kodak and aerial up to {LARGEST / 1e6:g} MP, {options.seeds} seeds, {BPP} bpp, "
        f"{PACKET}-byte packets; mean PSNR in dB",
        f"{'':42s}{'':8s}independent losses{'':31s}mean burst 4",
        f"{'':42s}" + "".join(f"{100 * loss:6.0f} %" for loss, _ in columns),
    ]
    print(*out, sep="\n", flush=True)

    def row(name: str, sender: Callable[[np.ndarray], Callable[[float, int], Sent]]) -> None:
        sums = np.zeros(len(columns))
        for i, picture in enumerate(chosen):
            send = sender(picture)
            for c, (loss, burst) in enumerate(columns):
                seeds = range(1000 * i, 1000 * i + (options.seeds if loss else 1))
                sums[c] += np.mean(losses(picture, send(loss, burst), loss, burst, seeds))
        out.append(f"{name:42s}" + "".join(f"{s / len(chosen):8.2f}" for s in sums))
        print(out[-1], flush=True)

    def own(picture: np.ndarray, loss: float, burst: int) -> Sent:
        coded = codec().compress(picture, bpp=BPP, packet_size=PACKET, expect_loss=loss, expect_burst=burst)
        return ours(split(coded))

    def same(sent: Sent) -> Callable[[float, int], Sent]:
        return lambda loss, burst: sent

    row("onboard-compress, the loss expected", lambda picture: lambda loss, burst: own(picture, loss, burst))
    row("onboard-compress, no loss expected", lambda picture: same(own(picture, 0, 1)))
    for peer in peers(options.ssdv):
        row(peer.name, lambda picture, peer=peer: same(peer.send(picture, int(BPP * picture.size / 8), PACKET)))  # type: ignore[misc]
    return out


PROGRAMS = {  # what runs, where the result is kept, and losses per picture
    "study": (study, "link.txt", 10),
    "targets": (targets, "link-targets.txt", 50),
    "peers": (against_peers, "link-peers.txt", 10),
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.link", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=PROGRAMS)
    parser.add_argument("--seeds", type=int, metavar="N", help="losses per picture (default 10, targets 50)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="peers: every Nth picture only (default 1)")
    parser.add_argument("--ssdv", metavar="PATH", help="peers: the program of fsphil/ssdv")
    parser.add_argument("--images", type=Path, metavar="DIR", help="study: training pictures")
    add_data_option(parser)
    options = parser.parse_args(arguments)
    program, name, seeds = PROGRAMS[options.what]
    options.seeds = options.seeds or seeds
    lines = program(options)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
