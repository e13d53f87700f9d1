"""The twins of what is done with samples and latents. FORMAT.md sections 6 to 8."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference.codes import BLOCK, ENLARGER, Rows, ceil_div, clamp, rounded_mean

# --- the board's arithmetic -----------------------------------------------------------------------------------------


def block_of(pixels: Rows, row: int, column: int) -> list[int]:
    """The 64 samples of a block; outside the plane the nearest sample inside."""
    height, width = len(pixels), len(pixels[0])
    return [
        int(pixels[min(BLOCK * row + y, height - 1)][min(BLOCK * column + x, width - 1)])
        for y in range(BLOCK)
        for x in range(BLOCK)
    ]


def latent(product: int, multiplier: int, shift: int) -> int:
    """Accumulator to latent in sixteenths, rounded to nearest, halves away from zero."""
    size = (abs(product) * multiplier + (1 << (shift - 1))) >> shift
    return -size if product < 0 else size


def analyse(
    pixels: Rows, weights: Rows, multiplier: Sequence[int], shift: Sequence[int], norm: int
) -> tuple[list[int], list[list[int]]]:
    """What G1 leaves of every block's energy, and all eight latents of every block."""
    left, latents = [], []
    for row in range(ceil_div(len(pixels), BLOCK)):
        for column in range(ceil_div(len(pixels[0]), BLOCK)):
            centred = [v - 128 for v in block_of(pixels, row, column)]
            products = [sum(int(w) * c for w, c in zip(unit, centred, strict=True)) for unit in weights]
            left.append(sum(c * c for c in centred) - (products[0] ** 2 * norm >> 40))
            latents.append([latent(p, int(m), int(s)) for p, m, s in zip(products, multiplier, shift, strict=True)])
    return left, latents


