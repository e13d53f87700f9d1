"""Packets, models and whole pictures, read and decoded. FORMAT.md sections 2, 7 and 9."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np

from tests.reference.arithmetic import (
    conceal,
    enlarge,
    prediction,
    synthesise_block,
    window_inverse,
    ycc_to_rgb,
)
from tests.reference.base import parse_first, parse_rest
from tests.reference.codes import (
    BLOCK,
    SET_SYMBOLS,
    Bits,
    Codes,
    bits_of,
    ceil_div,
    clamp,
    clamp16,
    phase_grid,
    phase_order,
)


def crc32(data: bytes) -> int:
    """CRC-32 ISO-HDLC, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@cache
def quantiser_step(index: int) -> int:
    """round(64 * 2^(index / 32)) without a float: the largest s with s - 1/2 <= 64 * 2^(index / 32)."""
    step = 1
    while (2 * step + 1) ** 32 <= 128**32 << index:
        step += 1
    return step


@dataclass
class Section:
    plane: int
    layer: int
    phase: int
    first: int
    payload: bytes


@dataclass
class Packet:
    kind: int
    picture_id: int
    tag: int
    model_id: int
    width: int
    height: int
    scale_log2: int
    interleave_log2: int
    colour: int
    index: int
    window: tuple[int, int, int, int, int] | None = None  # depth, curve, no-data, low, high
    extensions: list[tuple[int, bytes]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def read_packet(data: bytes) -> Packet:
    """The packet that `data` is; ValueError when it is none."""
    if crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ValueError("checksum")
    bits = Bits(bits_of(data[:-4]))
    take = bits.take
    magic, version, kind, extended, windowed, reserved = take(12), take(4), take(4), take(1), take(1), take(2)
    if (magic, version, reserved) != (0x0BC, 1, 0):
        raise ValueError("magic, version or reserved flags")
    packet = Packet(kind, *(take(n) for n in (16, 16, 16, 16, 16, 3, 2, 3, 8)))
    if take(16) != len(data):
        raise ValueError("length")
    if windowed:
        packet.window = (take(4) + 1, take(3), take(1), take(16), take(16))
    if extended:
        while (type_ := take(8)) != 0:
            packet.extensions.append((type_, bytes(take(8) for _ in range(take(8)))))
    while kind == 0 and bits.at < len(bits.text):
        plane, layer, phase, sized, extra = take(4), take(4), take(2), take(1), take(2)
        first = take(3 + 8 * extra)
        length = take(16) if sized else (len(bits.text) - bits.at) // 8
        packet.sections.append(Section(plane, layer, phase, first, bytes(take(8) for _ in range(length))))
    if bits.overrun:
        raise ValueError("cut short")
    return packet


@dataclass
class Model:
    """The parts of a model file that a decoder needs."""

    set_limits: tuple[int, int]
    chroma_offset: int
    gains: list[int]
    matrix: list[list[int]]
    weights1: list[list[int]]
    gains1: list[int]
    weights2: list[list[int]]
    gains2: list[int]
    codes: list[Codes]


def read_model(data: bytes) -> Model:
    if data[:5] != b"OBCM\x01" or crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise ValueError("not a model")
    at = 0

    def take(size: int, signed: bool = False) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big", signed=signed)

    def matrix(rows: int, columns: int) -> list[list[int]]:
        return [[take(1, signed=True) for _ in range(columns)] for _ in range(rows)]

    take(5)
    limits, offset = (take(1), take(1)), take(1, signed=True)
    take(4)  # threshold, dead zone, price: the encoder's
    gains = [take(1) for _ in range(8)]
    take(512 + 16 + 8)  # the encoder's weights
    predictor = matrix(7, 8)
    weights1, gains1 = matrix(1, 64), [take(2)]
    weights2, gains2 = matrix(8, 64), [take(2) for _ in range(8)]
    codes = []
    for _ in range(3):
        pairs = [take(1) for _ in range(SET_SYMBOLS // 2)]
        codes.append(Codes([n for pair in pairs for n in (pair >> 4, pair & 15)]))
    if at + 4 != len(data):
        raise ValueError("length")
    return Model(limits, offset, gains, predictor, weights1, gains1, weights2, gains2, codes)


@cache
def shipped_model(model_id: int) -> Model:
    for file in (files("onboard") / "models").iterdir():
        if file.name.endswith(".obm") and int.from_bytes(file.read_bytes()[-2:], "big") == model_id:
            return read_model(file.read_bytes())
    raise ValueError(f"no model {model_id:04x}")


@dataclass
class Block:
    """What is known of one block: dequantised latents, None where nothing arrived."""

    first: int | None = None
    rest: list[int] | None = None  # None also for group 1
    first_index: int = 255  # of the packet that brought it, larger than any when none did
    rest_index: int = 255


def decode_plain(packets: Iterable[bytes], model: Model | None = None) -> list[np.ndarray]:
    """Packets of one picture, in any order, to its planes at coded scale: uint8 arrays, Y first.

    Of two copies of a block's layer the one with the lower packet index stays (of equal ones the first). Sections that
    do not parse are left out.
    """
    read = [p for p in map(read_packet, packets) if p.kind == 0]
    about = read[0]
    model = model or shipped_model(about.model_id)
    out = []
    for plane in range(3 if about.colour == 1 else 1):
        side = 1 << (about.scale_log2 + (plane > 0))
        height, width = ceil_div(about.height, side), ceil_div(about.width, side)
        rows, columns = ceil_div(height, BLOCK), ceil_div(width, BLOCK)
        blocks = [Block() for _ in range(rows * columns)]
        for packet in read:
            for section in packet.sections:
                if section.plane == plane and section.layer < 2:
                    apply_section(section, packet, model, blocks, rows, columns)
        pixels = plane_pixels(blocks, rows, columns, model)
        out.append(np.array([line[:width] for line in pixels[:height]], np.uint8))
    return out


def apply_section(section: Section, packet: Packet, model: Model, blocks: list[Block], rows: int, columns: int) -> None:
    if section.phase >= 1 << packet.interleave_log2:
        return
    grid = phase_grid(rows, columns, packet.interleave_log2, section.phase)
    if section.first >= grid[0] * grid[1] or (section.layer == 1 and section.first % 4):
        return
    index = packet.index
    if section.plane:
        index = clamp(index + model.chroma_offset, 0, 200)
    steps = [(quantiser_step(index) * gain + 32) >> 6 for gain in model.gains]
    codes = model.codes[sum(index >= limit for limit in model.set_limits)]
    where = phase_order(rows, columns, packet.interleave_log2, section.phase)[section.first :]
    if section.layer == 0:
        _, values = parse_first(section.payload, *grid, section.first, codes)
        for n, value in zip(where, values, strict=False):
            if packet.index < blocks[n].first_index:
                blocks[n].first_index = packet.index
                blocks[n].first = clamp16(value * steps[0])
    else:
        _, found = parse_rest(section.payload, *grid, section.first, codes)
        for n, (sign, values) in zip(where, found, strict=False):
            if packet.index < blocks[n].rest_index:
                blocks[n].rest_index = packet.index
                blocks[n].rest = [clamp16(v * s) for v, s in zip(values, steps[1:], strict=True)] if sign else None


def plane_pixels(blocks: list[Block], rows: int, columns: int, model: Model) -> list[list[int]]:
    first = conceal([[b.first for b in blocks[r * columns : (r + 1) * columns]] for r in range(rows)])
    pixels = [[0] * (BLOCK * columns) for _ in range(BLOCK * rows)]
    for n, block in enumerate(blocks):
        row, column = divmod(n, columns)
        if block.rest is None:
            values = synthesise_block([first[row][column]], model.weights1, model.gains1)
        else:
            foretold = prediction(first, row, column, model.matrix)
            rest = [clamp16(v + p) for v, p in zip(block.rest, foretold, strict=True)]
            values = synthesise_block([first[row][column], *rest], model.weights2, model.gains2)
        for y in range(BLOCK):
            pixels[BLOCK * row + y][BLOCK * column : BLOCK * column + BLOCK] = values[BLOCK * y : BLOCK * y + BLOCK]
    return pixels


def decode_picture(packets: Iterable[bytes], model: Model | None = None) -> np.ndarray:
    """Packets of one picture to the picture at full size."""
    packets = list(packets)
    about = read_packet(packets[0])
    planes = [
        enlarge(plane.tolist(), about.height, about.width, about.scale_log2 + (i > 0))
        for i, plane in enumerate(decode_plain(packets, model))
    ]
    if about.colour == 1:
        picture = np.array(
            [[ycc_to_rgb(*sample) for sample in zip(*lines, strict=True)] for lines in zip(*planes, strict=True)],
            np.uint8,
        )
    else:
        picture = np.array(planes[0], np.uint8)
    if about.window:
        _, curve, no_data, low, high = about.window
        table = [window_inverse(v, curve, bool(no_data), low, high) for v in range(256)]
        picture = np.array([table[v] for v in picture.ravel().tolist()], np.uint16).reshape(picture.shape)
    return picture
