"""Packets for exactly the runs of blocks that a missing map names, coded anew from the symbols of a kept stream.

A kept stream is one that was written to disk, or one that is made again with the same options: the symbols are the
same, so every block is sent with the values that it had the first time (FORMAT.md section 4.5). Of layers 2 to 15 the
sections that hold wanted blocks go again as they are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from onboard.errors import InputError
from onboard.kernels.entropy import MAX_FIRST, MAX_REST, UNITS
from onboard.kernels.entropy_code import SLACK, code_first, code_rest
from onboard.kernels.entropy_parse import parse_first, parse_rest
from onboard.layer_header import FIRST_REFINEMENT, is_of_region
from onboard.missing import MissingMap, Run
from onboard.model import Model
from onboard.packer import Packer
from onboard.planes import block_grid, phases, plane_count
from onboard.wire import LAYER_FIRST, LAYER_REST, MAX_INDEX, QUAD, Description, Extension, Packet, Section

NO_INDEX = MAX_INDEX + 1


@dataclass
class Symbols:
    """Quantised blocks of one plane, layer and phase, in phase order.

    Attributes:
        index: uint8 (blocks,) quantiser index of the packet that each block stood in, NO_INDEX where none did.
        first: int16 (blocks,), layer 0; group: uint8 (blocks,) and rest: int16 (blocks, 7), layer 1.
    """

    rows: int
    columns: int
    index: np.ndarray = field(init=False)
    first: np.ndarray = field(init=False)
    group: np.ndarray = field(init=False)
    rest: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        blocks = self.rows * self.columns
        self.index = np.full(blocks, NO_INDEX, np.uint8)
        self.first = np.zeros(blocks, np.int16)
        self.group = np.zeros(blocks, np.uint8)
        self.rest = np.zeros((blocks, UNITS), np.int16)


def resend(
    packets: Sequence[Packet],
    wanted: MissingMap,
    model: Model,
    packet_size: int,
    extensions: tuple[Extension, ...] = (),
) -> list[Packet]:
    """Packets of the blocks that a map names.

    Args:
        packets: of the map's encoding, at least one.
        packet_size: most bytes of a packet; it may differ from the first time.
        extensions: put in every packet.

    Returns:
        source packets, none where the map names nothing.

    Raises:
        InputError: a block that the map names is not in the packets, or does not fit one of that size.
    """
    description = packets[0].description
    runs = list(wanted.runs(description))
    symbols = _symbols(packets, description, model, {(r.plane, r.layer, r.phase) for r in runs})
    packers: dict[int, Packer] = {}
    for run in (r for r in runs if r.layer < FIRST_REFINEMENT):
        at = symbols[run.plane, run.layer, run.phase]
        for first, end, index in _equal_indices(at.index, run):
            packer = packers.setdefault(index, Packer(description, index, packet_size, extensions, (0, 0)))
            table_set = model.table_set(model.plane_index(index, run.plane))
            for section, done in _sections(at, run, first, end, model.words(table_set), packer):
                packer.add(section, done)
    for index, section in _higher(packets, runs):
        packer = packers.setdefault(index, Packer(description, index, packet_size, extensions, (0, 0)))
        _add_whole(section, packer)
    return [p for index in sorted(packers) for p in packers[index].finish()]


def _higher(packets: Sequence[Packet], runs: Sequence[Run]) -> Iterator[tuple[int, Section]]:
    """(index, section) of those of the higher layers that hold blocks of the runs, in sending order: one ends where
    the next one of its plane, layer and phase begins."""
    kept: dict[tuple[int, int, int], dict[int, tuple[int, Section]]] = {}
    for packet in packets:
        for s in packet.sections:
            if s.layer >= FIRST_REFINEMENT and not is_of_region(s.payload):
                kept.setdefault((s.layer, s.phase, s.plane), {}).setdefault(s.first, (packet.index, s))
    asked: dict[tuple[int, int, int], list[Run]] = {}
    for run in runs:
        if run.layer >= FIRST_REFINEMENT:
            asked.setdefault((run.layer, run.phase, run.plane), []).append(run)
    for key in sorted(asked):
        known = kept.get(key, {})
        starts = sorted(known)
        wanted = set()
        for run in asked[key]:
            begin = bisect_right(starts, run.first) - 1
            if begin < 0:
                raise InputError(f"layer {run.layer} of plane {run.plane} is asked for but not in the stream")
            wanted.update(starts[begin : bisect_left(starts, run.end)])
        yield from (known[first] for first in sorted(wanted))


def _add_whole(section: Section, packer: Packer) -> None:
    """Put a section in a packet as it is."""
    where = (section.plane, section.layer, section.phase, section.first)
    if packer.room(*where) < len(section.payload):
        packer.flush_started()
        if packer.room(*where) < len(section.payload):
            raise InputError("packets are too small to send these blocks again: take larger ones, or say less in each")
    packer.add(section, True)


def _symbols(
    packets: Sequence[Packet], description: Description, model: Model, wanted: set[tuple[int, int, int]]
) -> dict[tuple[int, int, int], Symbols]:
    """The symbols that packets hold of the wanted (plane, layer, phase)s."""
    found = {}
    for plane in range(plane_count(description.colour)):
        grids = phases(*block_grid(description, plane), description.interleave_log2)
        for layer in (LAYER_FIRST, LAYER_REST):
            for phase, grid in enumerate(grids):
                if (plane, layer, phase) in wanted:
                    found[plane, layer, phase] = Symbols(grid.rows, grid.columns)
    for packet in packets:
        for s in packet.sections:
            at = found.get((s.plane, s.layer, s.phase))
            if at is not None and s.first < len(at.index):
                _parse(at, s, packet.index, model)
    return found


def _parse(at: Symbols, section: Section, index: int, model: Model) -> None:
    """Add a section's symbols; a malformed one adds none. The finer of two copies stays, as on the ground."""
    lookup = model.lookup(model.table_set(model.plane_index(index, section.plane)))
    payload = np.frombuffer(section.payload, np.uint8)
    scratch, begin = np.empty(len(at.index), np.uint8), section.first
    first, group, rest = np.empty_like(at.first), np.empty_like(at.group), np.zeros((len(at.rest), 1 + UNITS), np.int16)
    if section.layer == LAYER_FIRST:
        end = parse_first(payload, at.rows, at.columns, begin, lookup, scratch, first)
    else:
        end = parse_rest(payload, at.rows, at.columns, begin, lookup, scratch, group, rest)
    if end < 0:
        return
    finer = begin + np.flatnonzero(at.index[begin:end] > index)
    at.index[finer] = index
    at.first[finer], at.group[finer], at.rest[finer] = first[finer], group[finer], rest[finer, :UNITS]


