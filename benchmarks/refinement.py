"""The higher layers measured: rate-distortion from preview to 2 bpp, lossless, progressive penalty, speed, a region.

    python -m benchmarks.refinement [--data DIR] [--sets kodak,waterloo,aerial] [--peers jpeg,...] [--cache DIR]
                                    [--jobs N] [--parts rd,lossless,progressive,speed] [--out PREFIX]

On the luma of the bench pictures, decoded by the linear decoder. Writes OUT.md. The curves of the peers come from the
cache (`benchmarks.peers`); JPEG-LS and lossless JPEG 2000 are those of imagecodecs. A mean is over pictures, each
counting once.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from benchmarks import RESULTS, codec, metrics, peers, run
from benchmarks.pictures import HEADLINE_SETS, add_data_option, data_folder, headline_paths, paths, pictures, read

RATES = (0.1, 2.0)
OUR_RATES = tuple(float(r) for r in np.geomspace(0.05, 2.6, 14))
TABLE_RATES = (0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
PREVIEW_BPP, REFINED_BPP = 0.1, 1.0
OURS = "ours"

Curves = dict[str, list[metrics.Point]]


def point(original: np.ndarray, decoded: np.ndarray, size: int) -> metrics.Point:
    return {"bpp": 8 * size / original.size, "psnr": metrics.psnr(original, decoded)}


def curves_of(path: Path, names: str | None, cache: Path) -> Curves:
    """Our curve on a picture and those of the peers."""
    onboard = codec()
    grey = metrics.luma(read(path))
    streams = (onboard.compress(grey, bpp=bpp) for bpp in OUR_RATES)
    ours = [point(grey, onboard.decompress(data, enhance="linear").image, len(data)) for data in streams]
    return {OURS: ours} | {peer.name: peers.curve(peer, grey, cache) for peer in peers.chosen(names)}


def rate_at(curve: list[metrics.Point], psnr: float) -> float:
    """Bits per pixel at a PSNR; NaN where the curve does not reach it."""
    points = metrics.frontier(curve)
    if not points or not points[0]["psnr"] <= psnr <= points[-1]["psnr"]:
        return np.nan
    return float(np.exp(np.interp(psnr, [p["psnr"] for p in points], [np.log(p["bpp"]) for p in points])))


def rate_distortion(folder: Path, sets: list[str], names: str | None, cache: Path, jobs: int) -> Iterator[str]:
    """BD-rates against JPEG and of ours against each peer, and the mean curves."""
    files = [(name, path) for name in sets for path in headline_paths(folder, name)]
    of_set = np.array([name for name, _ in files])
    found: list[Curves] = []
    for curves in peers.spread(curves_of, jobs, [path for _, path in files], repeat(names), repeat(cache)):
        found.append(curves)
        print(f"\r{len(found)} of {len(files)} pictures\033[K", end="", file=sys.stderr, flush=True)
    codecs = list(found[0])
    yield "## Rate-distortion\n"
    yield f"BD-rate, {RATES[0]} to {RATES[1]} bpp of the second one, per cent; negative is better.\n"
    yield "| | " + " | ".join([*sets, "all"]) + " |"
    yield "|---" * (len(sets) + 2) + "|"
    pairs = [(name, "jpeg") for name in codecs if name != "jpeg"]
    pairs += [(OURS, name) for name in codecs if name not in (OURS, "jpeg")]
    for own, other in pairs:
        values = np.array([metrics.bd_rate(curves[own], curves[other], *RATES) for curves in found])
        means = [np.nanmean(values[of_set == s]) for s in sets] + [np.nanmean(values)]
        yield f"| {own} against {other} | " + " | ".join(f"{m:.1f}" for m in means) + " |"
    yield "\nMean PSNR over the pictures on which all reach the rate, and how many these are. Rate: what our mean curve"
    yield "takes for JPEG's mean PSNR, over the pictures on which JPEG reaches the rate, per cent of JPEG's.\n"
    yield "| bpp | " + " | ".join(codecs) + " | pictures | rate |"
    yield "|---" * (len(codecs) + 3) + "|"
    for rate in TABLE_RATES:
        at = np.array([[metrics.at(curves[name], rate) for name in codecs] for curves in found])
        all_reach = ~np.isnan(at).any(1)
        means = [f"{m:.2f}" for m in at[all_reach].mean(0)] if all_reach.any() else ["-"] * len(codecs)
        jpeg_reaches = [curves for curves in found if not np.isnan(metrics.at(curves["jpeg"], rate))]
        level = np.mean([metrics.at(curves["jpeg"], rate) for curves in jpeg_reaches])
        mean_curve = [
            {"bpp": bpp, "psnr": float(np.mean([metrics.at(curves[OURS], bpp) for curves in jpeg_reaches]))}
            for bpp in np.geomspace(OUR_RATES[0] * 1.05, OUR_RATES[-1] * 0.95, 60)
        ]
        ratio = 100 * rate_at(mean_curve, float(level)) / rate - 100
        cell = "-" if np.isnan(ratio) else f"{ratio:.1f}"
        yield f"| {rate} | " + " | ".join(means) + f" | {all_reach.sum()} | {cell} |"


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
    from onboard.job import Job
    from onboard.model import default_model
    from onboard.shot import single_shot
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
    peers.add_peer_options(parser)
    parser.add_argument("--sets", default=",".join(HEADLINE_SETS))
    parser.add_argument("--parts", default="rd,lossless,progressive,speed")
    parser.add_argument("--out", default=str(RESULTS / "refinement"))
    options = parser.parse_args(argv)
    folder, sets, parts = data_folder(options.data), options.sets.split(","), options.parts.split(",")
    lines = ["# Refinement\n", *(f"- {peer.label}: {peer.version}" for peer in peers.chosen(options.peers)), ""]
    if "rd" in parts:
        lines += rate_distortion(folder, sets, options.peers, Path(options.cache), options.jobs)
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
