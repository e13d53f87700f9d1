"""Fill in the worked examples of FORMAT.md section 14, by hand as make_vectors: `python -m tests.make_examples`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

import onboard
from onboard.decoder import Decoding
from onboard.model import default_model
from onboard.wire import pack, scan
from tests.make_vectors import colour_scene, scene

FORMAT = Path(onboard.__file__).parent / "FORMAT.md"


def two_packets() -> list[bytes]:
    """A grey picture of 20x12 pixels, its layer 0 in one packet and its layer 1 in another."""
    (packet,), _ = scan(onboard.compress(scene(12, 20, 3), quality=40, image_id=0x1234, tag=0x5678))
    return [pack(replace(packet, sections=(s,))) for s in packet.sections]


def colour_packet() -> list[bytes]:
    """A colour picture of 10x9 pixels in one packet of six sections."""
    return [onboard.compress(colour_scene(9, 10, 4), quality=40, image_id=0x0102, tag=0x0304)]


def hex_lines(data: bytes) -> str:
    return "\n".join(" ".join(f"{b:02X}" for b in data[i : i + 16]) for i in range(0, len(data), 16))


def rows(values: np.ndarray) -> str:
    return "\n".join(" ".join(f"{v:4d}" for v in line) for line in values)


def example(packets: list[bytes]) -> str:
    """The text between the markers: packets in hex, what they mean, the picture's upper left corner."""
    parsed = [scan(p)[0][0] for p in packets]
    decoding = Decoding(parsed[0].description, default_model())
    decoding.add(parsed)
    parts = []
    for number, (data, packet) in enumerate(zip(packets, parsed, strict=True), 1):
        parts.append(f"Packet {number}, {len(data)} bytes:\n\n```\n{hex_lines(data)}\n```\n")
        for s in packet.sections:
            payload = s.payload.hex(" ").upper() or "nothing"
            parts.append(
                f"- plane {s.plane}, layer {s.layer}, phase {s.phase}, first block {s.first}: payload {payload}"
            )
        parts.append("")
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


def main() -> None:
    text = FORMAT.read_text()
    for name, packets in (("grey", two_packets()), ("rgb", colour_packet())):
        marker = f"<!-- example: {name} -->"
        pattern = re.escape(marker) + r".*?(?=\n##|\Z)"
        text = re.sub(pattern, lambda _, m=marker, p=packets: f"{m}\n\n{example(p)}", text, flags=re.S)
    FORMAT.write_text(text.rstrip() + "\n")


if __name__ == "__main__":
    main()
