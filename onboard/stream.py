"""The single-pass mode: a camera that hands over eight rows at a time, a few kilobytes of memory, no second look.

This is the reference of the encoder in `firmware_sim/c`, which makes the same bytes; it is written to be read. Any
decoder reads the result. What is coded when, exactly:

- A plane's block rows come in order. With colour, row r of Cb and then of Cr comes behind luma rows 2r and 2r + 1 (or
  behind the last luma row). Blocks of which G1 leaves more coarse detail (`detail`) than the threshold of the **target
  index** become candidates for group 2. Then, before a luma row is coded, the rate control sets the target anew
  (`stream_rate`): it knows what G1 leaves of that row. So a row's candidates (those of all planes) are judged by the
  target of the row before.
- When block row y of a plane comes, **layer 0** of row y is coded, then **layer 1** of row y - 1: its prediction needs
  the first latents of row y. Behind the last row, layer 1 of that row follows. Within one row and layer: phase by
  phase, and within a phase stripe by stripe.
- Each (plane, phase, stripe, layer) has a packet of its own, opened when its first symbol comes, with one section. A
  symbol (a block or a run of layer 0, a quad or a run of quads of layer 1, with all that belongs to it) goes to the
  open packet if it fits. If not, the packet is emitted, a new one is opened, and what is left of the row is quantised
  anew: a packet is quantised with the index it was opened with. A packet is also emitted before a row when the target
  is finer than its index by CLOSE_FINER and it holds `Rate.held` bits, or when it is coarser by CLOSE_COARSER, but not
  in the last CLOSE_ROWS luma rows.
- Where the target is coarser than the packet's index, the target's step decides what becomes 0: residuals of latents 2
  to 8, and first latents near their prediction (NEAR). When the quota gets so short that layer 0 of the rows below
  would go without, all first latents of what is left of the row become their prediction, but for jumps (JUMP); when it
  gets shorter still, these too: rather a smear than a hole.
- Runs end with the row. A quad that reaches into the next row waits for it.
- A packet is opened with the index of the one opened before it or of a packet that is there, whichever is nearest to
  the target, unless that is KEEP_INDEX or more away, in the last SHARE_ROWS luma rows SHARE_INDEX: only sections of one
  index can share a packet, and those opened late never fill one.
- Behind the last row of a (plane, phase, stripe, layer) its section is complete. It goes into the first packet of its
  index (and, with erasure packets, of its layer), in the order layer, phase, plane, stripe, that is complete and has
  room, else it makes one. At the end these packets go out in that order.
- With erasure packets, packets that begin with layer 0 and with layer 1 have groups of their own (`stream_parity`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from onboard.detail import coarse_detail
from onboard.encoder import Effort, analyse_picture, threshold_energy
from onboard.errors import InputError
from onboard.model import Model
from onboard.packer import LENGTH_FIELD
from onboard.planes import block_grid, phases
from onboard.stream_parity import Group, Protector
from onboard.stream_rate import CLOSE_FINER, LEAST_LAST, LEAST_ROW, OPEN_BITS, THRESHOLD, Rate
from onboard.symbols import Candidate, Slot, first_context, first_symbol, rest_symbol, thin
from onboard.wire import (
    CRC,
    LAYER_FIRST,
    LAYER_REST,
    MAX_PACKET,
    MIN_PACKET,
    QUAD,
    STRIPE,
    Description,
    Packet,
    header_size,
    pack,
    section_header,
)

MAX_SCALE_LOG2 = 2
MAX_QUOTA = (1 << 28) - 1
KEEP_INDEX = 6
SHARE_INDEX = 32
SHARE_ROWS = 10
CLOSE_COARSER = 80
CLOSE_ROWS = 2
JUMP = 1 << 13  # 64 grey levels, in latents
NEAR = 128  # of 256 of a step: first latents nearer to their prediction become it
NEAR_QUOTA = 150  # the same where there is a quota, on which bits are better spent elsewhere
SMEARS = (JUMP, 1 << 20)  # the last one is above any distance from a prediction


Key = tuple[int, int, int, int]  # layer, phase, plane, stripe


class _Stream:
    """Codes one picture; `packets` yields in emission order."""

    def __init__(
        self,
        picture: np.ndarray,
        description: Description,
        model: Model,
        packet_size: int,
        index: int,
        quota: int | None,
        groups: tuple[Group, Group],
    ) -> None:
        encoding = analyse_picture(picture, description, model, 0, Effort(0, 0))
        self.planes, self.detail = encoding.planes, coarse_detail(picture, description, model)
        self.description, self.model, self.packet_size = description, model, packet_size
        self.words = [[int(w) for w in model.words(s)] for s in range(3)]
        self.matrix = model.prediction.astype(int).tolist()
        rows, columns = block_grid(description, 0)
        share = sum(packet_size * g.parity // g.source for g in groups) // 2
        self.rate = Rate(quota, packet_size, share, rows, columns, len(self.planes) > 1) if quota else None
        self.groups = groups
        self.protector = Protector(groups, self.rate, packet_size)
        self.target = self.rate.target if self.rate else index
        self.luma_row = 0
        self.last_index = -1
        self.stopped = [False, False]
        self.first = [np.zeros((p.rows, p.columns), np.int64) for p in self.planes]
        self.candidates = [np.zeros((p.rows, p.columns), bool) for p in self.planes]
        self.grids = [phases(p.rows, p.columns, description.interleave_log2) for p in self.planes]
        self.complete: dict[Key, Packet] = {}
        self.slots: dict[Key, Slot] = {}
        for plane, grids in enumerate(self.grids):
            for phase, grid in enumerate(grids):
                for stripe in range(-(-grid.columns // STRIPE)):
                    width = min(STRIPE, grid.columns - stripe * STRIPE)
                    for layer in (LAYER_FIRST, LAYER_REST):
                        self.slots[layer, phase, plane, stripe] = Slot(
                            plane, phase, layer, stripe * STRIPE * grid.rows, width, width * grid.rows
                        )

    def packets(self) -> Iterator[bytes]:
        rows = self.planes[0].rows
        for y in range(rows):
            judged = self.target
            if self.rate:
                self.rate.see(self.detail[0][y].tolist())
                self.rate.aim(y, self.last_index, self._least(y), self._with_packets)
                self.target = self.rate.target
            self.luma_row = y
            yield from self._row(0, y, judged)
            if y % 2 or y == rows - 1:
                for plane in range(1, len(self.planes)):
                    yield from self._row(plane, y // 2, judged)
        yield from self._finish()

    def _row(self, plane: int, y: int, judged: int) -> Iterator[bytes]:
        kept = self.planes[plane]
        effort = Effort(THRESHOLD, self.model.price)
        limit = threshold_energy(self.model, judged, effort)
        self.candidates[plane][y] = self.detail[plane][y] > limit
        yield from self._layer_row(plane, y, LAYER_FIRST)
        if y > 0:
            yield from self._layer_row(plane, y - 1, LAYER_REST)
        if y == kept.rows - 1:
            yield from self._layer_row(plane, y, LAYER_REST)

    def _least(self, y: int) -> tuple[int, int]:
        """Bits that layer 0 needs at least, so that there is no hole: below luma row y, and of it."""
        luma, *chroma = self.planes
        more = LEAST_LAST - 1 if y == luma.rows - 1 else 0
        blocks = luma.columns * (luma.rows - y - 1) + sum(p.columns * (p.rows - y // 2 + more) for p in chroma)
        return blocks // 2, luma.columns * LEAST_ROW // 2

    def _with_packets(self, bits: int) -> int:
        """That many bits of layer 0 with the packets that must be opened for them."""
        stripes = sum(-(-grids[0].columns // STRIPE) for grids in self.grids)  # phase 0 has no fewer than the others
        number = stripes * self.description.interleave
        each = bits // number
        slots = (slot for slot in self.slots.values() if slot.layer == LAYER_FIRST)
        ready = sum(slot.begin is not None and slot.fits(each) for slot in slots)
        return bits + (number - ready) * OPEN_BITS

    def _layer_row(self, plane: int, y: int, layer: int) -> Iterator[bytes]:
        down, across = (2 if self.description.interleave == 4 else 1), (2 if self.description.interleave > 1 else 1)
        for phase, grid in enumerate(self.grids[plane]):
            if y % down != grid.row:
                continue
            for stripe in range(-(-grid.columns // STRIPE)):
                slot = self.slots[layer, phase, plane, stripe]
                columns = [grid.column + across * (stripe * STRIPE + i) for i in range(slot.width)]
                if self.rate and slot.has_symbols() and self._is_far(slot, self.rate):
                    yield from self._close(slot)
                yield from (self._first if layer == LAYER_FIRST else self._rest)(slot, y, columns)
                if y + down >= self.planes[plane].rows:
                    self._complete((layer, phase, plane, stripe))

    def _is_far(self, slot: Slot, rate: Rate) -> bool:
        """Whether the target is so far from the packet's index that another packet is worth its header."""
        far = self.target - slot.index
        late = self.planes[0].rows <= self.luma_row + CLOSE_ROWS
        return not late and (far >= CLOSE_COARSER or (far <= -CLOSE_FINER and slot.bits() >= rate.held))

    def _first(self, slot: Slot, y: int, columns: list[int]) -> Iterator[bytes]:
        """Layer 0 of one row of a stripe."""
        kept = self.planes[slot.plane]
        row = slot.next - slot.next % slot.width
        end = row + slot.width
        latents = {n: int(kept.latents[y * kept.columns + columns[n - row], 0]) for n in range(slot.next, end)}
        while slot.next < end and self._open(slot):
            step, words, smeared = int(self._steps(slot)[0]), self._words(slot), 0
            near = self._wider_steps(slot)[0] * (NEAR_QUOTA if self.rate else NEAR) >> 8
            self._quantise_first(slot, latents, end, step, near)
            while slot.next < end:
                run, coded = first_symbol(slot, words)
                bits = sum(length for _, length in coded)
                if not slot.fits(bits):
                    yield from self._close(slot)
                    break
                if self.rate and smeared < len(SMEARS):
                    least = 3 * self.rate.least_behind(run) * (3 - smeared) // 16
                    if bits > self.rate.room(LAYER_FIRST) - least:
                        self._quantise_first(slot, latents, end, step, SMEARS[smeared])
                        smeared += 1
                        continue
                if not self._spend(bits, slot):
                    return
                if self.rate:
                    self.rate.least = self.rate.least_behind(run)
                slot.put(coded)
                for n in range(slot.next, slot.next + run):
                    self.first[slot.plane][y, columns[n - row]] = slot.q[n] * step
                slot.next += run

    def _quantise_first(self, slot: Slot, latents: dict[int, int], end: int, step: int, zero: int) -> None:
        """Quantise first latents from `slot.next` on; what is closer to its prediction than `zero` becomes that."""
        for n in range(slot.next, end):
            prediction, z = first_context(slot, n)[0], latents[n]
            slot.q[n] = (abs(z) + (step >> 1)) // step * (1 if z >= 0 else -1)
            if abs(z - prediction * step) < zero:
                slot.q[n] = prediction
            slot.size[n] = min(abs(slot.q[n] - prediction), 31)

    def _rest(self, slot: Slot, y: int, columns: list[int]) -> Iterator[bytes]:
        """Layer 1 of one row of a stripe, as far as its quads are complete."""
        blocks = slot.waiting + [self._candidate(slot.plane, y, x) for x in columns]
        start = slot.next
        end = start + len(blocks)
        if end < slot.total:
            end = end // QUAD * QUAD
        while slot.next < end and self._open(slot):
            words = self._words(slot)
            rest = {n: self._quantise(slot, blocks[n - start]) for n in range(slot.next, end)}
            while slot.next < end:
                last, coded = rest_symbol(slot, words, rest, end)
                bits = sum(length for _, length in coded)
                fits = slot.fits(bits)
                if not fits and slot.has_symbols():
                    yield from self._close(slot)
                    break
                if fits and self._spend(bits, slot):
                    slot.put(coded)
                    slot.next = last
                elif not thin(rest, slot.next, last):
                    self._stop(LAYER_REST)
                    return
        slot.waiting = blocks[slot.next - start :]

    def _steps(self, slot: Slot) -> np.ndarray:
        return self.model.steps(self.model.plane_index(slot.index, slot.plane))

    def _wider_steps(self, slot: Slot) -> list[int]:
        """The slot's steps, or the target's where these are coarser: they decide what becomes 0."""
        return [int(v) for v in self.model.steps(self.model.plane_index(max(slot.index, self.target), slot.plane))]

    def _words(self, slot: Slot) -> list[int]:
        return self.words[self.model.table_set(self.model.plane_index(slot.index, slot.plane))]

    def _candidate(self, plane: int, y: int, x: int) -> Candidate | None:
        if not self.candidates[plane][y, x]:
            return None
        first, kept = self.first[plane], self.planes[plane]
        ys = max(y - 1, 0), y, min(y + 1, kept.rows - 1)
        xs = max(x - 1, 0), x, min(x + 1, kept.columns - 1)
        around = [int(first[j, i] - first[y, x]) for j in ys for i in xs]
        del around[4]
        prediction = [clamp16((sum(m * a for m, a in zip(row, around, strict=True)) + 128) >> 8) for row in self.matrix]
        return Candidate([int(z) for z in kept.latents[y * kept.columns + x, 1:]], prediction)

    def _quantise(self, slot: Slot, candidate: Candidate | None) -> list[int] | None:
        """Quantised latents 2 to 8, None for a block that is better off in group 1: kernels.analyse.quantise_rest."""
        if candidate is None:
            return None
        q, gain, bits = [], 0, 4
        steps, wider = map(int, self._steps(slot)[1:]), self._wider_steps(slot)[1:]
        for z, p, step, wide in zip(*candidate, steps, wider, strict=True):
            m = (abs(z - p) + (step * self.model.dead_zone >> 8)) // step
            if abs(z - p) < wide - (wide * self.model.dead_zone >> 8):
                m = 0
            bits += 2 * m.bit_length()
            m = m if z >= p else -m
            q.append(m)
            gain += z * z - (z - p - m * step) ** 2
        worth = int(self.model.steps(self.model.plane_index(self.target, slot.plane))[1]) ** 2 * self.model.price
        return q if gain > worth * bits >> 8 else None

    def _open(self, slot: Slot) -> bool:
        """See to it that the slot has an open packet; False when the quota does not allow one."""
        if self.stopped[slot.layer]:
            return False
        if slot.begin is None:
            self.last_index = self._near_index()
            head = len(section_header(slot.plane, slot.layer, slot.phase, slot.offset + slot.next, None))
            overhead = header_size(self.description) + head + CRC.size
            room = self.packet_size - overhead - self.groups[slot.layer].reserve()
            slot.begin, slot.index, slot.room = slot.next, self.last_index, room
            overhead += self.groups[slot.layer].entry()
            if self.rate:
                if 8 * overhead + 7 > self.rate.room(slot.layer):
                    self._stop(slot.layer)
                    slot.begin = None
                    return False
                self.rate.spent += 8 * overhead + 7  # 7: padding
        return True

    def _near_index(self) -> int:
        """The index of a packet to be opened."""
        late = self.planes[0].rows <= self.luma_row + SHARE_ROWS
        index, near = self.target, SHARE_INDEX if late else KEEP_INDEX
        if self.last_index < 0 or self.last_index == index:
            return index
        there = [s.index for key, s in sorted(self.slots.items()) if s.begin is not None or key in self.complete]
        for other in (*there, self.last_index):
            if abs(other - self.target) < near:
                index, near = other, abs(other - self.target)
        return index

    def _spend(self, bits: int, slot: Slot) -> bool:
        """Count bits against the quota; False when it does not allow them."""
        if self.rate:
            if bits > self.rate.room(slot.layer):
                if slot.layer == LAYER_FIRST:
                    self._stop(LAYER_FIRST)
                return False
            self.rate.count(bits, slot.layer, slot.index)
        return True

    def _stop(self, layer: int) -> None:
        """The quota allows no more of a layer. Layer 1 ends with layer 0, from which it is predicted."""
        self.stopped[layer] = self.stopped[LAYER_REST] = True

    def _close(self, slot: Slot) -> Iterator[bytes]:
        return self.protector.emit(Packet(self.description, slot.index, (slot.section(),)))

    def _complete(self, key: Key) -> None:
        """No symbols follow in the slot: its section goes where one of its index is complete and has room, or waits.

        With parity, which each layer has of its own, only sections of one layer share a packet.
        """
        slot = self.slots[key]
        if not slot.has_symbols():
            return
        section = slot.section()
        for first in sorted(self.complete):
            packet = replace(self.complete[first], sections=(*self.complete[first].sections, section))
            limit = self.packet_size - self.groups[first[0]].reserve()
            shares = first[0] == slot.layer or not any(group.parity for group in self.groups)
            if shares and packet.index == slot.index and len(pack(packet)) <= limit:
                self.complete[first] = packet
                if self.rate:
                    entry = self.groups[slot.layer].entry()
                    self.rate.spent -= 8 * (header_size(self.description) + entry + CRC.size - LENGTH_FIELD)
                return
        self.complete[key] = Packet(self.description, slot.index, (section,))

    def _finish(self) -> Iterator[bytes]:
        """The packets that are left."""
        for key in sorted(self.complete):
            yield from self.protector.emit(self.complete[key])
        yield from self.protector.finish()