def _equal_indices(index: np.ndarray, run: Run) -> Iterator[tuple[int, int, int]]:
    """A run cut where the quantiser index changes: (first block, end, index)."""
    part = index[run.first : run.end]
    if (part == NO_INDEX).any():
        raise InputError(
            f"block {run.first + int(np.argmax(part == NO_INDEX))} of plane {run.plane}, layer {run.layer}, phase "
            f"{run.phase} is asked for but not in the stream"
        )
    cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
    for begin, end in pairwise(cuts):
        yield run.first + begin, run.first + end, int(part[begin])


def _sections(
    at: Symbols, run: Run, first: int, end: int, words: np.ndarray, packer: Packer
) -> Iterator[tuple[Section, bool]]:
    """Code the blocks `first` to `end` - 1: yields sections, and whether the last block is coded."""
    values, group, rest = at.first, at.group, at.rest
    if end < len(values):
        # The coders stop only where their room ends. A block of long code words behind the run ends any run of zeros
        # or of equal signs there, and needs more bits than a byte's padding leaves: some room stops right before it.
        values, group, rest = values.copy(), group.copy(), rest.copy()
        group[end : end + QUAD] = 0
        group[end] = 1
        rest[end] = MAX_REST
    scratch = np.empty(len(values), np.uint8)
    while first < end:
        room = packer.room(run.plane, run.layer, run.phase, first)
        out = np.empty(room + SLACK, np.uint8)

        def code(limit: int, begin: int = first, out: np.ndarray = out) -> tuple[int, int]:
            if run.layer == LAYER_FIRST:
                return code_first(values, at.rows, at.columns, begin, words, scratch, out, limit)
            return code_rest(group, rest, at.rows, at.columns, begin, words, scratch, out, limit)

        reached, used = code(room)
        for far in (MAX_FIRST, -MAX_FIRST):  # one of them is far from what is predicted
            if reached <= end:
                break
            values[end] = far
            high = bisect_left(range(room), end, key=lambda limit: code(limit)[0])
            reached, used = code(high)
        if reached == first:
            if not packer.flush_started():
                raise InputError("packets are too small to send these blocks again: a block needs more than a packet")
            continue
        yield Section(run.plane, run.layer, run.phase, first, out[:used].tobytes()), reached == end
        first = reached