def nearest_multiple(value: int, step: int) -> int:
    """How many steps, rounded to nearest, halves away from zero."""
    m = (abs(value) + step // 2) // step
    return -m if value < 0 else m


def quantise_first(first: Sequence[int], step: int) -> tuple[list[int], list[int]]:
    q = [nearest_multiple(int(z), step) for z in first]
    return q, [m * step for m in q]


def quantise_rest(
    latents: Sequence[int], foretold: Sequence[int], steps: Sequence[int], dead_zone: int, price: int
) -> tuple[list[int], bool]:
    """Quantised residuals of latents 2 to 8 of a candidate block, and whether they are worth their bits."""
    out, gain, bits = [], 0, 4
    for z, p, step in zip(map(int, latents), map(int, foretold), map(int, steps[1:]), strict=True):
        m = (abs(z - p) + (step * dead_zone >> 8)) // step
        bits += 2 * m.bit_length()
        m = -m if z < p else m
        out.append(m)
        gain += z * z - (z - p - m * step) ** 2
    return out, gain > int(steps[1]) ** 2 * price * bits >> 8


def softened(plane: Rows, top: int, limit: int) -> list[list[int]]:
    """Small steps at the edges of 8x8 blocks softened: columns of blocks first, then rows."""

    def across(lines: Rows) -> list[list[int]]:
        out = [list(map(int, line)) for line in lines]
        for line in out:
            for x in range(BLOCK, len(line), BLOCK):
                step = line[x] - line[x - 1]
                for i in range(3):
                    share = ((3 - i) * step + 4) // 8 if abs(step) < limit else 0
                    line[x - 1 - i] = clamp(line[x - 1 - i] + share, 0, top)
                    if x + i < len(line):
                        line[x + i] = clamp(line[x + i] - share, 0, top)
        return out

    def turned(lines: Rows) -> list[list[int]]:
        return [list(column) for column in zip(*lines, strict=True)]

    return turned(across(turned(across(plane))))


# --- the normative decoder ------------------------------------------------------------------------------------------


def prediction(first: Rows, row: int, column: int, matrix: Rows) -> list[int]:
    """What the first latents around a block foretell of its latents 2 to 8."""
    rows, columns = len(first), len(first[0])
    centre = int(first[row][column])
    differences = [
        int(first[clamp(row + dy, 0, rows - 1)][clamp(column + dx, 0, columns - 1)]) - centre
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
    ]
    return [(sum(int(m) * d for m, d in zip(line, differences, strict=True)) + 128) >> 8 for line in matrix]


def synthesise_block(coefficients: Sequence[int], weights: Rows, gains: Sequence[int]) -> list[int]:
    """Latents to 64 samples; group 1 has one of each, group 2 eight."""
    sums = [0] * 64
    for value, unit, gain in zip(coefficients, weights, gains, strict=True):
        c = (int(value) * int(gain) + 128) >> 8
        sums = [s + int(w) * c for s, w in zip(sums, unit, strict=True)]
    return [clamp(128 + ((s + 32768) >> 16), 0, 255) for s in sums]


def pull(cells: list[list[int | None]]) -> list[list[int | None]]:
    """Half the size: mean of the known cells of each 2x2 square, None where there is none."""
    out: list[list[int | None]] = []
    for y in range(0, len(cells), 2):
        line: list[int | None] = []
        for x in range(0, len(cells[0]), 2):
            known = [v for row in cells[y : y + 2] for v in row[x : x + 2] if v is not None]
            line.append(rounded_mean(known) if known else None)
        out.append(line)
    return out


def push(cells: list[list[int | None]], coarse: list[list[int]]) -> list[list[int]]:
    """Unknown cells from the four nearest cells of the coarser level, weights 9, 3, 3, 1."""

    def other(at: int, size: int) -> int:
        return clamp(at // 2 + (1 if at % 2 else -1), 0, size - 1)

    out = []
    for y, row in enumerate(cells):
        line = []
        for x, value in enumerate(row):
            near, far = coarse[y // 2], coarse[other(y, len(coarse))]
            x0, x1 = x // 2, other(x, len(near))
            line.append((9 * near[x0] + 3 * near[x1] + 3 * far[x0] + far[x1] + 8) >> 4 if value is None else value)
        out.append(line)
    return out


def relax(cells: list[list[int]], fixed: list[list[int | None]]) -> list[list[int]]:
    """Every cell that is not fixed becomes the mean of its neighbours as they were."""
    out = []
    for y, row in enumerate(cells):
        line = []
        for x, value in enumerate(row):
            near = [
                cells[j][i]
                for j, i in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                if 0 <= j < len(cells) and 0 <= i < len(row)
            ]
            line.append(rounded_mean(near) if fixed[y][x] is None and near else value)
        out.append(line)
    return out


def conceal(first: list[list[int | None]]) -> list[list[int]]:
    """First latents with the missing ones (None) filled in; all zero when nothing arrived."""
    if all(v is not None for row in first for v in row):
        return [list(row) for row in first]
    levels = [first]
    while len(levels[-1]) > 1 or len(levels[-1][0]) > 1:
        levels.append(pull(levels[-1]))
    filled = [[v or 0 for v in row] for row in levels.pop()]
    while levels:
        filled = push(levels.pop(), filled)
    for _ in range(8):
        filled = relax(filled, first)
    return filled


# --- samples --------------------------------------------------------------------------------------------------------


def box_average(pixels: Rows, side: int) -> list[list[int]]:
    """Mean of squares, halves rounded up; outside the picture the nearest sample inside."""
    height, width = len(pixels), len(pixels[0])
    return [
        [
            rounded_mean(
                [
                    int(pixels[min(side * y + j, height - 1)][min(side * x + i, width - 1)])
                    for j in range(side)
                    for i in range(side)
                ]
            )
            for x in range(ceil_div(width, side))
        ]
        for y in range(ceil_div(height, side))
    ]


def rgb_to_ycc(r: int, g: int, b: int, depth: int = 8) -> tuple[int, int, int]:
    half = 1 << (depth - 1)
    return (
        (19595 * r + 38470 * g + 7471 * b + 32768) >> 16,
        (-11059 * r - 21709 * g + 32768 * b + (half << 16) + 32767) >> 16,
        (32768 * r - 27439 * g - 5329 * b + (half << 16) + 32767) >> 16,
    )


def ycc_to_rgb(y: int, cb: int, cr: int, depth: int = 8) -> tuple[int, int, int]:
    half, top = 1 << (depth - 1), (1 << depth) - 1
    u, v = cb - half, cr - half
    return (
        clamp(y + ((91881 * v + 32768) >> 16), 0, top),
        clamp(y - ((22554 * u + 46802 * v + 32768) >> 16), 0, top),
        clamp(y + ((116130 * u + 32768) >> 16), 0, top),
    )


def double(line: Sequence[int], count: int, top: int = 255) -> list[int]:
    """A row of samples at twice the density, of which `count` are kept: the even ones lean left, the odd ones right."""
    out = []
    for k in range(count):
        j, towards = k // 2, 1 if k % 2 else -1
        total = 128
        for t, weight in enumerate(ENLARGER):
            total += weight * int(line[clamp(j + towards * (2 - t), 0, len(line) - 1)])
        out.append(clamp(total >> 8, 0, top))
    return out


def transpose(rows: Rows) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)]


def enlarge(plane: Rows, height: int, width: int, halvings: int, top: int = 255) -> Rows:
    """A plane that was halved so often, brought back to height x width: rows first, then columns, level by level."""
    for level in reversed(range(halvings)):
        h, w = ceil_div(height, 1 << level), ceil_div(width, 1 << level)
        plane = [double(line, w, top) for line in plane]
        plane = transpose([double(column, h, top) for column in transpose(plane)])
    return plane


def window_inverse(value: int, curve: int, no_data: bool, low: int, high: int) -> int:
    """Plane value to source sample, rounded to nearest, halves up."""
    if no_data and value < 8:
        return 0
    floor = 16 if no_data else 0
    part, whole = max(value - floor, 0), 255 - floor
    if curve == 1:
        part, whole = part * part, whole * whole
    return low + (2 * (high - low) * part + whole) // (2 * whole)


def chroma_to_depth(value: int, depth: int, no_data: bool, low: int, high: int) -> int:
    """Sample of a base's Cb or Cr to the depth of the source, rounded to nearest, halves up."""
    levels = 239 if no_data else 255
    half = 1 << (depth - 1)
    return clamp(half + (2 * (high - low) * (value - 128) + levels) // (2 * levels), 0, 2 * half - 1)


def fingerprint(residual: Sequence[int], first: Sequence[int], seed: int) -> int:
    """Sum, modulo 2^32, of what every block's place, residual and first latent make when they are well mixed."""
    total = seed
    for block, (r, z) in enumerate(zip(residual, first, strict=True)):
        mixed = ((seed + block) * 0x1E3779B1 + r * 0x45EBCA6B + z) % 2**32
        mixed = (mixed ^ mixed >> 16) * 0x7FEB352D % 2**32
        total += mixed ^ mixed >> 15
    return total % 2**32
