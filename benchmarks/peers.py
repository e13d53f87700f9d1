"""The codecs we are measured against, and their rate-distortion curves, kept in a cache.

Each codec turns a picture (HxW or HxWx3 uint8) into bytes at a *setting* and back; its settings are listed from the
smallest file to the largest. Sizes are those of whole files, every header byte counted, each codec in its smallest
container: JPEG 2000 as a bare codestream, JPEG with optimised Huffman tables and no metadata. AVIF is tuned for
PSNR: libavif's default for stills (tune=iq) costs it 0.3 dB of what is measured here and does not reach as low.

`python -m benchmarks.peers [--data DIR] [--sets ...] [--peers ...] [--cache DIR] [--jobs N]` fills the cache and
prints what it holds.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from benchmarks import CACHE, BenchmarkError, metrics, one_thread, run
from benchmarks.pictures import HEADLINE_SETS, add_data_option, data_folder, headline_paths, read

imagecodecs: Any
try:
    imagecodecs = import_module("imagecodecs")
except ImportError:
    imagecodecs = None

PREVIEW_RATES = (0.02, 0.3)
"""Bits per pixel: the part of the curves at half size that is measured."""
RATES = (0.02, 2.2)
"""Bits per pixel: the part of the curves at full size that is measured."""
TABLE_RATES = (0.05, 0.1, 0.15, 0.2)
"""Bits per pixel at which SSIM and MS-SSIM are told: only the points around these have them."""
_GAP = 1.6
"""Neighbouring points of a curve differ in rate by at most this factor, where the settings allow."""
_MEASURES = 2
"""Raise when metrics change, so that cached curves are made anew."""


@dataclass(frozen=True)
class Codec:
    """A codec with its settings in order of rate, and the rates it is measured over; `version` is in the cache key."""

    name: str
    label: str
    version: str
    settings: tuple[float, ...]
    encode: Callable[[np.ndarray, float], bytes]
    decode: Callable[[bytes], np.ndarray]
    rates: tuple[float, float] = RATES


# ---------------------------------------------------------------- codecs


def _pillow(picture: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, **options)
    return buffer.getvalue()


def _unpillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def encode_jpeg(picture: np.ndarray, quality: float) -> bytes:
    """libjpeg-turbo, baseline, optimised Huffman tables; colour is 4:2:0."""
    colour = {"subsampling": "4:2:0"} if picture.ndim == 3 else {}
    return _pillow(picture, format="JPEG", quality=int(quality), optimize=True, **colour)


def _encode_webp(picture: np.ndarray, quality: float) -> bytes:
    return _pillow(picture, format="WEBP", quality=quality, method=6)


def _encode_jpeg2000(picture: np.ndarray, bpp: float) -> bytes:
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    layers = [8 * channels / bpp]
    options = {"quality_mode": "rates", "quality_layers": layers, "irreversible": True, "no_jp2": True}
    return _pillow(picture, format="JPEG2000", mct=int(channels == 3), **options)  # without mct RGB is coded as it is


def _encode_avif(picture: np.ndarray, quality: float) -> bytes:
    sampling = "4:0:0" if picture.ndim == 2 else "4:2:0"
    tune = {"tune": "psnr"}
    return _pillow(
        picture, format="AVIF", quality=int(quality), speed=4, subsampling=sampling, max_threads=1, advanced=tune
    )


def _encode_jpegxl(picture: np.ndarray, distance: float) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(picture, distance=distance, effort=7, numthreads=1))


def _decode_jpegxl(data: bytes) -> np.ndarray:
    picture: np.ndarray = imagecodecs.jpegxl_decode(data, numthreads=1)
    return picture


def _geometric(low: float, high: float, factor: float) -> tuple[float, ...]:
    steps = math.ceil(math.log(high / low) / math.log(factor))
    return tuple(round(low * factor**i, 6) for i in range(steps + 1))


JPEG = Codec(
    "jpeg",
    "JPEG",
    f"libjpeg-turbo {features.version('libjpeg_turbo')}",
    tuple(range(1, 96)),
    encode_jpeg,
    _unpillow,
)


def registry() -> dict[str, Codec]:
    """Every codec that this installation has, by name."""
    codecs = [JPEG]
    if features.check("webp"):
        # libwebp takes fractions, and its rate doubles between 0 and 2
        ladder = (0, 0.02, 0.08, 0.2, 0.5, 1, 1.5, 2, 2.5, 3, 4, *range(5, 96))
        codecs.append(Codec("webp", "WebP", f"libwebp {features.version('webp')}", ladder, _encode_webp, _unpillow))
    if features.check("jpg_2000"):
        version = f"OpenJPEG {features.version('jpg_2000')} codestream"
        ladder = _geometric(0.01, 3.0, 1.08)
        codecs.append(Codec("jpeg2000", "JPEG 2000", version, ladder, _encode_jpeg2000, _unpillow))
    if features.check("avif"):
        version = f"libavif {features.version('avif')} speed 4 tune psnr"
        codecs.append(Codec("avif", "AVIF", version, tuple(range(0, 91)), _encode_avif, _unpillow))
    if imagecodecs is not None and imagecodecs.JPEGXL.available:
        version = f"{imagecodecs.jpegxl_version()} effort 7"
        # from distance 20 libjxl codes half the size, and its files become larger again
        ladder = (*(float(d) for d in np.arange(19.0, 0.9, -0.5)), 0.8, 0.6, 0.5, 0.4, 0.3)
        codecs.append(Codec("jpegxl", "JPEG XL", version, ladder, _encode_jpegxl, _decode_jpegxl))
    return {codec.name: codec for codec in codecs}


def chosen(names: str | None) -> list[Codec]:
    """The codecs named in a comma list, or all; one line on stderr says what is missing."""
    have = registry()
    wanted = [name.strip() for name in names.split(",") if name.strip()] if names else list(_NAMES)
    unknown = [name for name in wanted if name not in _NAMES]
    if unknown:
        raise BenchmarkError(f"unknown peer {unknown[0]!r}: one of {', '.join(_NAMES)}")
    missing = [name for name in wanted if name not in have]
    if missing:
        print(f"left out, not in this installation: {', '.join(missing)}", file=sys.stderr)
    return [have[name] for name in wanted if name in have]


_NAMES = ("jpeg", "webp", "jpeg2000", "avif", "jpegxl")


# ---------------------------------------------------------------- half size


def halve(picture: np.ndarray) -> np.ndarray:
    """2x2 averages, rounded; an odd side is continued by its last row or column first."""
    pad = [(0, picture.shape[0] % 2), (0, picture.shape[1] % 2)] + [(0, 0)] * (picture.ndim - 2)
    wide = np.pad(picture, pad, mode="edge").astype(np.uint16)
    total = wide[0::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 0::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def enlarge(picture: np.ndarray) -> np.ndarray:
    """Twice the size, bicubic, centres aligned with those of `halve`."""
    size = (2 * picture.shape[1], 2 * picture.shape[0])
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def half(codec: Codec) -> Codec:
    """The same codec on the picture at half size; it decodes to even sides, for the caller to crop."""
    return Codec(
        f"{codec.name}-half",
        f"{codec.label} half size",
        codec.version,
        codec.settings,
        lambda picture, setting: codec.encode(halve(picture), setting),
        lambda data: enlarge(codec.decode(data)),
        PREVIEW_RATES,
    )


# ---------------------------------------------------------------- curves


def point(grey: np.ndarray, shown: np.ndarray, size: int, setting: float) -> metrics.Point:
    """One point of a curve: rate of a file of `size` bytes and the PSNR of the grey picture that it decodes to."""
    bits_per_pixel = 8 * size / grey.size
    return {"setting": setting, "bytes": size, "bpp": bits_per_pixel, "psnr": round(metrics.psnr(grey, shown), 4)}


def add_similarity(grey: np.ndarray, points: Sequence[metrics.Point], shown: dict[float, np.ndarray]) -> None:
    """Give SSIM and MS-SSIM to the points around `TABLE_RATES`; `shown` has the decoded picture of each setting."""
    curve = metrics.frontier(points)
    for left, right in pairwise(curve):
        if any(left["bpp"] <= rate <= right["bpp"] for rate in TABLE_RATES):
            for p in (left, right):
                if "ssim" not in p:
                    similarity, multi = metrics.ssim_and_ms_ssim(grey, shown[p["setting"]])
                    p |= {"ssim": round(similarity, 5), "ms_ssim": round(multi, 5)}


def climb(
    measure: Callable[[float], metrics.Point], settings: Sequence[float], low: float, high: float
) -> list[metrics.Point]:
    """The points of a curve over [low, high] bpp, one beyond each end, with few calls of `measure`.

    Settings must be in order of rate. It goes up from the lowest in steps that should just come to `_GAP`; a step that
    came out wider is split until it is not or no setting lies between.
    """
    known: dict[int, metrics.Point] = {}
    index, step = 0, 1
    while True:
        known[index] = measure(settings[index])
        if known[index]["bpp"] >= high or index == len(settings) - 1:
            break
        if index >= step:
            growth = math.log(known[index]["bpp"] / known[index - step]["bpp"]) / step
            step = min(max(int(math.log(_GAP) / growth), 1), 2 * step) if growth > 0 else step
        index = min(index + step, len(settings) - 1)
        step = index - max(known)
    while True:
        order = sorted(known)
        steps = [
            (known[right]["bpp"] / known[left]["bpp"], left, right)
            for left, right in pairwise(order)
            if right - left > 1 and known[right]["bpp"] > low
        ]
        if not steps or max(steps)[0] <= _GAP:
            break
        _, left, right = max(steps)
        known[(left + right) // 2] = measure(settings[(left + right) // 2])
    below = max((i for i in order if known[i]["bpp"] <= low), default=0)
    return [known[i] for i in order if i >= below]


def curve(codec: Codec, picture: np.ndarray, cache: Path) -> list[metrics.Point]:
    """A codec's curve on a picture's luma, from the cache if it is there."""
    grey = metrics.luma(picture)
    key = json.dumps([codec.name, codec.version, codec.settings, codec.rates, _GAP, TABLE_RATES, _MEASURES])
    folder = hashlib.sha256(key.encode()).hexdigest()[:12]
    digest = hashlib.sha256(repr(grey.shape).encode() + np.ascontiguousarray(grey).tobytes()).hexdigest()[:24]
    path = cache / f"{codec.name}-{folder}" / f"{digest}.json"
    if path.is_file():
        kept: list[metrics.Point] = json.loads(path.read_text())["points"]
        return kept
    shown: dict[float, np.ndarray] = {}

    def measure(setting: float) -> metrics.Point:
        data = codec.encode(grey, setting)
        shown[setting] = metrics.luma(codec.decode(data))[: grey.shape[0], : grey.shape[1]]
        return point(grey, shown[setting], len(data), setting)

    points = climb(measure, codec.settings, *codec.rates)
    add_similarity(grey, points, shown)
    _keep(cache, path, {"codec": codec.name, "version": codec.version, "points": points})
    return points


def _keep(cache: Path, path: Path, content: dict) -> None:
    """Write a cache file whole or not at all; the cache folder tells git to ignore it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(content))
    part.replace(path)


