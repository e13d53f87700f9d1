"""Fill in the worked examples of FORMAT.md section 14, by hand as make_vectors: `python -m tests.make_examples`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

import onboard
from onboard.decoder import Decoding
from onboard.layer_header import LAYER_STEPS, unpack_header
from onboard.layers import Layers
from onboard.model import default_model
from onboard.scan import scan
from onboard.tables import LOSSLESS_SETS, REFINE_SETS
from onboard.wire import pack
from tests.make_vectors import colour_scene, scene

FORMAT = Path(onboard.__file__).parent / "FORMAT.md"


def two_packets() -> list[bytes]:
    """A grey picture of 20x12 pixels, its layer 0 in one packet and its layer 1 in another."""
    (packet,), _ = scan(onboard.compress(scene(12, 20, 3), quality=40, image_id=0x1234, tag=0x5678))
    return [pack(replace(packet, sections=(s,))) for s in packet.sections]


def colour_packet() -> list[bytes]:
    """A colour picture of 10x9 pixels in one packet of six sections."""
    return [onboard.compress(colour_scene(9, 10, 4), quality=40, image_id=0x0102, tag=0x0304)]


def bar(height: int, width: int) -> np.ndarray:
    """A slope with a bright bar on it: uint8 (height, width)."""
    y, x = np.mgrid[:height, :width]
    return (60 + 3 * x + 2 * y + 70 * ((y > 1) & (y < 5) & (x > 3) & (x < 13))).astype(np.uint8)


def layered_packets() -> list[bytes]:
    """A grey picture of 16x8 pixels: a preview, a refinement of it, its right block without loss."""
    picture = bar(8, 16)
    preview = onboard.compress(picture, quality=0, image_id=1, tag=2)
    refinement = onboard.refine(picture, preview, budget=42)
    exact = onboard.refine(picture, preview + refinement, lossless=True, regions=[(8, 0, 8, 8)])
    return [preview, refinement, exact]


def hex_lines(data: bytes) -> str:
    return "\n".join(" ".join(f"{b:02X}" for b in data[i : i + 16]) for i in range(0, len(data), 16))


def rows(values: np.ndarray) -> str:
    return "\n".join(" ".join(f"{v:4d}" for v in line) for line in values)


def hex_of_packets(packets: list[bytes]) -> list[str]:
    """Every packet in hex and its sections."""
    parts = []
    for number, data in enumerate(packets, 1):
        parts.append(f"Packet {number}, {len(data)} bytes:\n\n```\n{hex_lines(data)}\n```\n")
        for s in scan(data)[0][0].sections:
            payload = s.payload.hex(" ").upper() or "nothing"
            parts.append(
                f"- plane {s.plane}, layer {s.layer}, phase {s.phase}, first block {s.first}: payload {payload}"
            )
        parts.append("")
    return parts


def layered_example(packets: list[bytes]) -> str:
    """The text between the markers: packets in hex, the coefficients, the picture after each packet."""
    parts = hex_of_packets(packets)
    refinement, exact = (scan(p)[0][0].sections[0] for p in packets[1:])
    header = unpack_header(refinement.payload, refinement.layer, REFINE_SETS)[0]
    parts.append(
        f"Packet 2: reference {header.reference}, set {header.table_set}, step {header.step}, which is "
        f"{LAYER_STEPS[header.step]} sixteenths. The coefficients of both blocks in scan order, up to the last that is "
        "not zero:\n"
    )
    layers = Layers(scan(packets[1])[0][0].description, 1)
    layers.add(refinement, scan(packets[1])[0][0].index)
    layers.parse()
    parsed = layers.sections[0][0]
    lines = []
    for own in np.split(parsed.coefficients, parsed.ends[:-1]):
        values = np.zeros((own[-1] & 63) + 1, int)
        values[own & 63] = own >> 6
        lines.append(" ".join(map(str, values)))
    parts.append("```\n" + "\n".join(lines) + "\n```\n")
    header = unpack_header(exact.payload, exact.layer, LOSSLESS_SETS)[0]
    parts.append(
        f"Packet 3: reference {header.reference}, set {header.table_set}, step {header.step}, a region with left "
        f"{header.left} and span - 1 = {(header.span or 0) - 1}.\n"
    )
    for count, title in ((1, "packet 1"), (2, "packets 1 and 2"), (3, "packets 1 to 3")):
        picture = onboard.decompress(b"".join(packets[:count]), enhance="plain").image
        parts.append(f"The picture after {title}:\n\n```\n{rows(picture)}\n```\n")
    return "\n".join(parts)


def example(packets: list[bytes]) -> str:
    """The text between the markers: packets in hex, what they mean, the picture's upper left corner."""
    parsed = [scan(p)[0][0] for p in packets]
    decoding = Decoding(parsed[0].description, default_model())
    decoding.add(parsed)
    parts = hex_of_packets(packets)
    for number, (state, latents) in enumerate(zip(decoding.planes, decoding.latents(), strict=True)):
        shape = (state.rows, state.columns)
        parts.append(
            f"Plane {number}, {state.rows} x {state.columns} blocks. Dequantised first latents, then groups:\n"
        )
        parts.append(f"```\n{rows(state.first.reshape(shape))}\n\n{rows(state.group.reshape(shape))}\n```\n")
        for block in np.flatnonzero(state.group):
            text = " ".join(map(str, latents.rest[block]))
            parts.append(f"Latents 2 to 8 of block {block} in raster order: {text}\n")
    picture = onboard.decompress(b"".join(packets), enhance="plain").image
    corner = picture[:4, :12] if picture.ndim == 2 else picture[:2, :4].reshape(2, -1)
    what = "first four rows, columns 0 to 11" if picture.ndim == 2 else "first two rows, columns 0 to 3, as R G B"
    parts.append(f"The picture's {what}:\n\n```\n{rows(corner)}\n```\n")
    return "\n".join(parts)


def map_of_layer_0() -> bytes:
    """The map of what is missing when only the second of two_packets() came."""
    return onboard.decompress(two_packets()[1], enhance="plain").missing.pack()


def examples() -> dict[str, str]:
    """What stands behind each marker."""
    return {
        "grey": example(two_packets()),
        "rgb": example(colour_packet()),
        "layers": layered_example(layered_packets()),
        "map": f"```\n{hex_lines(map_of_layer_0())}\n```\n",
    }


def main() -> None:
    text = FORMAT.read_text()
    for name, content in examples().items():
        marker = f"<!-- example: {name} -->"
        pattern = re.escape(marker) + r".*?(?=\n##|\Z)"
        text = re.sub(pattern, lambda _, m=marker, c=content: f"{m}\n\n{c}", text, flags=re.S)
    FORMAT.write_text(text.rstrip() + "\n")


if __name__ == "__main__":
    main()
