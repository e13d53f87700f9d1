"""The ground's half of a mission: what arrived, what it shows, what is asked for again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firmware_sim.board import Preview
from onboard import decompress
from onboard.errors import NothingDecodableError, PacketError
from onboard.quality import psnr
from onboard.wire import unpack

PICTURE_ID = 2  # bytes of a telecommand that names a picture and nothing else


@dataclass
class Heard:
    """What has arrived of one picture: packets as they came, the board's packets among them, and when it stood.

    Attributes:
        coarse, complete: seconds, when all of layer 0 and when all packets were there or restored; None while not.
    """

    data: dict[bytes, None] = field(default_factory=dict)
    have: set[int] = field(default_factory=set)
    coarse: float | None = None
    complete: float | None = None
    psnr: float | None = None
    changed: bool = False


@dataclass
class Request:
    """What the ground asks for after a pass: missing maps, pictures of which nothing came, pictures that are done."""

    maps: list[bytes]
    unheard: list[int]
    done: list[int]

    @property
    def bytes(self) -> int:
        return sum(map(len, self.maps)) + PICTURE_ID * (len(self.unheard) + len(self.done))


class Ground:
    """Takes packets of all passes. Pictures are compared with those that the board took."""

    def __init__(self, map_limit: int | None) -> None:
        self.map_limit = map_limit
        self.heard: dict[int, Heard] = {}
        self.told: set[int] = set()

    def hear(self, now: float, data: bytes, previews: dict[int, Preview]) -> bool:
        """Take what arrives; returns whether it is an intact packet."""
        try:
            number = unpack(data)[0].description.picture_id
        except PacketError:
            return False
        preview = previews.get(number)
        if preview is None or data not in preview.packets:  # bit errors that the checksum did not find
            return False
        picture = self.heard.setdefault(number, Heard())
        if data in picture.data:
            return True
        picture.data[data] = None
        picture.changed = True
        picture.have.add(preview.packets.index(data))
        there = preview.with_restored(picture.have)
        if picture.coarse is None and preview.coarse <= there:
            picture.coarse = now
        if picture.complete is None and preview.sources <= there:
            picture.complete = now
        return True

    def decode(self, number: int) -> Any:
        """The picture as it stands, as onboard.decompress returns it; None when nothing can be made of its packets."""
        try:
            return decompress(list(self.heard[number].data))
        except NothingDecodableError:
            return None

    def look(self, previews: dict[int, Preview]) -> None:
        """Decode the pictures that have changed, and compare them with what the camera gave the encoder."""
        for number, picture in self.heard.items():
            if picture.changed and (decoded := self.decode(number)) is not None:
                picture.psnr = psnr(previews[number].original(), decoded.image)
            picture.changed = False

    def ask(self) -> Request:
        """What is to be sent again, and which pictures the board need not keep."""
        maps, done = [], []
        for number, picture in sorted(self.heard.items()):
            if number in self.told:
                continue
            if picture.complete is not None:
                done.append(number)
            elif (decoded := self.decode(number)) is not None and decoded.missing.spans:
                maps.append(decoded.missing.pack(self.map_limit))
        last = max(self.heard, default=0)
        unheard = [n for n in range(1, last) if n not in self.heard]
        self.told |= set(done)
        return Request(maps, unheard, done)
