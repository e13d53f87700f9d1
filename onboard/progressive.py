"""From preview to lossless: which layers a picture gets for a budget, and what is added to what has been sent.

The base is the preview's own; the layers above refer to what its packets decode to, so this is where the encoder meets
the decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from onboard.decoder import Decoding
from onboard.encoder import Effort, Job, Packer
from onboard.errors import InputError
from onboard.layer_header import (
    FIRST_REFINEMENT,
    FORETOLD,
    LAST_REFINEMENT,
    LAYER_STEPS,
    NORMATIVE,
)
from onboard.planes import block_grid, plane_count
from onboard.reference import Rect, layer_grid, layer_log2, layer_shape, whole
from onboard.refiner import (
    Coefficients,
    Part,
    base_index,
    find_step,
    lossless_planes,
    lossless_sections,
    refinement,
    source_planes,
)
from onboard.wire import BLOCK, Description, Packet, unpack

ALL_GROUP_1 = Effort((1 << 32) - 1, 255)  # no block is worth more than one latent: the layers above say the rest


@dataclass(frozen=True)
class Choice:
    """A stream made of a base and a refinement of it; `error` is that of the luma, squared and summed."""

    packets: list[bytes]
    error: float

    @property
    def size(self) -> int:
        return sum(map(len, self.packets))


def parse_base(packets: Sequence[bytes], job: Job) -> tuple[Decoding, Packet]:
    """What a base decodes to, and its first packet."""
    parsed = [unpack(p)[0] for p in packets]
    decoding = Decoding(parsed[0].description, job.model)
    decoding.add(parsed)
    return decoding, parsed[0]


def retag(tag: int, *facts: int) -> int:
    """A tag for a stream that adds layers made by these facts to the stream of another tag."""
    return zlib.crc32(struct.pack(f">{len(facts) + 1}I", tag, *facts)) & 0xFFFF


def single_shot(job: Job, step: int) -> list[bytes]:
    """Layer 0 alone, and what it does not foretell in one refinement at this step (see LAYER_STEPS)."""
    index = base_index(step)
    base = job.packets(0, index, effort=ALL_GROUP_1)
    if job.tag is None:
        tag = retag(unpack(base[0])[0].description.tag, step)
        base = replace_tag(job, index, tag)
    return base + refine_whole(job, base, step)


def replace_tag(job: Job, index: int, tag: int) -> list[bytes]:
    return job.packets(0, index, effort=ALL_GROUP_1, tag=tag)


def refine_whole(job: Job, base: Sequence[bytes], step: int) -> list[bytes]:
    """Packets of layer 2 for every block, referring to what the base's layer 0 foretells."""
    decoding, packet = parse_base(base, job)
    d = packet.description
    packer = Packer(d, packet.index, job.packet_size, job.extensions)
    refinement(whole_parts(decoding, job.picture, FORETOLD, FIRST_REFINEMENT), d, None, step).packets(packer)
    return packer.finish()


def whole_parts(decoding: Decoding, picture: np.ndarray, reference: int, layer: int) -> list[Part]:
    d = decoding.description
    sources = source_planes(picture, d)
    return [
        Part(p, layer, reference, whole(d, p), sources[p], decoding.reference(p, reference))
        for p in range(plane_count(d.colour))
    ]
