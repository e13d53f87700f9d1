"""Rate-distortion of onboard-compress against the peers, on the luma of the bench pictures.

    python -m benchmarks.rd [--data DIR] [--sets kodak,waterloo,aerial] [--enhance plain,linear] [--peers jpeg,...]
                            [--rates 0.05,0.15]... [--every N] [--cache DIR] [--jobs N]
                            [--out benchmarks/results/rd]

Writes OUT.md (tables), OUT.json (every picture's figures) and OUT.png (mean curves). Our curves are made anew each
time; those of the peers come from the cache (`benchmarks.peers`). "best" is the better of a peer at full and at half
size at each rate. A mean is over pictures, each counting once, of the figure of each picture. PSNR is measured at every
point, SSIM and MS-SSIM around the rates of the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import RESULTS, BenchmarkError, codec, metrics, peers, run
from benchmarks.peers import TABLE_RATES
from benchmarks.pictures import HEADLINE_SETS, add_data_option, data_folder, headline_paths, read

BD_RATES = ((0.05, 0.15), (0.04, 0.2))
"""Bits per pixel over which rates are compared, unless told."""
GAIN_RATES = (0.03, 0.2)
"""Bits per pixel over which our decoders are compared with each other."""
_OUR_RATES = (0.02, 0.5)
"""Bits per pixel that our curves span: wider than what is compared, so that a better peer's PSNR is reached too."""
_AUTO_RATES = (0.02, 0.028, 0.038, *TABLE_RATES, 0.07, 0.26, 0.36, 0.5)
_KEYS = ("psnr", "ssim", "ms_ssim")
_ALL = "all"
_COLOURS = {"jpeg": "tab:gray", "webp": "tab:green", "jpeg2000": "tab:orange", "avif": "tab:red", "jpegxl": "tab:brown"}
_OUR_COLOURS = {"plain": "tab:cyan", "linear": "tab:blue", "small": "tab:purple"}

Curves = dict[str, list[metrics.Point]]
Record = dict[str, Any]


# ---------------------------------------------------------------- curves


def our_curves(grey: np.ndarray, enhances: Iterable[str], options: dict[str, int]) -> Curves:
    """Our curves on a grey picture: one per way of decoding, at scale 1 and at the scale the codec chooses."""
    onboard = codec()
    curves: Curves = {}
    shown: dict[str, dict[float, np.ndarray]] = {}

    def measure(data: bytes, setting: float, suffix: str) -> metrics.Point:
        for enhance in enhances:
            row = f"ours {enhance}{suffix}"
            decoded = onboard.decompress(data, enhance=enhance).image
            shown.setdefault(row, {})[setting] = decoded
            curves.setdefault(row, []).append(peers.point(grey, decoded, len(data), setting))
        return curves[row][-1]

    peers.climb(
        lambda quality: measure(onboard.compress(grey, quality=int(quality), scale=1, **options), quality, ""),
        range(101),
        *_OUR_RATES,
    )
    for bpp in sorted(_AUTO_RATES):
        try:
            data = onboard.compress(grey, bpp=bpp, scale="auto", **options)
        except ValueError as error:  # too few bytes for any picture
            print(f"\nnothing at {bpp:.3f} bpp: {error}", file=sys.stderr)
            continue
        measure(data, bpp, " auto")
    for row, points in curves.items():
        peers.add_similarity(grey, points, shown[row])
    return curves


def peer_curves(picture: np.ndarray, codecs: Iterable[peers.Codec], cache: Path) -> Curves:
    """For each codec NAME its curve NAME at full size and NAME best, the better of full and half size."""
    curves: Curves = {}
    for peer in codecs:
        curves[peer.name] = peers.curve(peer, picture, cache)
        curves[f"{peer.name} best"] = metrics.envelope(curves[peer.name], peers.curve(peers.half(peer), picture, cache))
    return curves


