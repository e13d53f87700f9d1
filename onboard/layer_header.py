"""The first bytes of a section of layers 2 to 15: reference, table set, step, region. FORMAT.md section 11.1."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from onboard.errors import SectionError

FIRST_REFINEMENT = 2
LAST_REFINEMENT = 14
LAYER_LOSSLESS = 15

FORETOLD = 0  # the reference is what layer 0 foretells of every block
NORMATIVE = 1  # the reference is the normative reconstruction of layers 0 and 1
NO_REFERENCE = 15

# Steps in sixteenths of a sample: round(16 * 2^(i/16)), spelled out in FORMAT.md section 11.4. The last ones are for
# samples of 16 bits.
LAYER_STEPS = tuple(round(16 * 2 ** (i / 16)) for i in range(256))

_REGION_FLAG = 0x08
_HEAD = struct.Struct(">BB")
_REGION = struct.Struct(">BB")
MAX_SPAN = 32  # columns of a stripe
BAD_HEADER = -5


@dataclass(frozen=True)
class LayerHeader:
    """What a section of a higher layer says before its symbols.

    Attributes:
        reference: FORETOLD, NORMATIVE, the layer (2 to 13) that is refined, or NO_REFERENCE.
        table_set: which table set codes the section, 0 to 7.
        step: index into LAYER_STEPS; 0 in the lossless layer.
        left, span: the columns of the stripe that the section covers, None and None for whole rows of the phase.
    """

    reference: int
    table_set: int
    step: int
    left: int | None = None
    span: int | None = None

    def pack(self) -> bytes:
        flag = 0 if self.span is None else _REGION_FLAG
        head = _HEAD.pack(self.reference << 4 | flag | self.table_set, self.step)
        return head if self.span is None else head + _REGION.pack(self.left, self.span - 1)


def is_of_region(payload: bytes) -> bool:
    """Whether a section runs through a region, not through its phase."""
    return bool(payload and payload[0] & _REGION_FLAG)


def unpack_header(payload: bytes, layer: int, table_sets: int) -> tuple[LayerHeader, bytes]:
    """The header at the start of a section's payload, and what follows it. Raises SectionError."""
    if len(payload) < _HEAD.size:
        raise SectionError(BAD_HEADER)
    how, step = _HEAD.unpack_from(payload)
    at = _HEAD.size
    left = span = None
    if how & _REGION_FLAG:
        if len(payload) < at + _REGION.size:
            raise SectionError(BAD_HEADER)
        left, span = _REGION.unpack_from(payload, at)
        span += 1
        at += _REGION.size
        if left + span > MAX_SPAN:
            raise SectionError(BAD_HEADER)
    header = LayerHeader(how >> 4, how & 7, step, left, span)
    if layer == LAYER_LOSSLESS:
        known = header.reference == NO_REFERENCE and step == 0
    else:
        known = header.reference < layer or header.reference == NO_REFERENCE
    if not known or header.table_set >= table_sets:
        raise SectionError(BAD_HEADER)
    return header, payload[at:]
