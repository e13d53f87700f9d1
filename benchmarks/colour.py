"""Colour pictures at given sizes: onboard-compress beside the peers, in RGB and with luma and chroma told apart.

    python -m benchmarks.colour [--data DIR] [--sets kodak,aerial] [--every N] [--rates 0.05,0.1,0.2]
                                [--enhance linear,small] [--peers jpeg,webp,jpeg2000] [--out FILE]

Every codec gets the same number of bytes; a peer is shown at its largest file that fits, at the better (in RGB) of full
and half size. Where a peer does not reach a size, the picture does not count for it, and the table says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import RESULTS, codec, peers, run
from benchmarks.pictures import add_data_option, data_folder, headline_paths, read
from onboard.planes import COLOUR

_SETS = "kodak,aerial"
_COLUMNS = ("RGB", "6:1:1", "Y", "Cb", "Cr")


def planes(picture: np.ndarray) -> np.ndarray:
    """Y, Cb and Cr (JFIF) at full size: float64 (3, height, width)."""
    mixed = picture.astype(np.int64) @ COLOUR[:, :3].T + COLOUR[:, 3]
    return np.moveaxis(mixed / 65536, -1, 0)


def scores(picture: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """PSNR in dB of RGB, of (6 Y + Cb + Cr) / 8, and of Y, Cb and Cr: float64 (5,)."""
    rgb = np.mean((picture.astype(float) - shown) ** 2)
    y, cb, cr = ((planes(picture) - planes(shown)) ** 2).mean((1, 2))
    return 10 * np.log10(255**2 / np.array([rgb, (6 * y + cb + cr) / 8, y, cb, cr]))


def largest(peer: peers.Codec, picture: np.ndarray, budget: int) -> bytes | None:
    """The peer's largest file of at most `budget` bytes, None when even its smallest is larger."""
    low, high, best = 0, len(peer.settings), None
    while low < high:
        middle = (low + high) // 2
        data = peer.encode(picture, peer.settings[middle])
        if len(data) <= budget:
            best, low = data, middle + 1
        else:
            high = middle
    return best


def measured(
    picture: np.ndarray, budget: int, enhances: list[str], rivals: list[peers.Codec]
) -> Iterator[tuple[str, np.ndarray]]:
    """(codec, scores) of a picture at a size."""
    onboard = codec()
    data = onboard.compress(picture, budget=budget)
    for enhance in enhances:
        yield f"ours, {enhance}", scores(picture, onboard.decompress(data, enhance=enhance).image)
    for rival in rivals:
        found = []
        for peer in (rival, peers.half(rival)):
            coded = largest(peer, picture, budget)
            if coded is not None:
                found.append(scores(picture, peer.decode(coded)[: picture.shape[0], : picture.shape[1]]))
        if found:
            yield rival.label, max(found, key=lambda s: float(s[0]))


def table(paths: list[Path], rates: list[float], enhances: list[str], rivals: list[peers.Codec]) -> str:
    """The means, as Markdown."""
    found: dict[tuple[float, str], list[np.ndarray]] = {}
    for done, path in enumerate(paths):
        picture = read(path)
        for rate in rates:
            budget = int(rate * picture.shape[0] * picture.shape[1] / 8)
            for name, values in measured(picture, budget, enhances, rivals):
                found.setdefault((rate, name), []).append(values)
        print(f"\r{done + 1}/{len(paths)} pictures", end="", file=sys.stderr)
    print(file=sys.stderr)
    lines = [
        "# Colour",
        "",
        f"{len(paths)} colour pictures, the same bytes for all, mean PSNR in dB. 6:1:1 is (6 Y + Cb + Cr) / 8 of the",
        "squared errors. Peers are at the better of full and half size.",
        "",
        "| bpp | codec | " + " | ".join(_COLUMNS) + " | pictures |",
        "|---:|---|" + "---:|" * (len(_COLUMNS) + 1),
    ]
    for (rate, name), rows in found.items():
        cells = " | ".join(f"{v:.2f}" for v in np.mean(rows, 0))
        lines.append(f"| {rate:g} | {name} | {cells} | {len(rows)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colour", description=(__doc__ or "").partition("\n")[0])
    add_data_option(parser)
    parser.add_argument("--sets", default=_SETS, help=f"comma list ({_SETS})")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth picture only")
    parser.add_argument("--rates", default="0.05,0.1,0.2", help="bits per pixel, comma list (0.05,0.1,0.2)")
    parser.add_argument("--enhance", default="linear,small", help="our decoders, comma list (linear,small)")
    parser.add_argument("--peers", default="jpeg,webp,jpeg2000", help="comma list (jpeg,webp,jpeg2000)")
    parser.add_argument("--out", type=Path, default=RESULTS / "colour.md", help="file to write")
    options = parser.parse_args(arguments)
    folder = data_folder(options.data)
    paths = [p for name in options.sets.split(",") for p in headline_paths(folder, name) if read(p).ndim == 3]
    text = table(
        paths[:: options.every],
        [float(r) for r in options.rates.split(",")],
        options.enhance.split(","),
        peers.chosen(options.peers),
    )
    options.out.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