def all_curves(path: Path, enhances: list[str], options: dict[str, int], names: str | None, cache: Path) -> Curves:
    """Every curve of a picture."""
    grey = metrics.luma(read(path))
    ours = our_curves(grey, enhances, options) if enhances else {}
    return ours | peer_curves(grey, peers.chosen(names), cache)


def key_of(rates: tuple[float, float]) -> str:
    return f"{rates[0]:g} to {rates[1]:g}"


def record(name: str, curves: Curves, intervals: list[tuple[float, float]]) -> Record:
    """The figures of one picture."""
    ours = [row for row in curves if row.startswith("ours")]
    references = [row for row in curves if row not in ours]
    bd: dict[str, dict[str, dict[str, list[float]]]] = {}
    for rates in intervals:
        for row in curves:
            against = (
                references
                if row in ours
                else [r for r in references if r.startswith("jpeg") and r[4:] in ("", " best")]
            )
            bd.setdefault(key_of(rates), {})[row] = {
                r: [metrics.bd_rate(curves[row], curves[r], *rates), metrics.bd_cover(curves[row], curves[r], *rates)]
                for r in against
                if r != row
            }
    result: Record = {
        "picture": name,
        "lowest_bpp": {row: metrics.lowest_rate(points) for row, points in curves.items()},
        "bd_rate_and_cover": bd,
        "at": {
            row: {str(rate): [metrics.at(points, rate, key) for key in _KEYS] for rate in TABLE_RATES}
            for row, points in curves.items()
        },
    }
    plain = {suffix: curves.get(f"ours plain{suffix}", []) for suffix in ("", " auto")}
    result["gain_db"] = {
        row: metrics.bd_psnr(curves[row], plain[" auto" if row.endswith(" auto") else ""], *GAIN_RATES) for row in ours
    }
    if "jpeg" in curves:
        rate = max(0.1, result["lowest_bpp"]["jpeg"])
        peer = metrics.at(curves["jpeg"], rate)
        result["against_jpeg_db"] = {"bpp": rate} | {row: metrics.at(curves[row], rate) - peer for row in ours}
    return result


# ---------------------------------------------------------------- tables


def mean(values: Iterable[float]) -> tuple[float, int, int]:
    """Mean of the values that are not NaN, how many those are, and how many there are in all."""
    everything = list(values)
    known = [v for v in everything if not math.isnan(v)]
    return (sum(known) / len(known) if known else math.nan), len(known), len(everything)


