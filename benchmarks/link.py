"""PSNR over lossy links: which interleave and erasure packets are best, and how the shipped choice does.

    python -m benchmarks.link study [--data DIR] [--seeds 12]      every mix, on eight pictures
    python -m benchmarks.link targets [--data DIR] [--seeds 50]    the shipped table, on kodak and aerial

0.15 bits per pixel of grey pictures in packets of 200 bytes, parity and headers included, decoded with the default
decoder. Lost pictures (no packet arrived) count as plain grey. Mixes see the same losses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np

from benchmarks import RESULTS, codec, run
from benchmarks.metrics import luma, psnr
from benchmarks.pictures import add_data_option, data_folder, pictures

BPP = 0.15
PACKET = 200
STUDIED = ("kodim01", "kodim06", "kodim11", "kodim17", "kodim21", "usc_2.1.02", "usc_2.1.11", "drone_australia")
LOSSES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
MARGINS = {1: ((None, None), (1, None), (2, None), (1, 0), (2, 1)), 4: ((None, None), (0, None), (1, None), (1, 0))}
LARGEST = 1_500_000  # pixels


@dataclass(frozen=True)
class Mix:
    """Interleave, parity margins (see onboard.expect) and how often layer 0 is sent."""

    interleave: int
    margin: tuple[float | None, float | None] = (None, None)
    copies: int = 1
    order: str = "layers"

    def __str__(self) -> str:
        parity = "/".join("-" if m is None else f"{m:g}" for m in self.margin)
        return (
            f"interleave {self.interleave}, "
            + ("layer 0 twice" if self.copies > 1 else f"parity {parity}")
            + (", spread" if self.order == "spread" else "")
        )


def streams(picture: np.ndarray, mix: Mix, loss: float, burst: float) -> list[bytes]:
    """The packets of a picture."""
    from firmware_sim.link import split
    from onboard.expect import protection
    from onboard.wire import unpack

    budget = int(BPP * picture.size / 8)
    options: dict[str, Any] = {"packet_size": PACKET, "interleave": mix.interleave, "scale": 1}
    options["order"] = mix.order
    options["parity"] = protection(loss, burst, mix.margin)
    packets = split(codec().compress(picture, budget=budget, **options))
    if mix.copies == 1:
        return packets
    room = budget
    while True:  # layer 0 counts twice
        first = [p for p in packets if unpack(p)[0].sections[0].layer == 0]
        excess = sum(map(len, packets + first)) - budget
        if excess <= 0:
            return first + packets
        room -= max(excess * 2 // 3, PACKET // 8)
        packets = split(codec().compress(picture, budget=room, **options))


def losses(picture: np.ndarray, packets: list[bytes], loss: float, burst: float, seeds: Iterable[int]) -> list[float]:
    """PSNR of what arrives, for each seed."""
    from firmware_sim.link import Link
    from onboard.errors import NothingDecodableError

    link = Link(loss, None if burst == 1 else burst)
    found = []
    known: dict[frozenset[bytes], float] = {}
    for seed in seeds:
        arrived = frozenset(link.transmit(packets, seed))
        if arrived not in known:
            try:
                decoded = codec().decompress(sorted(arrived)).image
            except NothingDecodableError:
                decoded = np.full_like(picture, 128)
            known[arrived] = psnr(picture, decoded)
        found.append(known[arrived])
    return found


def cell(values: list[list[float]]) -> str:
    flat = [v for one in values for v in one]
    if any(isnan(v) for v in flat):
        return f"{'-':>14s}"
    return f"{np.mean(flat):6.2f} ({min(flat):5.2f})"


def study(options: argparse.Namespace) -> list[str]:
    """The table of mixes: mean PSNR (worst of all pictures and seeds)."""
    from onboard.errors import BudgetError

    folder = data_folder(options.data)
    chosen = [luma(p) for s in ("kodak", "aerial") for name, p in pictures(folder, s) if name in STUDIED]
    out = [f"{len(chosen)} pictures ({', '.join(STUDIED)}), {options.seeds} seeds, {BPP} bpp, {PACKET}-byte packets"]
    out.append("mean PSNR in dB (worst); parity margins in standard deviations for layer 0 / above, - for none")
    for burst, margins in MARGINS.items():
        if options.burst not in (None, burst):
            continue
        orders = ("layers",) if burst == 1 else ("layers", "spread")
        mixes = [Mix(i, m, order=o) for o in orders for i in (1, 2, 4) for m in margins]
        mixes += [Mix(1, copies=2), Mix(2, copies=2)]
        out.append("")
        out.append(f"mean burst {burst}" if burst > 1 else "independent losses")
        out.append(f"{'':36s}" + "".join(f"{100 * p:8.0f} %     " for p in (0.0, *LOSSES)))
        for mix in mixes:
            row = []
            for loss in (0.0, *LOSSES):
                found = []
                for i, picture in enumerate(chosen):
                    try:
                        packets = streams(picture, mix, loss, burst)
                    except BudgetError:  # so much parity leaves too little for the picture
                        found.append([nan])
                        continue
                    seeds = range(1) if loss == 0 else range(1000 * i, 1000 * i + options.seeds)
                    found.append(losses(picture, packets, loss, burst, seeds))
                row.append(cell(found))
            out.append(f"{mix!s:36s}" + " ".join(row))
            print(out[-1], flush=True)
    return out


def targets(options: argparse.Namespace) -> list[str]:
    """What the shipped choice reaches on all pictures of kodak and aerial."""
    from firmware_sim.link import split
    from onboard.expect import plan

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
            found.append(losses(picture, split(coded), loss, burst, seeds))
        mean = float(np.mean([np.mean(f) for f in found]))
        whole = whole or mean
        worst = min(min(f) for f in found)
        chosen_mix = plan(expected, burst)
        out.append(
            f"{expected:9g} {loss:6g} {burst:6g} {mean:10.2f} {whole - mean:16.2f} {worst:7.2f}"
            f"   interleave {chosen_mix.interleave}"
        )
        print(out[-1], flush=True)
    return out


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.link", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("study", "targets"))
    parser.add_argument("--burst", type=int, choices=MARGINS, help="study one burst length only")
    parser.add_argument("--seeds", type=int, metavar="N", help="losses per picture (default 12, targets 50)")
    add_data_option(parser)
    options = parser.parse_args(arguments)
    options.seeds = options.seeds or (12 if options.what == "study" else 50)
    lines = study(options) if options.what == "study" else targets(options)
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = "link.txt" if options.what == "study" else "link-targets.txt"
    (RESULTS / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
