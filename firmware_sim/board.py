"""The board's half of a mission: whether a frame fits the device, its packets, and what is sent again."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from firmware_sim.build import Limits, host_compiler, host_library
from firmware_sim.devices import COMPUTER, counts
from firmware_sim.encoder import Encoder, config_of
from firmware_sim.energy import Cost, encoder_bytes, encoding_cost
from firmware_sim.frames import Frame, luma
from firmware_sim.link import split
from firmware_sim.mission import Setup
from onboard import compress, compress_stream
from onboard.errors import InputError
from onboard.missing import MissingMap
from onboard.model import default_model
from onboard.wire import LAYER_FIRST, PARITY, Colour, Description, Kind, Packet, unpack

STRIP = 8  # camera rows that a microcontroller holds


@dataclass(frozen=True)
class Need:
    """What a frame takes of a device: bytes of RAM and flash, time and energy.

    Attributes:
        parts: what the RAM is made of, in words.
    """

    ram: int
    flash: int
    cost: Cost
    parts: str


@dataclass
class Preview:
    """The packets of a frame, in the encoder's order, and what follows from them.

    Attributes:
        levels: lowest layer in each packet; of a parity packet, the layer that it protects.
        need: what the encoding took. ready: when it was done.
        holes: spans of units that a quota left out; a missing map always names them.
    """

    frame: Frame
    gray: bool
    packets: list[bytes]
    need: Need
    ready: float = 0.0
    holes: tuple[tuple[int, int], ...] = ()
    levels: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.parsed: list[Packet] = [unpack(p)[0] for p in self.packets]
        self.description = self.parsed[0].description
        self.sources = {i for i, p in enumerate(self.parsed) if p.kind == Kind.SOURCE}
        self.coarse = {i for i in self.sources if any(s.layer == LAYER_FIRST for s in self.parsed[i].sections)}
        self._groups: dict[tuple[int, int], tuple[int, set[int]]] = {}
        for i in set(range(len(self.packets))) - self.sources:
            group, _, k, _ = PARITY.unpack_from(self.parsed[i].body)
            self._groups.setdefault((self.parsed[i].index, group), (k, set()))[1].add(i)
        for i in self.sources:
            where = self.parsed[i].erasure
            if where and (self.parsed[i].index, where[0]) in self._groups:
                self._groups[self.parsed[i].index, where[0]][1].add(i)
        lowest = {i: min(s.layer for s in self.parsed[i].sections) for i in self.sources}
        for _, members in self._groups.values():
            level = min(lowest[i] for i in members & self.sources)
            lowest |= dict.fromkeys(members - self.sources, level)
        self.levels = [lowest[i] for i in range(len(self.packets))]

    @property
    def size(self) -> int:
        return sum(map(len, self.packets))

    def original(self) -> np.ndarray:
        """What the camera gave the encoder."""
        return as_taken(self.frame, self.gray)

    def with_restored(self, have: set[int]) -> set[int]:
        """The packets at hand, and those that erasure groups restore out of them."""
        found = set(have)
        for k, members in self._groups.values():
            if len(members & have) >= k:
                found |= members
        return found

    def holding(self, wanted: MissingMap) -> list[int]:
        """Source packets that hold a block that a map names, but for blocks that were never coded."""
        spans = _without(wanted.spans, self.holes)
        runs = list(MissingMap(wanted.picture_id, wanted.tag, spans).runs(self.description))
        found = set()
        for (plane, layer, phase), sections in self._sections().items():
            firsts = [first for first, _ in sections]
            for run in runs:
                if (run.plane, run.layer, run.phase) == (plane, layer, phase):
                    begin = max(bisect_right(firsts, run.first) - 1, 0)
                    end = bisect_right(firsts, run.end - 1)
                    found |= {i for _, i in sections[begin:end]}
        return sorted(found)

    def _sections(self) -> dict[tuple[int, int, int], list[tuple[int, int]]]:
        """(first block, packet) of every section, by plane, layer and phase; each reaches up to the next."""
        found: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        for i in self.sources:
            for s in self.parsed[i].sections:
                found.setdefault((s.plane, s.layer, s.phase), []).append((s.first, i))
        return {key: sorted(value) for key, value in found.items()}


def _without(spans: tuple[tuple[int, int], ...], holes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Spans less others, both ascending."""
    found = []
    for begin, end in spans:
        at = begin
        for low, high in holes:
            if low < end and high > at:
                found.append((at, low))
                at = high
        found.append((at, end))
    return tuple((a, b) for a, b in found if a < b)


def as_taken(frame: Frame, gray: bool) -> np.ndarray:
    """A frame as the board's camera delivers it."""
    return luma(frame.picture()) if gray else frame.picture()