def cell(values: Iterable[float], form: str) -> str:
    """A mean as text; with "(known of all)" where some pictures have no figure."""
    value, known, total = mean(values)
    if known == 0:
        return "-"
    return format(value, form) + ("" if known == total else f" ({known} of {total})")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, aligned so that it can be read as plain text."""
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * widths[0]] + ["-" * (w - 1) + ":" for w in widths[1:]], *rows]
    return "\n".join(
        "| "
        + " | ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)])
        + " |"
        for line in lines
    )


def grouped(records: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """The sets, and all of their pictures as one more where there are several."""
    every = [r for group in records.values() for r in group]
    return records | ({_ALL: every} if len(records) > 1 else {})


def bd_table(groups: dict[str, list[Record]], rates: str, lines: list[tuple[str, str, str]]) -> str:
    """BD-rate in per cent; a line is (title, curve, reference)."""
    rows = []
    for title, row, reference in lines:
        found = {name: [r["bd_rate_and_cover"][rates][row][reference] for r in g] for name, g in groups.items()}
        cells = [cell((value for value, _ in pairs), "+.1f") for pairs in found.values()]
        cover = mean(share for pairs in found.values() for _, share in pairs)[0]
        rows.append([title, *cells, f"{100 * cover:.0f}"])
    return table(["BD-rate %", *groups, "cover %"], rows)


def quality_table(group: list[Record], names: list[str]) -> str:
    """PSNR in dB, SSIM and MS-SSIM at the tabulated rates."""
    rows = []
    for name in names:
        cells = []
        for rate in TABLE_RATES:
            values = [r["at"][name][str(rate)] for r in group]
            text = [
                cell((v[i] for v in values if not math.isnan(v[0])), f) for i, f in enumerate((".2f", ".3f", ".3f"))
            ]
            reached = sum(not math.isnan(v[0]) for v in values)
            short = "" if reached in (0, len(values)) else f" ({reached} of {len(values)})"
            cells.append(" / ".join(text) + short if reached else "-")
        rows.append([name, *cells])
    return table(["PSNR / SSIM / MS-SSIM", *(f"{rate} bpp" for rate in TABLE_RATES)], rows)


def worse_lines(groups: dict[str, list[Record]], ours: list[str]) -> list[str]:
    """For each of our curves: on which pictures it is below full-size JPEG."""
    every = [(name, r) for name, group in groups.items() if name != _ALL for r in group]
    lines = []
    for row in ours:
        worse = [
            f"{name}/{r['picture']} ({r['against_jpeg_db'][row]:+.2f} dB at {r['against_jpeg_db']['bpp']:.3f} bpp)"
            for name, r in every
            if not r["against_jpeg_db"][row] >= 0
        ]
        lines.append(f"- {row}: {len(worse)} of {len(every)}" + (f": {', '.join(worse)}" if worse else ""))
    return lines


def report(records: dict[str, list[Record]], intervals: list[str], about: list[str]) -> str:
    """The whole text."""
    groups = grouped(records)
    first = next(iter(records.values()))[0]
    names = list(first["at"])
    ours = [name for name in names if name.startswith("ours")]
    references = [name for name in names if name not in ours]
    counts = ", ".join(f"{name} {len(group)}" for name, group in groups.items())
    parts = ["# Rate-distortion", "\n".join(about)]
    parts.append(
        f"Luma only; pictures: {counts}. BD-rate over the part of the named rates that the reference reaches, negative"
        ' is better; "cover" is the share of that part\'s PSNR interval that the curve reaches too, "(n of N)" the'
        ' pictures for which there is a figure. "best" is the better of full and half size at each rate, "auto" the'
        " scale our codec chooses. File sizes include every header byte."
    )
    for rates in intervals:
        if "jpeg" in references:
            parts.append(f"## Against JPEG at full size, {rates} bpp")
            parts.append(bd_table(groups, rates, [(name, name, "jpeg") for name in names if name != "jpeg"]))
        for row in ours:
            parts.append(f"## {row} against each peer, {rates} bpp")
            parts.append(bd_table(groups, rates, [(f"vs {ref}", row, ref) for ref in references]))
    if ours:
        gains = [[row, *(cell((r["gain_db"][row] for r in g), "+.2f") for g in groups.values())] for row in ours]
        parts.append(f"## BD-PSNR over the plain decoder in dB, {key_of(GAIN_RATES)} bpp")
        parts.append(table(["dB", *groups], gains))
        if "jpeg" in references:
            parts += ["## Worse than JPEG in PSNR at 0.1 bpp, or at JPEG's lowest rate where that is higher"]
            parts.append("\n".join(worse_lines(groups, ours)))
    for name, group in groups.items():
        parts += [f"## Quality, {name}", quality_table(group, names)]
    lowest = []
    for name in names:
        spans = [[r["lowest_bpp"][name] for r in group] for group in groups.values()]
        lowest.append([name, *(f"{min(s):.3f} {mean(s)[0]:.3f} {max(s):.3f}" for s in spans)])
    parts += ["## Lowest rate in bpp: least, mean, greatest over the pictures", table(["codec", *groups], lowest)]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- chart


def chart(curves: dict[str, list[Curves]], path: Path) -> None:
    """Mean PSNR against rate, one column per set, over the rates that every picture of it reaches."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no chart: matplotlib is not installed", file=sys.stderr)
        return
    rates = np.geomspace(*peers.PREVIEW_RATES, 80)
    figure, axes = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 4.5), squeeze=False)
    ticks = (0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3)
    for axis, (name, group) in zip(axes[0], curves.items(), strict=True):
        for row in group[0]:
            values = np.mean([metrics.sample(each[row], rates) for each in group], axis=0)
            axis.plot(rates, values, label=row, **_style(row))
        axis.set(xscale="log", title=f"{name}, {len(group)} pictures", xlabel="bits per pixel", ylabel="PSNR (dB)")
        axis.set_xticks(ticks, [str(t) for t in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


def _style(row: str) -> dict[str, Any]:
    if row.startswith("ours"):
        colour = next((c for word, c in _OUR_COLOURS.items() if word in row), "tab:olive")
        return {"color": colour, "linewidth": 2.2, "linestyle": "--" if row.endswith("auto") else "-"}
    full = not row.endswith("best")
    return {"color": _COLOURS[row.split(maxsplit=1)[0]], "linewidth": 1.2, "linestyle": ":" if full else "-"}


# ---------------------------------------------------------------- command


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise BenchmarkError(f"--rates {text}: two numbers with a comma, such as 0.05,0.2") from error
    if not peers.PREVIEW_RATES[0] <= low < high <= peers.PREVIEW_RATES[1]:
        limits = f"{peers.PREVIEW_RATES[0]} to {peers.PREVIEW_RATES[1]}"
        raise BenchmarkError(f"--rates {text}: must rise and lie in {limits} bpp")
    return low, high


def main(arguments: list[str]) -> None:
    """Rate-distortion of onboard-compress against the peers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rd", description=main.__doc__)
    add_data_option(parser)
    peers.add_peer_options(parser)
    parser.add_argument("--sets", default=",".join(HEADLINE_SETS))
    parser.add_argument("--enhance", default="plain,linear", help="ways of decoding, such as plain,linear,auto")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth picture only, for a quick look")
    parser.add_argument("--rates", action="append", metavar="LO,HI", help="bits per pixel for BD-rate; may be repeated")
    parser.add_argument("--packet-size", type=int, help="bytes; default the codec's own")
    parser.add_argument("--without-ours", action="store_true", help="peers only")
    parser.add_argument("--out", default=str(RESULTS / "rd"), metavar="PREFIX")
    options = parser.parse_args(arguments)
    intervals = [_interval(text) for text in options.rates] if options.rates else list(BD_RATES)
    folder, codecs = data_folder(options.data), peers.chosen(options.peers)
    extra = {"packet_size": options.packet_size} if options.packet_size else {}
    enhances = [] if options.without_ours else [word for word in options.enhance.split(",") if word]
    if enhances:
        codec()

    records: dict[str, list[Record]] = {}
    kept: dict[str, list[Curves]] = {}
    for set_name in options.sets.split(","):
        files = headline_paths(folder, set_name)[:: options.every]
        settings = (enhances, extra, options.peers, Path(options.cache))
        found = peers.spread(all_curves, options.jobs, files, *map(repeat, settings))
        for path, curves in zip(files, found, strict=True):
            print(f"\r{set_name} {path.stem}\033[K", end="", file=sys.stderr, flush=True)
            kept.setdefault(set_name, []).append(curves)
            records.setdefault(set_name, []).append(record(path.stem, curves, intervals))
    print("\r\033[K", end="", file=sys.stderr)

    about = [f"- {peer.label}: {peer.version}" for peer in codecs]
    if enhances:
        packets = f"packets of at most {options.packet_size} bytes" if extra else "packets of the default size"
        about.insert(0, f"- ours: onboard-compress {getattr(codec(), '__version__', '')}, {packets}".replace(" ,", ","))
    if options.every > 1:
        about.append(f"- every {options.every}th picture of each set only")
    text = report(records, [key_of(rates) for rates in intervals], about)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".md").write_text(text)
    out.with_name(out.name + ".json").write_text(json.dumps(_without_nan({"codecs": about, "sets": records})) + "\n")
    chart(
        kept | ({_ALL: [c for group in kept.values() for c in group]} if len(kept) > 1 else {}),
        out.with_name(out.name + ".png"),
    )
    print(text)


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
