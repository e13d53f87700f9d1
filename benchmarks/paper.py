"""The comparison with the paper: the same pictures at the same sizes, PSNR against PSNR.

    python -m benchmarks.paper [--data DIR] [--out benchmarks/results/paper]

Source: Taha, Elrefaei, Akah, Abdelrasoul, "Efficient Image Compression Technique for Low Bit Rate Requirements",
Fayoum University Journal of Engineering 8(2), 2025, doi 10.21608/fuje.2025.314170.1091, tables 3 to 5, columns
"8 outs" up to 0.2 bpp. Sizes there are bits of coded data; ours are whole files of at most as many bits, headers
included. The paper's copies of the pictures may differ a little from these.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import RESULTS, BenchmarkError, codec, metrics, run
from benchmarks.pictures import add_data_option, data_folder, paths, read

PAPER: dict[str, list[tuple[int, float]]] = {
    "lena": [(20240, 24.24), (27722, 26.47), (31740, 27.32), (36941, 28.24), (42102, 28.89), (48195, 29.26)],
    "boat": [(24911, 23.34), (32571, 25.10), (35074, 25.59), (37483, 26.03), (43268, 26.82), (52263, 27.46)],
    "goldhill": [
        (21095, 24.15),
        (25687, 25.07),
        (27052, 25.29),
        (32777, 26.16),
        (38344, 26.82),
        (38646, 26.87),
        (45043, 27.43),
    ],
}
"""For each 512x512 picture: size in bits, PSNR in dB."""
ENHANCES = ("plain", "linear")


def measure(folder: Path) -> list[dict]:
    """One row per size: what the paper reached in it, and what we do."""
    onboard = codec()
    found = {path.stem: path for path in paths(folder, "waterloo")}
    rows = []
    for name, sizes in PAPER.items():
        if name not in found:
            raise BenchmarkError(f"{folder / 'waterloo'}: no picture {name}")
        picture = read(found[name])
        for bits, paper in sizes:
            data = onboard.compress(picture, budget=bits // 8)
            if len(data) > bits // 8:
                raise BenchmarkError(f"{name}: compress(budget={bits // 8}) returned {len(data)} bytes")
            row = {"picture": name, "bits": bits, "paper": paper, "our_bits": 8 * len(data)}
            for enhance in ENHANCES:
                decoded = onboard.decompress(data, enhance=enhance).image
                row[enhance] = round(metrics.psnr(picture, decoded), 3)
            rows.append(row)
    return rows


def report(rows: list[dict]) -> str:
    """The rows as a markdown table, and the mean gains in dB."""
    lines = [
        "# The paper's pictures at the paper's sizes",
        "",
        "PSNR in dB. Paper: Taha et al. 2025, doi 10.21608/fuje.2025.314170.1091, tables 3 to 5, 8 outputs.",
        "",
        "| picture  |  bits | our bits | paper |  plain |  gain | linear |  gain |",
        "| -------- | ----: | -------: | ----: | -----: | ----: | -----: | ----: |",
    ]
    for r in rows:
        plain, linear = (f"{r[e]:6.2f} | {r[e] - r['paper']:+5.2f}" for e in ENHANCES)
        sizes = f"{r['picture']:8} | {r['bits']:5} | {r['our_bits']:8}"
        lines.append(f"| {sizes} | {r['paper']:5.2f} | {plain} | {linear} |")
    lines.append("")
    for name in [*PAPER, None]:
        part = [r for r in rows if name in (None, r["picture"])]
        gains = [sum(r[e] - r["paper"] for r in part) / len(part) for e in ENHANCES]
        lines.append(f"- mean gain, {name or 'all'} ({len(part)}): plain {gains[0]:+.2f} dB, linear {gains[1]:+.2f} dB")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Lena, Boat and Goldhill at the paper's sizes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper", description=main.__doc__)
    add_data_option(parser)
    parser.add_argument("--out", default=str(RESULTS / "paper"), metavar="PREFIX")
    options = parser.parse_args(arguments)
    rows = measure(data_folder(options.data))
    text = report(rows)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_name(out.name + ".md").write_text(text)
    out.with_name(out.name + ".json").write_text(json.dumps(rows, indent=1) + "\n")
    print(text, end="")


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
