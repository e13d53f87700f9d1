"""Make the golden vectors of the present format and model: `python -m tests.make_vectors`.

Run by hand only, when the format or the shipped model changes. Vectors that exist are never overwritten: a released
stream decodes for ever. Every vector is a stream, the plain picture it decodes to and the mask (FORMAT.md section 16).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import onboard
from onboard.layer_header import FIRST_REFINEMENT, NO_REFERENCE
from onboard.model import default_model
from onboard.scan import scan
from onboard.wire import LAYER_REST, Packet, pack

FOLDER = Path(__file__).parent / "vectors"


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Asymmetric picture with slopes, edges, a texture and a little noise: uint8 (height, width), integers only."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    state = (x * 7919 + y * 104729 + seed * 1299709) * 2654435761 % 4294967296
    noise = (state >> 16) % 13
    slope = (x * 97 // max(width, 1) + y * 61 // max(height, 1)) % 160
    disc = 70 * ((x - width // 3) ** 2 + (y - height // 2) ** 2 < (min(height, width) // 4 + 1) ** 2)
    stripes = 24 * ((x + 2 * y) // 5 % 2) * (x > 2 * width // 3)
    return np.clip(slope + disc + stripes + noise + seed % 40, 0, 255).astype(np.uint8)


def colour_scene(height: int, width: int, seed: int) -> np.ndarray:
    return np.stack([scene(height, width, seed + i) // (i + 1) + 20 * i for i in range(3)], -1)


def deep_scene(height: int, width: int, seed: int) -> np.ndarray:
    """Twelve bits, with a corner of zeros that mean no data."""
    deep = scene(height, width, seed).astype(np.uint16) * 13 + 300
    deep[: height // 3, : width // 4] = 0
    return deep


def deep_colour_scene(height: int, width: int, seed: int) -> np.ndarray:
    """Twelve bits in three channels that differ."""
    channels = [deep_scene(height, width, seed + i) // (i + 1) + 150 * i for i in range(3)]
    return np.stack(channels, -1).astype(np.uint16)


# name: (picture, options of onboard.compress)
CASES = {
    "grey": (lambda: scene(83, 121, 3), {"quality": 40}),
    "grey-packets": (lambda: scene(200, 317, 5), {"quality": 55, "packet_size": 120, "interleave": 4}),
    "grey-two-phases": (lambda: scene(97, 150, 6), {"quality": 30, "packet_size": 90, "interleave": 2}),
    "grey-fine": (lambda: scene(45, 70, 7), {"quality": 100}),
    "grey-coarse": (lambda: scene(160, 240, 8), {"quality": 0}),
    "grey-small": (lambda: scene(130, 333, 9), {"quality": 45, "scale": 4}),
    "rgb": (lambda: colour_scene(75, 110, 11), {"quality": 50}),
    "rgb-packets": (lambda: colour_scene(121, 203, 12), {"quality": 35, "packet_size": 200, "scale": 2}),
    "deep": (lambda: deep_scene(90, 140, 13), {"quality": 50, "no_data": True}),
    "deep-sqrt": (lambda: deep_scene(61, 77, 14), {"quality": 60, "curve": "sqrt", "no_data": False}),
    "extensions": (
        lambda: scene(40, 56, 15),
        {"quality": 40, "source_id": "OB1TST", "capture_time_ms": 1234567890123, "metadata": "frame 7, nadir"},
    ),
    "pixel": (lambda: scene(1, 1, 16), {"quality": 40}),
}


# name: (picture, options of onboard.compress, options of each onboard.refine of what was sent before)
LAYER_CASES = {
    "grey-spent": (lambda: scene(83, 121, 21), {"bpp": 1.0, "packet_size": 300, "interleave": 1}, []),
    "grey-spent-phases": (lambda: scene(97, 150, 22), {"bpp": 0.8, "packet_size": 150, "interleave": 4}, []),
    "rgb-spent": (lambda: colour_scene(75, 110, 23), {"bpp": 1.5}, []),
    "deep-refined": (lambda: deep_scene(90, 140, 24), {"bpp": 1.2, "no_data": True}, []),
    "grey-region-fitted": (
        lambda: scene(150, 333, 25),
        {"quality": 30, "scale": 2},
        [{"budget": 1500, "regions": [(240, 30, 70, 50)], "packet_size": 200}, {"bpp": 0.5}],
    ),
    "rgb-region-fitted": (
        lambda: colour_scene(121, 203, 26),
        {"quality": 30, "interleave": 2},
        [{"bpp": 1, "regions": [(20, 30, 71, 50), (100, 60, 80, 61)]}, {"lossless": True, "regions": [(0, 0, 30, 40)]}],
    ),
    "deep-rgb": (lambda: deep_colour_scene(75, 110, 31), {"quality": 125, "packet_size": 400, "interleave": 2}, []),
    "deep-rgb-region": (
        lambda: deep_colour_scene(60, 90, 32),
        {"quality": 40, "scale": 2, "curve": "sqrt", "no_data": True},
        [{"bpp": 100, "regions": [(20, 10, 31, 20)]}, {"lossless": True, "regions": [(60, 30, 20, 20)]}],
    ),
    "grey-lossless": (lambda: scene(61, 90, 27), {"lossless": True, "packet_size": 900}, []),
    "rgb-lossless": (lambda: colour_scene(45, 70, 28), {"lossless": True, "interleave": 4}, []),
    "deep-lossless": (lambda: deep_scene(50, 61, 29), {"lossless": True}, []),
}


def some(data: bytes, wanted: Callable[[int, Packet], bool]) -> bytes:
    """The packets of a stream, by number, that arrived."""
    return b"".join(pack(p) for number, p in enumerate(scan(data)[0]) if wanted(number, p))


def without(data: bytes, plane: int, layer: int, keep: int = 0) -> bytes:
    """A stream without a layer of a plane, but for so many of its sections."""
    kept, met = [], 0
    for packet in scan(data)[0]:
        sections = []
        for section in packet.sections:
            hit = (section.plane, section.layer) == (plane, layer)
            met += hit
            if not hit or met <= keep:
                sections.append(section)
        kept.append(pack(replace(packet, sections=tuple(sections))))
    return b"".join(kept)


def referring_to_nothing(data: bytes) -> bytes:
    """A stream whose first section of layer 2 says that it refines mid-grey."""
    changed, done = [], False
    for packet in scan(data)[0]:
        sections = list(packet.sections)
        for i, section in enumerate(sections):
            if section.layer == FIRST_REFINEMENT and not done:
                head = bytes((NO_REFERENCE << 4 | section.payload[0] & 15,))
                sections[i], done = replace(section, payload=head + section.payload[1:]), True
        changed.append(pack(replace(packet, sections=tuple(sections))))
    return b"".join(changed)


def drawing(height: int, width: int) -> np.ndarray:
    """A few large areas of one tone and two lines: what is flat for many blocks."""
    y, x = np.mgrid[:height, :width]
    return (40 + 90 * (x > width // 3) + 60 * (y > height // 2) + 50 * (abs(2 * x - 3 * y) < 3)).astype(np.uint8)


def two_indices() -> bytes:
    """One picture in packets of two qualities: of some blocks a layer came twice."""
    coarse, fine = (
        onboard.compress(scene(97, 150, 41), quality=q, packet_size=60, interleave=2, image_id=7, tag=9)
        for q in (20, 45)
    )
    return some(fine, lambda number, _: number % 3 > 0) + some(coarse, lambda number, _: number % 4 > 0)


def partly_refined(data: bytes) -> bytes:
    """A stream in colour of whose layer 2 a part of Cb came and nothing of Cr."""
    return without(without(data, 1, FIRST_REFINEMENT, keep=2), 2, FIRST_REFINEMENT)


# name: what arrived
DAMAGED_CASES: dict[str, Callable[[], bytes]] = {
    "grey-lost": lambda: some(stream("grey-packets"), lambda number, _: number % 5 not in (1, 4)),
    "grey-lost-half-size": lambda: some(
        onboard.compress(scene(200, 317, 45), quality=45, packet_size=60, interleave=2, scale=2),
        lambda number, _: number % 4 not in (0, 3),
    ),
    "rgb-lost": lambda: some(
        onboard.compress(colour_scene(121, 203, 46), quality=35, packet_size=80, interleave=4),
        lambda number, _: number % 3 != 1,
    ),
    "rgb-lost-detail": lambda: without(stream("rgb"), 0, LAYER_REST),
    "grey-two-indices": two_indices,
    "rgb-lost-chroma": lambda: partly_refined(onboard.compress(colour_scene(75, 110, 42), bpp=3, packet_size=100)),
    "deep-rgb-lost-chroma": lambda: partly_refined(
        onboard.compress(deep_colour_scene(75, 110, 43), quality=125, packet_size=200)
    ),
    "grey-mid-grey": lambda: referring_to_nothing(stream("grey-spent")),
    "grey-parity-lost": lambda: some(
        onboard.compress(scene(120, 170, 44), quality=45, packet_size=90, parity=(40, 20)),
        lambda number, _: number not in (0, 4),
    ),
    "grey-lossless-flat": lambda: onboard.compress(drawing(150, 333), lossless=True),
}


def stream(name: str) -> bytes:
    """What the present encoder writes for a case, or what came of it."""
    if name in DAMAGED_CASES:
        return DAMAGED_CASES[name]()
    picture, options, refinements = LAYER_CASES[name] if name in LAYER_CASES else (*CASES[name], [])
    data = onboard.compress(picture(), **options)  # type: ignore[arg-type]
    for more in refinements:
        data += onboard.refine(picture(), data, **more)  # type: ignore[arg-type]
    return data


NAMES = (*CASES, *LAYER_CASES, *DAMAGED_CASES)


def digest(a: np.ndarray) -> str:
    """SHA-256 of an array's shape and little-endian samples."""
    text = f"{a.shape} {a.dtype.name} ".encode()
    return hashlib.sha256(text + a.astype(a.dtype.newbyteorder("<")).tobytes()).hexdigest()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    model = f"{default_model().model_id:04x}"
    for name in NAMES:
        path = FOLDER / f"{name}-{model}.obp"
        if path.exists():
            print(f"{path.name}: kept")
            continue
        data = stream(name)
        decoded = onboard.decompress(data, enhance="plain")
        path.write_bytes(data)
        facts = {"case": name, "model": model, "image": digest(decoded.image), "mask": digest(decoded.mask)}
        path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
        print(f"{path.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
