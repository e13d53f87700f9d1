"""The single-pass mode against the two-pass encoder: how well a quota is spent, and how fast the C encoder is.

    python -m benchmarks.stream quota [--data DIR]          # all 8-bit pictures of the bench folder, kept in results/
    python -m benchmarks.stream quota --images DIR [DIR...] # of other folders: constants are tuned on training pictures
    python -m benchmarks.stream speed [--data DIR]          # kept in results/ too

The C encoder makes the packets, which are those of `onboard-compress --stream`. Both have scale 1, interleave 1 and
packets of 200 bytes. The two-pass encoder gets the bytes that the stream used; "two layers" is the same without its
refinement layers, which a stream does not have. PSNR is of the luma and of the plain decoder.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import RESULTS, BenchmarkError, codec, one_thread, run
from benchmarks.pictures import SETS, add_data_option, data_folder, paths, read
from benchmarks.speed import pairs

if TYPE_CHECKING:
    from firmware_sim.encoder import Config

BPP = 0.1
PACKET = 200
SMALLEST = 256  # pixels of the shorter side
OPTIMISE = ("-O3", "-march=native")
BOTH = {"packet_size": PACKET, "scale": 1, "interleave": 1}
REFERENCE_SIDE = 512
REPORT = RESULTS / "stream.md"
SPEED = "\n## Speed\n\n"  # what begins the part of the report that `speed` writes


@dataclass(frozen=True)
class Row:
    """A picture: share of the quota that is used, dB over two passes and over their two layers, blocks missing."""

    name: str
    used: float
    over: float
    over_layers: float
    holes: float


def measure(name: str, picture: np.ndarray, encode: Callable[[np.ndarray, int], list[bytes]]) -> Row:
    from onboard.quality import psnr

    onboard = codec()
    quota = int(BPP * picture.shape[0] * picture.shape[1] / 8)
    packets = encode(picture, quota)
    size = sum(map(len, packets))
    decoded = onboard.decompress(packets, enhance="plain")

    def quality(data: bytes) -> float:
        return psnr(picture, onboard.decompress(data, enhance="plain").image, grey=True)

    def near(budget: int) -> bytes:
        try:
            return onboard.compress(picture, budget=budget, **BOTH)
        except onboard.OnboardError:  # no stream of the two-pass encoder is that small
            return b""

    whole = [(len(d), quality(d)) for d in (near(int(size * f)) for f in (1, 1.04)) if d]
    low, high = 0, 199  # half qualities; the finest that is no larger than the stream, and the next one
    while low < high:
        middle = (low + high + 1) // 2
        larger = len(onboard.compress(picture, quality=middle / 2, **BOTH)) > size
        low, high = (low, middle - 1) if larger else (middle, high)
    layers = [(len(d), quality(d)) for d in (onboard.compress(picture, quality=q / 2, **BOTH) for q in (low, low + 1))]
    ours = psnr(picture, decoded.image, grey=True)
    return Row(name, size / quota, ours - _at(whole, size), ours - _at(layers, size), float((decoded.mask == 0).mean()))


def _at(points: list[tuple[int, float]], size: int) -> float:
    """PSNR at a size, between two points along the logarithm of the size."""
    if not points:
        return float("nan")
    return float(np.interp(np.log(size), [np.log(n) for n, _ in points], [value for _, value in points]))


class Stream:
    """The C encoder, built for this machine."""

    def __init__(self, folder: Path, width: int) -> None:
        from firmware_sim.build import Limits, host_library
        from firmware_sim.encoder import Encoder

        self.encoder = Encoder(host_library(folder, Limits(width, PACKET, True), OPTIMISE))

    def __call__(self, picture: np.ndarray, quota: int | None) -> list[bytes]:
        return self.encoder.packets(picture, self._config(picture, quota))

    def whole(self, picture: np.ndarray, index: int, room: np.ndarray) -> memoryview:
        """The same in one call, at an index."""
        return self.encoder.stream(picture, self._config(picture, None, index), room)

    def _config(self, picture: np.ndarray, quota: int | None, index: int = 0) -> Config:
        from firmware_sim.encoder import config_of
        from onboard.model import default_model
        from onboard.wire import Colour, Description

        colour = Colour.YCBCR420 if picture.ndim == 3 else Colour.GREY
        height, width = picture.shape[:2]
        description = Description(1, 1, default_model().model_id, width, height, 0, 0, colour)
        return config_of(description, PACKET, index, quota)


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """8-bit pictures with at least SMALLEST pixels a side."""
    if options.images:
        folders = [Path(name) for name in options.images]
        files = sorted(p for f in folders for p in f.rglob("*") if p.suffix in (".png", ".webp", ".tif"))
    else:
        files = [p for name in SETS for p in paths(data_folder(options.data), name)]
    for path in files:
        picture = read(path)
        if picture.dtype == np.uint8 and min(picture.shape[:2]) >= SMALLEST:
            yield f"{path.parent.name}/{path.stem}", picture


def quota(options: argparse.Namespace) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        encode = Stream(Path(folder), 4096)
        for name, picture in chosen(options):
            if picture.shape[1] <= 4096:
                rows.append(measure(name, picture, encode))
                if options.verbose:
                    r = rows[-1]
                    print(f"{name:40s} {r.used:6.3f} {r.over:+6.2f} {r.over_layers:+6.2f} {r.holes:.3f}", flush=True)
    if not rows:
        raise BenchmarkError("no 8-bit pictures there")
    text = summary(rows)
    print(text)
    if not options.images:
        report = f"# The single-pass mode\n\n{(__doc__ or '').split(chr(10) * 2, 2)[2]}\n{text}\n"
        REPORT.write_text(report + "".join(REPORT.read_text().partition(SPEED)[1:]))


def summary(rows: list[Row]) -> str:
    used = [r.used for r in rows]
    lines = [
        f"{len(rows)} pictures, {BPP} bits per pixel; {100 * min(used):.1f} to {100 * max(used):.1f} % of the quota "
        f"are used, less than 90 % by {sum(u < 0.9 for u in used)}; {sum(r.holes > 0 for r in rows)} have holes.",
        "",
        "| dB over | mean | median | worst |",
        "|---|---:|---:|---:|",
    ]
    for what, values in (("two passes", [r.over for r in rows]), ("two layers", [r.over_layers for r in rows])):
        known = [v for v in values if not np.isnan(v)]
        worst = min(known)
        name = rows[values.index(worst)].name
        lines.append(
            f"| {what} | {statistics.mean(known):+.2f} | {statistics.median(known):+.2f} | {worst:+.2f} ({name}) |"
        )
    return "\n".join(lines)


def speed(options: argparse.Namespace) -> None:
    """Pixel rate of the C encoder over that of the runtime at the same quantiser index, processor time, one thread."""
    from onboard.scan import scan

    onboard = codec()
    big = data_folder(options.data) / "big"
    lines = [
        f"C encoder at {' '.join(OPTIMISE)}, {BPP} bits per pixel, processor time; above 1 the C encoder is faster.",
        "",
        "| picture | C encoder ms | runtime ms | runtime / C encoder |",
        "|---|---:|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        encode = Stream(Path(folder), 4096)
        for name in ("caliterra_gray_4000x3000.png", "caliterra_rgb_4000x3000.webp"):
            picture = read(big / name)
            data = onboard.compress(picture, bpp=BPP, **BOTH)
            quality, index = onboard.describe(data)["quality"], scan(data)[0][0].index
            theirs = partial(onboard.compress, picture, quality=quality, **BOTH)
            room = np.empty(len(data) * 2, np.uint8)
            ours, peer, ratio = pairs(partial(encode.whole, picture, index, room), theirs)
            lines.append(f"| {name} | {ours:.1f} | {peer:.1f} | {ratio:.2f} |")
        part = np.ascontiguousarray(read(big / "caliterra_gray_4000x3000.png")[:REFERENCE_SIDE, :REFERENCE_SIDE])
        theirs = partial(_reference, part, quality)
        ours, peer, ratio = pairs(partial(encode.whole, part, index, room), theirs, 1)
        side = f"{REFERENCE_SIDE}x{REFERENCE_SIDE}"
        lines.append(f"| {side} of the grey one; --stream in Python | {ours:.2f} | {peer:.1f} | {ratio:.0f} |")
    text = "\n".join(lines)
    print(text)
    REPORT.write_text(REPORT.read_text().partition(SPEED)[0] + f"{SPEED}{text}\n")


def _reference(picture: np.ndarray, quality: float) -> list[bytes]:
    return list(codec().compress_stream(picture, quality=quality, packet_size=PACKET))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.stream", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("quota", "speed"))
    parser.add_argument("--images", nargs="+", metavar="DIR", help="folders of pictures instead of the bench")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for every picture")
    add_data_option(parser)
    options = parser.parse_args(arguments)
    {"quota": quota, "speed": speed}[options.what](options)


if __name__ == "__main__":
    one_thread()
    sys.exit(run(main, sys.argv[1:]))
