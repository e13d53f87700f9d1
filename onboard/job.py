"""A picture to be coded within a budget: it keeps its latents while indices, scales and layers are tried."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onboard.encoder import ALL_GROUP_1, Effort, Encoding, analyse_picture, seal
from onboard.erasure import Protection
from onboard.model import Model
from onboard.packer import Packer
from onboard.wire import MAX_INDEX, MAX_PACKET, Description, Extension, Packet

FINER_MARGIN = 8  # indices by which a search may come back finer than it first asked for
SAMPLE_PIXELS = 1 << 19
SAMPLE_BANDS = 4
SAMPLE_ALIGN = 64  # rows: whole blocks at scales up to 8


@dataclass
class Job:
    """A picture to be coded: makes, and keeps, its latents at the scales that are asked for.

    Attributes:
        picture: see planes.strips.
        base: description at scale 1.
        tag: encoding tag, None to derive it.
        protection: erasure packets, None for none.
        overhead: bytes that framing adds to every packet, for the budget.
        margin: indices by which latents are kept finer than asked for, so that a search need not compute them again.
    """

    picture: np.ndarray
    base: Description
    model: Model
    packet_size: int
    extensions: tuple[Extension, ...]
    tag: int | None
    protection: Protection | None = None
    overhead: int = 0
    margin: int = 0

    def __post_init__(self) -> None:
        self._kept: dict[int, Encoding] = {}

    def packer(self, description: Description, index: int) -> Packer:
        """For more source packets of the same stream."""
        reserve = self.protection.reserve(bool(self.extensions)) if self.protection else (0, 0)
        return Packer(description, index, self.packet_size, self.extensions, reserve)

    def seal(self, sources: list[Packet]) -> list[bytes]:
        """Source packets serialised, with their erasure packets."""
        return seal(sources, self.protection)

    def effort(self, price: int | None = None) -> Effort:
        """By the price of a bit, the model's own by default."""
        return Effort(self.model.threshold, self.model.price if price is None else price)

    def encoding(self, scale_log2: int, index: int) -> Encoding:
        """The latents at a scale, ready for an index."""
        encoding = self._kept.get(scale_log2)
        if encoding is None or encoding.finest > index:
            finest = max(index - self.margin, 0)
            encoding = analyse_picture(
                self.picture, replace(self.base, scale_log2=scale_log2), self.model, finest, self.effort()
            )
            self._kept[scale_log2] = encoding
        return encoding

    def layer_0(self) -> Encoding:
        """The latents at scale 1, of which the first alone may be coded, but at any index."""
        if 0 not in self._kept:
            encoding = analyse_picture(self.picture, self.base, self.model, 0, ALL_GROUP_1)
            self._kept[0] = replace(encoding, finest=MAX_INDEX + 1)
        return replace(self._kept[0], finest=0)

    def packets(self, scale_log2: int, index: int, price: int | None = None) -> list[bytes]:
        """The stream at a scale, index and price of a bit (the model's own by default)."""
        return self.encoding(scale_log2, index).packets(
            index,
            packet_size=self.packet_size,
            effort=self.effort(price),
            extensions=self.extensions,
            tag=self.tag,
            protection=self.protection,
        )

    def sample(self) -> Job:
        """The same job on bands of a large picture, with the largest packets."""
        height, width = self.picture.shape[:2]
        if not self.is_large:
            return self
        bands, align = SAMPLE_BANDS, SAMPLE_ALIGN
        tall = max(SAMPLE_PIXELS // width // bands // align, 1) * align
        tops = [(height - tall) * i // (bands - 1) // align * align for i in range(bands)]
        part = np.concatenate([self.picture[top : top + tall] for top in tops])
        base = replace(self.base, height=part.shape[0])
        return replace(
            self, picture=part, base=base, packet_size=MAX_PACKET, protection=None, overhead=0, margin=MAX_INDEX
        )

    @property
    def is_large(self) -> bool:
        """Whether it pays to ask a part of the picture first."""
        return self.pixels > 2 * SAMPLE_PIXELS

    def source_share(self, budget: int) -> float:
        """About which share of a budget is left for source packets without their framing."""
        share = self.packet_size / (self.packet_size + self.overhead)
        if self.protection is not None:
            share *= self.protection.source_share(max(budget // self.packet_size, 1))
        return share

    def size(self, packets: list[bytes]) -> int:
        """Bytes of packets with their framing."""
        return sum(map(len, packets)) + self.overhead * len(packets)

    @property
    def pixels(self) -> int:
        return self.picture.shape[0] * self.picture.shape[1]
