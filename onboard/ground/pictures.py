"""Merging packets into pictures and choosing how to show them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onboard.arguments import joined
from onboard.decoder import Decoding
from onboard.errors import InputError, ModelError, NothingDecodableError
from onboard.ground.linear import Neighbours, decode_linear, find_neighbours
from onboard.ground.nets import NETS, stand_ins, unavailable
from onboard.ground.neural import Progress, decode_neural, load_nets, luma_has_layers, luma_part
from onboard.ground.recover import recover
from onboard.ground.refined import show
from onboard.missing import MissingMap, lines, map_of, section_grid
from onboard.model import Model, find_model
from onboard.planes import phase_order
from onboard.scan import ScanReport, scan
from onboard.wire import LAYER_FIRST, LAYER_REST, TIME, Description, ExtensionType, Kind, Packet, Section, quality_of

DEFAULT_MAX_PIXELS = 1 << 28
PACKET_COST = 1500  # bytes that the objects of a packet take beside its payload, measured
ENHANCE = ("auto", "plain", "linear", *NETS)


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes:
        image: uint8 or uint16, (height, width) or (height, width, 3).
        mask: uint8 per 8x8 luma block at full size: 0 concealed, n + 1 the highest layer that was applied.
        report: what was received and how the picture was made; plain values only, ready for JSON.
        missing: which blocks have not arrived, of layers 0 and 1 and of those above that are sent of all blocks.
    """

    image: np.ndarray
    mask: np.ndarray
    report: dict[str, Any]
    missing: MissingMap

    @property
    def complete(self) -> bool:
        """True when every block of every layer the encoder sends for a whole picture has arrived."""
        return bool(self.report["received"] == 1.0 and not self.report["packets"]["bad_sections"])


# Index, erasure group and index within it, sections, body: the entry counts, for a resent copy is another packet to
# a group
Key = tuple[int, tuple[int, int] | None, tuple[Section, ...], bytes]


@dataclass
class Store:
    """Packets sorted into pictures. A picture is one description: id, encoding tag, model, size, scale, ..."""

    models: dict[int, Model] = field(default_factory=dict)
    pictures: dict[Description, dict[Key, Packet]] = field(default_factory=dict)
    parity: dict[Description, dict[Key, Packet]] = field(default_factory=dict)
    duplicates: dict[Description, int] = field(default_factory=dict)
    sources: dict[str, ScanReport] = field(default_factory=dict)
    origins: dict[Description, str] = field(default_factory=dict)  # the source that brought a picture's first packet
    skipped_kinds: int = 0
    neighbours: Neighbours | None = None  # beside the shipped ones
    nets: Path | None = None  # folder of nets, before the shipped ones
    limit: int | None = None  # most bytes that packets may take in memory, about; None for no limit
    kept: int = 0
    refused: int = 0  # packets beyond the limit

    def add(self, data: bytes, source: str = "data") -> ScanReport:
        """Take all packets out of a run of bytes; return what else was met there."""
        packets, report = scan(data)
        self.sources.setdefault(source, ScanReport()).merge(report)
        for packet in packets:
            if packet.kind not in (Kind.SOURCE, Kind.PARITY):
                self.skipped_kinds += 1
                continue
            kept = self.pictures if packet.kind == Kind.SOURCE else self.parity
            known = kept.setdefault(packet.description, {})
            self.origins.setdefault(packet.description, source)
            key = (packet.index, packet.erasure, packet.sections, packet.body)
            if key in known:
                self.duplicates[packet.description] = self.duplicates.get(packet.description, 0) + 1
            elif self.limit is not None and self.kept + PACKET_COST + packet_bytes(packet) > self.limit:
                self.refused += 1
            else:
                self.kept += PACKET_COST + packet_bytes(packet)
                known[key] = packet
        return report

    def recovered(self, description: Description) -> list[Packet]:
        """Source packets of a picture that did not come, restored out of those that did."""
        parity = self.parity.get(description)
        return recover(self.pictures.get(description, {}).values(), parity.values()) if parity else []

    def descriptions(self) -> list[Description]:
        """The pictures at hand, by id. Raises NothingDecodableError, saying what was met instead."""
        found = set(self.pictures) | {d for d in self.parity if d not in self.pictures and self.recovered(d)}
        if not found:
            met = {
                name: sum(getattr(r, name) for r in self.sources.values())
                for name in ("corrupt", "other_versions", "unknown", "skipped_bytes")
            }
            where = f"{', '.join(self.sources)}: " if self.sources else ""
            raise NothingDecodableError(
                f"{where}no usable packet: {met['corrupt']} corrupt, {met['other_versions']} of another version, "
                f"{met['unknown'] + self.skipped_kinds} of unknown kinds, {sum(map(len, self.parity.values()))} parity "
                f"packets (too few alone), {met['skipped_bytes']} bytes skipped; give what onboard-compress wrote, or "
                "a capture of it"
            )
        return sorted(found, key=lambda d: (d.picture_id, d.tag, d.width, d.height))