class Builds:
    """The C encoder built for this machine, with memory for just what is asked for; each build once.

    Attributes:
        compiler: whether there is a C compiler. Without one, Python makes the same bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._encoders: dict[Limits, Encoder] = {}
        try:
            host_compiler()
            self.compiler = True
        except InputError:
            self.compiler = False

    def encoder(self, limits: Limits) -> Encoder:
        if limits not in self._encoders:
            folder = self.folder / str(len(self._encoders))
            folder.mkdir()
            self._encoders[limits] = Encoder(host_library(folder, limits))
        return self._encoders[limits]


class Board:
    """Encodes frames as a setup says. Methods raise InputError."""

    def __init__(self, setup: Setup, builds: Builds) -> None:
        self.setup, self.builds = setup, builds

    def need(self, picture: np.ndarray) -> Need:
        """What a picture takes of the device."""
        device, s = self.setup.device, self.setup
        height, width = picture.shape[:2]
        colour = picture.ndim == 3
        cost = encoding_cost(device, height * width, colour, s.interleave_log2, bool(s.parity))
        if device.kind == COMPUTER:
            samples = int(device.bytes_per_sample * picture.size * picture.itemsize)
            parts = f"{device.runtime} for Python and numba, {samples} for the picture and its encoding"
            return Need(device.runtime + samples, 0, cost, parts)
        counted = counts(device.counted, colour, s.interleave_log2, bool(s.parity))
        if self.builds.compiler:
            encoder, how = self._encoder(width, colour).size, "encoder"
        else:
            encoder, how = encoder_bytes(counted, width, s.packet), "encoder (no C compiler: in proportion)"
        strip = STRIP * width * (3 if colour else 1)
        parts = f"{how} {encoder}, stack {counted.stack}, {STRIP} camera rows {strip}"
        return Need(encoder + counted.stack + strip, counted.flash, cost, parts)

    def refusal(self, picture: np.ndarray, need: Need, seconds: float, kept: int) -> str | None:
        """Why a picture cannot be encoded, with numbers; None when it can.

        Args:
            seconds: most time for it. kept: bytes of packets that the board keeps already.
        """
        s, d = self.setup, self.setup.device
        what = f"{picture.shape[1]}x{picture.shape[0]} {'RGB' if picture.ndim == 3 else 'grey'}"
        ram, flash = s.ram or d.ram, s.flash or d.flash
        if d.kind != COMPUTER and picture.dtype != np.uint8:
            return f"{what}: samples of {8 * picture.itemsize} bits; the microcontroller's encoder takes 8"
        if need.ram > ram:
            less = "; gray = true takes a third of the rows" if picture.ndim == 3 and d.kind != COMPUTER else ""
            return f"{what} needs {need.ram} bytes of RAM ({need.parts}), there are {ram}{less}"
        if need.flash > flash:
            return f"{what} needs {need.flash} bytes of flash, there are {flash}"
        if need.cost.seconds > seconds:
            return f"{what} takes {need.cost.seconds:.3g} s on a {d.name}, there are {seconds:g} s"
        budget = s.bytes_for(picture.shape[0] * picture.shape[1])
        if s.store is not None and kept + budget > s.store:
            return f"{what}: the store of {s.store} bytes holds {kept}, a picture takes up to {budget}"
        return None

    def encode(self, frame: Frame, picture: np.ndarray) -> list[bytes]:
        """The packets of a picture in the order in which the encoder makes them. Raises OnboardError."""
        s = self.setup
        budget = s.bytes_for(picture.shape[0] * picture.shape[1])
        if s.device.kind == COMPUTER:
            data = compress(
                picture,
                budget=budget,
                scale=s.scale or "auto",
                packet_size=s.packet,
                interleave=s.interleave,  # type: ignore[arg-type]
                parity=s.parity,
                order="layers",
                expect_loss=s.expect_loss,
                expect_burst=s.expect_burst,
                image_id=frame.number,
            )
            return split(data)
        if not self.builds.compiler:
            options: dict[str, Any] = {"scale": s.scale, "interleave": s.interleave or 1, "packet_size": s.packet}
            options["parity"] = s.parity or (0, 0)
            return list(compress_stream(picture, budget=budget, image_id=frame.number, **options))
        height, width = picture.shape[:2]
        colour = picture.ndim == 3
        description = Description(
            frame.number,
            0,
            default_model().model_id,
            width,
            height,
            s.scale.bit_length() - 1,
            s.interleave_log2,
            Colour.YCBCR420 if colour else Colour.GREY,
        )
        groups = [(group.source, group.parity) for group in s.groups()]
        config = config_of(description, s.packet, quota=budget, groups=groups)
        try:
            return self._encoder(width, colour).packets(np.ascontiguousarray(picture), config)
        except RuntimeError as e:
            raise InputError(f"{budget} bytes in packets of {s.packet}: {e}") from None

    def _encoder(self, width: int, colour: bool) -> Encoder:
        s = self.setup
        parity = max(group.parity for group in s.groups())
        limits = Limits(width, s.packet, colour, s.scale.bit_length() - 1, s.interleave_log2, parity)
        return self.builds.encoder(limits)
