"""Made-up pictures: text, line art, flat areas, ramps and noise, so that a net never sees these for the first time."""

from __future__ import annotations

import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = string.ascii_letters + string.digits + "    .,:;-+()%"


def drawing(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random drawing, uint8 (side, side)."""
    ground = int(rng.integers(256))
    image = Image.new("L", (side, side), ground)
    kind = rng.choice(("text", "lines", "shapes", "noise", "ramp"))
    if kind == "text":
        _text(image, rng, ground)
    elif kind == "lines":
        _lines(image, rng)
    elif kind == "shapes":
        _shapes(image, rng)
    plane = np.asarray(image, np.float64)
    if kind == "noise":
        plane = plane + rng.normal(0, rng.uniform(2, 60), plane.shape)
    elif kind == "ramp":
        y, x = np.mgrid[0:side, 0:side] / side
        plane = 255 * (rng.random() + rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y)
    if kind != "noise" and rng.random() < 0.3:
        plane = plane + rng.normal(0, rng.uniform(1, 8), plane.shape)
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)


def coloured(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random drawing in colour, uint8 (side, side, 3): one between three colours, or one for each channel."""
    if rng.random() < 0.5:
        return np.stack([drawing(rng, side) for _ in range(3)], -1)
    colours = rng.integers(0, 256, (3, 3))
    palette = [np.interp(np.arange(256), (0, 128, 255), channel) for channel in colours.T]
    return np.rint(np.stack(palette, -1)).astype(np.uint8)[drawing(rng, side)]


def _text(image: Image.Image, rng: np.random.Generator, ground: int) -> None:
    draw, side = ImageDraw.Draw(image), image.width
    y = 0
    while y < side:
        size = int(rng.integers(9, 40))
        ink = int((ground + rng.integers(60, 196)) % 256)
        line = "".join(rng.choice(list(LETTERS), 3 * side // size))
        draw.text((int(rng.integers(-20, 20)), y), line, fill=ink, font=ImageFont.load_default(size))
        y += size + int(rng.integers(2, size))


def _lines(image: Image.Image, rng: np.random.Generator) -> None:
    draw, side = ImageDraw.Draw(image), image.width
    for _ in range(int(rng.integers(10, 120))):
        ends = [int(v) for v in rng.integers(0, side, 4)]
        draw.line(ends, fill=int(rng.integers(256)), width=int(rng.integers(1, 6)))


def _shapes(image: Image.Image, rng: np.random.Generator) -> None:
    draw, side = ImageDraw.Draw(image), image.width
    for _ in range(int(rng.integers(5, 60))):
        x, y = (int(v) for v in rng.integers(-20, side, 2))
        w, h = (int(v) for v in rng.integers(4, side // 3, 2))
        shape = draw.rectangle if rng.random() < 0.5 else draw.ellipse
        shape((x, y, x + w, y + h), fill=int(rng.integers(256)))