def packet_bytes(packet: Packet) -> int:
    """Bytes of a packet that its Python object keeps."""
    return len(packet.body) + len(packet.protected) + sum(len(s.payload) for s in packet.sections)


def decode_picture(
    store: Store,
    description: Description,
    *,
    enhance: str = "auto",
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Decode one picture of a store. Raises UnknownModelError, InputError."""
    if enhance not in ENHANCE:
        raise InputError(f"enhance {enhance!r}: must be one of {', '.join(ENHANCE)}")
    limit = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    if description.width * description.height > limit:
        raise InputError(
            f"{description.width}x{description.height} pixels are more than {limit}, "
            "the limit on memory; raise it if you trust the source"
        )
    decoding = Decoding(description, find_model(description.model_id, store.models))
    received = list(store.pictures.get(description, {}).values())
    recovered = store.recovered(description)
    packets = received + recovered
    decoding.add(packets)
    refined = decoding.refined() if decoding.layers.any else None
    neighbours = find_neighbours(description.model_id, store.neighbours)
    used, why = _choose(enhance, luma_part(decoding, refined), description, neighbours, store.nets)
    if store.neighbours not in (None, neighbours):
        why += f"; the matrices given are for model {store.neighbours.model_id:04x}"
    make_base: Callable[[], list[np.ndarray]] = decoding.plain_full
    if used in NETS:
        make_base = partial(decode_neural, decoding, used, neighbours, refined, progress, store.nets)
    elif used == "linear" and neighbours is not None:
        make_base = partial(decode_linear, decoding, neighbours)
    report = {
        "picture_id": description.picture_id,
        "tag": description.tag,
        "model": f"{description.model_id:04x}",
        "width": description.width,
        "height": description.height,
        "colour": description.colour.name.lower(),
        "depth": description.window.depth if description.window else 8,
        "scale": description.scale,
        "interleave": description.interleave,
        "quality": sorted({quality_of(p.index) for p in packets}),
        "received": decoding.coverage(),
        "received_of_layers": [LAYER_FIRST, LAYER_REST, *sorted(decoding.layers.whole)],
        "decoder": used,
        "why": why,
        "packets": {
            "used": len(received),
            "recovered": len(recovered),
            "parity": len(store.parity.get(description, {})),
            "duplicates": store.duplicates.get(description, 0),
            "bad_sections": decoding.bad_sections,
            "skipped_sections": decoding.skipped_sections,
        },
        "extensions": read_extensions(packets),
    }
    image, mask, higher = show(decoding, make_base, refined, used in NETS and luma_has_layers(description))
    if used == "linear" and refined is not None:
        report["why"] = f"{why}; blocks with higher layers are as these have them"
    return Decoded(image, mask, report | higher, missing_of(decoding))


def _choose(
    enhance: str, part: str, description: Description, neighbours: Neighbours | None, nets: Path | None
) -> tuple[str, str]:
    """(decoder, why). Raises InputError when a net was asked for by name that cannot be run.

    A net's file that is none is passed over with "auto" only: whoever named the net learns of it when it is run.
    """
    model_id = description.model_id
    reasons: list[str] = []
    if enhance in (*NETS, "auto"):
        for name in stand_ins(NETS[0] if enhance == "auto" else enhance):
            obstacle = unavailable(name, part, model_id, nets)
            if obstacle is None and enhance == "auto":
                obstacle = _broken(name, part, description, nets)
            if obstacle is None:
                return name, "; ".join(reasons) or ("the best decoder at hand" if enhance == "auto" else "asked for")
            reasons.append(obstacle)
        if enhance != "auto":
            raise InputError(f"enhance {enhance}: {reasons[-1]}")
    if enhance != "plain":
        if neighbours is not None:
            return "linear", "; ".join(reasons) or "asked for"
        reasons.append(f"no neighbour matrices for model {model_id:04x}")
    return "plain", "; ".join(reasons) or "asked for"


def _broken(name: str, part: str, description: Description, nets: Path | None) -> str | None:
    """What is wrong with the files of a net; None when it can be run."""
    try:
        load_nets(name, part, description, nets)
    except ModelError as e:
        return str(e)
    return None


def missing_of(decoding: Decoding) -> MissingMap:
    """The missing map of what has been received of a picture."""
    d, layers = decoding.description, decoding.layers
    has: dict[tuple[int, int], np.ndarray] = {}
    for plane, state in enumerate(decoding.planes):
        has |= {(plane, LAYER_FIRST): state.has_first, (plane, LAYER_REST): state.has_rest}
        has |= {(plane, layer): layers.arrived(layer, plane) for layer in layers.whole}
    has = {key: got for key, got in has.items() if not got.all()}
    parts: list[tuple[int, np.ndarray]] = []
    for line in lines(d, max((layer for _, layer in has), default=LAYER_FIRST)):
        got = has.get((line.plane, line.layer))
        if got is None:
            continue
        grid = section_grid(d, line.plane, line.layer)
        missing = ~got[phase_order(*grid, d.interleave_log2, line.phase)]
        padded = np.concatenate([missing, np.zeros(-line.blocks % line.unit, bool)])
        parts.append((line.begin, padded.reshape(-1, line.unit).max(1)))
    return map_of(d, parts)


def decode_one(
    data: bytes | Iterable[bytes],
    *,
    enhance: str = "auto",
    max_pixels: int | None = None,
    models: Iterable[Model] = (),
    nets: Path | None = None,
) -> Decoded:
    """The one picture in the data; see onboard.decompress."""
    store = Store({m.model_id: m for m in models}, nets=nets)
    store.add(joined(data))
    found = store.descriptions()
    if len(found) > 1:
        ids = ", ".join(f"{d.picture_id}/{d.tag:04x}" for d in found)
        raise InputError(f"packets of {len(found)} pictures ({ids}): use onboard.ground.Store to decode each")
    return decode_picture(store, found[0], enhance=enhance, max_pixels=max_pixels)


def read_extensions(packets: Iterable[Packet]) -> dict[str, Any]:
    """Known extensions in words: source id, capture time (milliseconds since 1970 UTC), metadata."""
    found: dict[str, Any] = {}
    for packet in packets:
        for e in packet.extensions:
            if e.type == ExtensionType.SOURCE_ID:
                found["source_id"] = e.data.decode("ascii", "replace")
            elif e.type == ExtensionType.METADATA:
                found["metadata"] = e.data.decode("utf-8", "replace")
            elif e.type == ExtensionType.CAPTURE_TIME:
                try:
                    found["capture_time_ms"] = TIME.unpack(e.data)[0]
                except struct.error:
                    found["capture_time_ms"] = None
    return found