def stream(
    picture: np.ndarray,
    description: Description,
    model: Model,
    *,
    packet_size: int = MAX_PACKET,
    index: int = 0,
    quota: int | None = None,
    groups: tuple[Group, Group] = (Group(), Group()),
) -> Iterator[bytes]:
    """Packets of a picture in emission order.

    Args:
        picture: uint8, (height, width[, 3]).
        description: scale at most 4, no window, picture id and tag given.
        packet_size: most bytes of a packet, 48 to 65535.
        index: quantiser index, when there is no quota.
        quota: most bytes of the stream; None: `index` rules.
        groups: erasure groups of layer 0 and of layer 1; such packets have 55 bytes at least.
    """
    if description.window is not None or picture.dtype != np.uint8:
        raise InputError("streams are made of 8-bit pictures only")
    if description.scale_log2 > MAX_SCALE_LOG2:
        raise InputError(f"scale {description.scale}: a stream has 1, 2 or 4")
    least = MIN_PACKET + max(group.reserve() for group in groups)
    if not least <= packet_size <= MAX_PACKET:
        raise InputError(f"packet size {packet_size}: must be {least} to {MAX_PACKET} bytes")
    if quota is not None and not MIN_PACKET <= quota <= MAX_QUOTA:
        raise InputError(f"quota {quota}: must be {MIN_PACKET} to {MAX_QUOTA} bytes")
    return _Stream(picture, description, model, packet_size, index, quota, groups).packets()


def clamp16(value: int) -> int:
    return min(max(value, -32768), 32767)