def add_peer_options(parser: argparse.ArgumentParser) -> None:
    """`--peers`, `--cache` and `--jobs`, the same in every program."""
    parser.add_argument("--peers", help=f"comma list out of {','.join(_NAMES)}; default all that are installed")
    parser.add_argument("--cache", default=str(CACHE), metavar="DIR", help="folder that keeps the curves of the peers")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="pictures at once")


def spread(work: Callable[..., Any], jobs: int, *arguments: Iterable[Any]) -> Iterator[Any]:
    """`work` over the arguments as map() does, in that many processes of one thread, in order."""
    one_thread()
    if jobs <= 1:
        yield from map(work, *arguments)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, *arguments)


def _fill(path: Path, names: str | None, cache: Path) -> dict[str, float]:
    """All curves of a picture; the lowest rate of each."""
    picture = read(path)
    return {
        variant.label: metrics.lowest_rate(curve(variant, picture, cache))
        for codec in chosen(names)
        for variant in (codec, half(codec))
    }


def main(arguments: list[str]) -> None:
    """Fill the cache and say for each codec and set the rates it reaches."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=main.__doc__)
    add_data_option(parser)
    add_peer_options(parser)
    parser.add_argument("--sets", default=",".join(HEADLINE_SETS))
    options = parser.parse_args(arguments)
    folder = data_folder(options.data)
    for name in options.sets.split(","):
        files = headline_paths(folder, name)
        found = []
        for lowest in spread(_fill, options.jobs, files, repeat(options.peers), repeat(Path(options.cache))):
            found.append(lowest)
            print(f"\r{name} {len(found)} of {len(files)}\033[K", end="", file=sys.stderr, flush=True)
        print("\r\033[K", end="", file=sys.stderr)
        for label in found[0]:
            rates = [(lowest[label], path.stem) for lowest, path in zip(found, files, strict=True)]
            least, most = min(rates), max(rates)
            print(
                f"{label:22} {name:9} {len(rates):3} pictures, lowest bpp"
                f" {least[0]:.4f} ({least[1]}) to {most[0]:.4f} ({most[1]})",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
