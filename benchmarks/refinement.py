"""The higher layers measured: rate-distortion from preview to 2 bpp, lossless, progressive penalty, speed, a region.

    python -m benchmarks.refinement [--data DIR] [--sets kodak,waterloo,aerial] [--peers jpeg,...] [--out PATH]
                                    [--parts rd,lossless,progressive,speed]

On the luma of the bench pictures, decoded by the linear decoder. Writes OUT.md. JPEG is Pillow's with optimised tables;
JPEG-LS and lossless JPEG 2000 are those of imagecodecs. A mean is over pictures, each counting once.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from benchmarks import RESULTS, codec, metrics, peers, run
from benchmarks.pictures import HEADLINE_SETS, add_data_option, data_folder, paths, pictures, read

RATES = (0.1, 2.0)
OUR_RATES = tuple(float(r) for r in np.geomspace(0.05, 2.6, 16))
TABLE_RATES = (0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
PEER_POINTS = 11
PREVIEW_BPP, REFINED_BPP = 0.1, 1.0


def point(original: np.ndarray, decoded: np.ndarray, size: int) -> metrics.Point:
    return {"bpp": 8 * size / original.size, "psnr": metrics.psnr(original, decoded)}


def our_curve(grey: np.ndarray) -> list[metrics.Point]:
    onboard = codec()
    streams = (onboard.compress(grey, bpp=bpp) for bpp in OUR_RATES)
    return [point(grey, onboard.decompress(data, enhance="linear").image, len(data)) for data in streams]


def peer_curve(peer: peers.Codec, grey: np.ndarray) -> list[metrics.Point]:
    """Settings spread over the codec's own list, as far as they reach from 0.07 to 3 bpp."""
    found: list[metrics.Point] = []
    for setting in peer.settings[:: max(len(peer.settings) // (3 * PEER_POINTS), 1)]:
        data = peer.encode(grey, setting)
        bpp = 8 * len(data) / grey.size
        if bpp > 0.07 and (not found or bpp > 1.2 * found[-1]["bpp"]):
            found.append(point(grey, peer.decode(data), len(data)))
        if bpp > 3:
            break
    return found


def rate_distortion(folder: Path, sets: list[str], codecs: list[peers.Codec]) -> Iterator[str]:
    """BD-rates against JPEG, and the mean curves."""
    curves: dict[str, list[list[metrics.Point]]] = {}
    of_set: list[str] = []
    for name in sets:
        for label, picture in pictures(folder, name):
            print(f"\r{name} {label}\033[K", end="", file=sys.stderr, flush=True)
            grey = metrics.luma(picture)
            of_set.append(name)
            curves.setdefault("ours", []).append(our_curve(grey))
            for peer in codecs:
                curves.setdefault(peer.name, []).append(peer_curve(peer, grey))
    yield "## Rate-distortion\n"
    yield f"BD-rate against JPEG, {RATES[0]} to {RATES[1]} bpp, per cent; negative is better.\n"
    yield "| | " + " | ".join([*sets, "all"]) + " |"
    yield "|---" * (len(sets) + 2) + "|"
    for name, own in curves.items():
        values = np.array([metrics.bd_rate(c, j, *RATES) for c, j in zip(own, curves["jpeg"], strict=True)])
        means = [np.nanmean(values[np.array(of_set) == s]) for s in sets] + [np.nanmean(values)]
        yield f"| {name} | " + " | ".join(f"{m:.1f}" for m in means) + " |"
    yield "\nMean PSNR where both ours and JPEG reach the rate; our rate against JPEG's at JPEG's PSNR, per cent.\n"
    yield "| bpp | " + " | ".join(curves) + " | rate |"
    yield "|---" * (len(curves) + 2) + "|"
    for rate in TABLE_RATES:
        at = np.array([[metrics.at(c, rate) for c in own] for own in curves.values()])
        both = ~np.isnan(at[: 1 + list(curves).index("jpeg")]).any(0)
        means = [f"{np.nanmean(row[both]):.2f}" for row in at]
        ratios = []
        for mine, jpeg in zip(curves["ours"], curves["jpeg"], strict=True):
            level = metrics.at(jpeg, rate)
            points = metrics.frontier(mine)
            if points and points[0]["psnr"] <= level <= points[-1]["psnr"]:
                logs = np.interp(level, [p["psnr"] for p in points], [np.log(p["bpp"]) for p in points])
                ratios.append(logs - np.log(rate))
        yield f"| {rate} | " + " | ".join(means) + f" | {100 * np.expm1(np.mean(ratios)):.1f} |"


def lossless(folder: Path, sets: list[str]) -> Iterator[str]:
    """Sizes of lossless streams, preview and all packets included."""
    import imagecodecs

    onboard = codec()
    kinds: dict[str, Callable[[np.ndarray], bytes]] = {
        "JPEG-LS": lambda p: bytes(imagecodecs.jpegls_encode(p)),
        "JPEG 2000": lambda p: bytes(imagecodecs.jpeg2k_encode(p, level=0, reversible=True)),
    }
    yield "\n## Lossless\n"
    yield "Bits per sample, preview included; the last columns are ours against theirs, per cent.\n"
    yield "| set | pictures | ours | " + " | ".join(kinds) + " | " + " | ".join(f"/ {k}" for k in kinds) + " |"
    yield "|---" * (3 + 2 * len(kinds)) + "|"
    groups = [(name, [metrics.luma(p) for _, p in pictures(folder, name)]) for name in sets]
    if "aerial" in sets:
        groups.append(("aerial, 16-bit", [p for p in map(read, paths(folder, "aerial")) if p.dtype == np.uint16]))
    if "kodak" in sets:
        groups.append(("kodak, RGB", [p for _, p in pictures(folder, "kodak")]))
    for name, found in groups:
        rows = []
        for picture in found:
            print(f"\rlossless {name}\033[K", end="", file=sys.stderr, flush=True)
            data = onboard.compress(picture, lossless=True)
            if not (onboard.decompress(data).image == picture).all():
                raise AssertionError(f"{name}: not lossless")
            rows.append([8 * len(d) / picture.size for d in (data, *(encode(picture) for encode in kinds.values()))])
        table = np.array(rows)
        ratios = [f"{100 * np.mean(table[:, 0] / table[:, i]) - 100:+.1f}" for i in range(1, table.shape[1])]
        yield (
            f"| {name} | {len(rows)} | "
            + " | ".join(f"{v:.3f}" for v in table.mean(0))
            + " | "
            + " | ".join(ratios)
            + " |"
        )


def progressive(folder: Path, sets: list[str]) -> Iterator[str]:
    """What a preview and a refinement of it cost more than one encode of the same quality."""
    onboard = codec()
    yield "\n## Progressive penalty\n"
    yield f"Preview at {PREVIEW_BPP} bpp and refinement to {REFINED_BPP} bpp, against one encode of the same PSNR.\n"
    yield "| set | rate, per cent |\n|---|---|"
    everything = []
    for name in sets:
        found = []
        for label, picture in pictures(folder, name):
            print(f"\rprogressive {name} {label}\033[K", end="", file=sys.stderr, flush=True)
            grey = metrics.luma(picture)
            sent = onboard.compress(grey, bpp=PREVIEW_BPP)
            sent += onboard.refine(grey, sent, budget=int(REFINED_BPP * grey.size / 8) - len(sent))
            both = point(grey, onboard.decompress(sent).image, len(sent))
            curve = []
            for bpp in (0.8, 0.9, 1.0, 1.1):
                data = onboard.compress(grey, bpp=bpp)
                curve.append(point(grey, onboard.decompress(data).image, len(data)))
            logs = np.polyval(
                np.polyfit([p["psnr"] for p in curve], [np.log(p["bpp"]) for p in curve], 1), both["psnr"]
            )
            found.append(100 * np.expm1(np.log(both["bpp"]) - logs))
        everything += found
        yield f"| {name} | {np.mean(found):+.1f} |"
    yield f"| all | {np.mean(everything):+.1f} |"


def best_of(times: int, call: Callable[[], object]) -> float:
    best = np.inf
    for _ in range(times):
        began = perf_counter()
        call()
        best = min(best, perf_counter() - began)
    return best


def speed(folder: Path) -> Iterator[str]:
    """12 MP grey in memory at 1 bpp, one thread, and a region of it."""
    from onboard.encoder import Job
    from onboard.model import default_model
    from onboard.progressive import single_shot
    from onboard.wire import MAX_PACKET, Colour, Description

    onboard = codec()
    grey = np.ascontiguousarray(read(next(p for p in paths(folder, "big") if "gray" in p.name)))
    quality = next(q for q in range(20, 96) if 8 * len(peers.encode_jpeg(grey, q)) >= grey.size)
    model = default_model()
    base = Description(1, 0, model.model_id, grey.shape[1], grey.shape[0], colour=Colour.GREY)
    job = Job(grey, base, model, MAX_PACKET, (), None)
    step = next(s for s in range(100, 0, -2) if 8 * sum(map(len, single_shot(job, s))) >= grey.size)
    data = b"".join(single_shot(job, step))
    jpeg = peers.encode_jpeg(grey, quality)

    def encode_jpeg() -> None:
        Image.fromarray(grey).save(io.BytesIO(), "JPEG", quality=quality)

    yield "\n## Speed\n"
    yield f"{grey.size / 1e6:.0f} MP grey in memory, one thread, best of five, megapixels per second.\n"
    yield "| | ours | JPEG | ratio |\n|---|---|---|---|"
    rows = {
        "encode at a given step": (lambda: single_shot(job, step), encode_jpeg),
        "encode to a budget": (lambda: onboard.compress(grey, bpp=1.0), encode_jpeg),
        "decode, plain": (
            lambda: onboard.decompress(data, enhance="plain"),
            lambda: np.asarray(Image.open(io.BytesIO(jpeg))),
        ),
    }
    for name, (ours, theirs) in rows.items():
        own, other = best_of(5, ours), best_of(5, theirs)
        rate = [grey.size / 1e6 / t for t in (own, other)]
        yield f"| {name} | {rate[0]:.0f} | {rate[1]:.0f} | {other / own:.2f} |"
    preview = onboard.compress(grey, bpp=0.05)
    region = (grey.shape[1] // 2, grey.shape[0] // 3, 256, 256)
    took = best_of(5, lambda: onboard.refine(grey, preview, budget=20000, regions=[region]))
    yield f"\nA region of 256x256 in a preview of {len(preview)} bytes, refined to 20 kB: {1000 * took:.0f} ms."


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--sets", default=",".join(HEADLINE_SETS))
    parser.add_argument("--peers", default="jpeg", help="jpeg, webp, jpeg2000, avif, jpegxl")
    parser.add_argument("--parts", default="rd,lossless,progressive,speed")
    parser.add_argument("--out", default=str(RESULTS / "refinement"))
    options = parser.parse_args(argv)
    folder, sets, parts = data_folder(options.data), options.sets.split(","), options.parts.split(",")
    known = peers.registry()
    codecs = [known[name] for name in options.peers.split(",") if name in known]
    lines = ["# Refinement"]
    if "rd" in parts:
        lines += rate_distortion(folder, sets, codecs)
    if "lossless" in parts:
        lines += lossless(folder, sets)
    if "progressive" in parts:
        lines += progressive(folder, sets)
    if "speed" in parts:
        lines += speed(folder)
    print("\r\033[K", end="", file=sys.stderr)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
