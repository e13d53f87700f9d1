"""Compress one picture and show it beside the original and beside JPEG at the same size.

    python -m benchmarks.preview [IMAGE] [--bpp 0.1] [--out preview.png]

Prints one table and the path of the picture it has drawn. Needs nothing but what the library needs; the picture taken
where none is given comes with scikit-image. Times are medians after a warm-up; PSNR and SSIM are those of luma.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks import BenchmarkError, codec, metrics, run
from benchmarks.peers import JPEG, enlarge, halve
from benchmarks.pictures import read

_SIZES = ("full", "half", "quarter", "eighth", "sixteenth")
_PANEL = 640
"""Pixels: wider pictures are drawn smaller in the comparison."""


@dataclass
class Row:
    """One way of coding the picture."""

    label: str
    picture: np.ndarray
    size: int
    encode_ms: float
    decode_ms: float


def median_ms(call: Callable[[], object], runs: int = 7, patience: float = 1.5) -> float:
    """Median time of a call in milliseconds, after one that does not count; fewer runs if they take long (seconds)."""
    call()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < runs and (len(times) < 3 or time.perf_counter() - begin < patience):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def default_picture() -> np.ndarray:
    """The astronaut that is part of scikit-image's installation."""
    try:
        from skimage import data
    except ImportError as error:
        raise BenchmarkError(
            "no IMAGE given, and scikit-image, which brings the default one, is not installed"
        ) from error
    picture: np.ndarray = data.astronaut()
    return picture


def ours(picture: np.ndarray, bpp: float) -> Row:
    """Our codec at a rate, decoded as it decodes by default."""
    onboard = codec()
    try:
        data: bytes = onboard.compress(picture, bpp=bpp)
    except ValueError as error:
        raise BenchmarkError(f"cannot compress to {bpp} bits per pixel: {error}") from error
    return Row(
        "onboard-compress",
        onboard.decompress(data).image,
        len(data),
        median_ms(lambda: onboard.compress(picture, bpp=bpp)),
        median_ms(lambda: onboard.decompress(data)),
    )


def best_quality(picture: np.ndarray, limit: int) -> int | None:
    """The highest JPEG quality whose file has at most `limit` bytes; None if even quality 1 has more."""
    low, high = 0, len(JPEG.settings)
    while low < high:
        middle = (low + high) // 2
        if len(JPEG.encode(picture, JPEG.settings[middle])) <= limit:
            low = middle + 1
        else:
            high = middle
    return int(JPEG.settings[low - 1]) if low else None


def jpeg(picture: np.ndarray, quality: int, halvings: int) -> Row:
    """JPEG at full size, or on the picture halved so often and enlarged again; both count into the times."""

    def encode() -> bytes:
        small = picture
        for _ in range(halvings):
            small = halve(small)
        return JPEG.encode(small, quality)

    def decode() -> np.ndarray:
        large = JPEG.decode(data)
        for _ in range(halvings):
            large = enlarge(large)
        return large[: picture.shape[0], : picture.shape[1]]

    data = encode()
    label = f"JPEG q{quality}, {_SIZES[halvings]} size"
    return Row(label, decode(), len(data), median_ms(encode), median_ms(decode))


def jpegs(picture: np.ndarray, limit: int) -> tuple[list[Row], str]:
    """The best JPEG that is not larger; where only a reduced one is, the smallest at full size too, and a note."""
    small = picture
    for halvings in range(len(_SIZES)):
        quality = best_quality(small, limit)
        if quality is not None:
            fitting = jpeg(picture, quality, halvings)
            if halvings == 0:
                return [fitting], ""
            smallest = jpeg(picture, 1, 0)
            note = (
                f"JPEG at full size cannot go below {smallest.size} bytes here;"
                f" at {_SIZES[halvings]} size quality {quality} fits."
            )
            return [smallest, fitting], note
        if min(small.shape[:2]) < 2:
            break
        small = halve(small)
    smallest = jpeg(picture, 1, 0)
    return [smallest], f"JPEG cannot go below {smallest.size} bytes here, nor fit at a smaller size."


def table(picture: np.ndarray, rows: list[Row]) -> str:
    """The rows as aligned text."""
    head = ["", "bytes", "bits/pixel", "ratio", "PSNR dB", "SSIM", "encode ms", "decode ms"]
    grey = metrics.luma(picture)
    lines = [head]
    for row in rows:
        shown = metrics.luma(row.picture)
        similarity = f"{metrics.ssim(grey, shown):.3f}" if min(grey.shape) >= 11 else "-"
        lines.append(
            [
                row.label,
                str(row.size),
                f"{8 * row.size / grey.size:.3f}",
                f"{picture.nbytes / row.size:.0f}:1",
                f"{metrics.psnr(grey, shown):.2f}",
                similarity,
                f"{row.encode_ms:.1f}",
                f"{row.decode_ms:.1f}",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        line[0].ljust(widths[0]) + "".join("  " + c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def draw(picture: np.ndarray, rows: list[Row], path: Path) -> None:
    """The original and what each row decodes to, side by side, captions below."""
    grey = metrics.luma(picture)
    panels = [(picture, "original", f"{picture.nbytes} bytes")]
    for row in rows:
        quality = metrics.psnr(grey, metrics.luma(row.picture))
        panels.append(
            (row.picture, row.label, f"{row.size} bytes, {8 * row.size / grey.size:.3f} bpp, {quality:.2f} dB")
        )
    gap, line, font = 8, 20, _font(15)
    factor = min(1.0, _PANEL / picture.shape[1])
    width, height = max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor))
    column = max(width, 260)
    sheet = Image.new("RGB", ((column + gap) * len(panels) + gap, height + 2 * gap + 2 * line + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (content, first, second) in enumerate(panels):
        left = gap + i * (column + gap)
        image = Image.fromarray(content).convert("RGB")
        if factor < 1:
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(image, (left, gap))
        for n, text in enumerate((first, second)):
            pen.text((left, height + 2 * gap + n * line), text, fill="black", font=font)
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: cannot be written ({error})") from error


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):  # Pillow 10.0, or one without FreeType
        return ImageFont.load_default()


def main(arguments: list[str]) -> None:
    """Compress a picture, decode it, and show it beside the original and JPEG."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preview", description=main.__doc__)
    parser.add_argument("image", nargs="?", metavar="IMAGE", help="an 8-bit picture; default one of scikit-image's")
    parser.add_argument("--bpp", type=float, default=0.1, help="bits per pixel of the whole file (default 0.1)")
    parser.add_argument("--out", default="preview.png", metavar="PATH")
    options = parser.parse_args(arguments)
    if not options.bpp > 0:
        raise BenchmarkError(f"--bpp {options.bpp}: must be above 0")
    picture = read(Path(options.image)) if options.image else default_picture()
    if picture.dtype != np.uint8:
        raise BenchmarkError(f"{options.image}: JPEG has no 16-bit pictures to compare with; give an 8-bit one")

    first = ours(picture, options.bpp)
    others, note = jpegs(picture, first.size)
    rows = [first, *others]
    print(table(picture, rows))
    if note:
        print(note)
    draw(picture, rows, Path(options.out))
    print(options.out)


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
