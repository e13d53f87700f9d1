"""Sections that differ in grain: a large picture is coded once to its budget, and cliffs between grains are bridged."""

from __future__ import annotations

import numpy as np
import pytest

import onboard
from onboard import shot
from onboard.job import Job
from onboard.layer_header import FIRST_REFINEMENT
from onboard.model import default_model
from onboard.pace import grain_of
from onboard.packer import Packer
from onboard.refiner import Grain
from onboard.scan import scan
from onboard.spend import spend
from onboard.wire import Colour, Description, Section, pack
from tests.make_vectors import scene
from tests.pictures import colourful, texture


def steps_of(data: bytes) -> list[int]:
    return [s.payload[1] for p in scan(data)[0] for s in p.sections if s.layer == FIRST_REFINEMENT]


def test_levels_between_two_steps_are_wider_dead_zones() -> None:
    grains = [grain_of(level / 10) for level in range(-5, 40)]
    assert grains == sorted(grains)
    assert grain_of(7) == Grain(7) and grain_of(-3) == Grain(0) and grain_of(1e9) == Grain(255)


@pytest.mark.parametrize("bpp", [0.7, 1.5])
def test_a_large_picture_is_coded_once_to_its_budget(bpp: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> tuple[list[bytes], int]:
        raise AssertionError("coded again")

    monkeypatch.setattr(shot, "spend", again)
    picture = np.concatenate([scene(520, 1100, 7), scene(520, 1100, 8)], 1)
    budget = int(bpp * picture.size / 8)
    data = onboard.compress(picture, budget=budget, packet_size=1500)
    assert shot.LEAST_USED * budget <= len(data) <= budget
    steps = steps_of(data)
    assert 0 < np.ptp(steps[: len(steps) * 9 // 10]) < 8  # only the last ones may differ more
    assert (onboard.decompress(data, enhance="plain").mask == 1 + FIRST_REFINEMENT).all()
    assert data == onboard.compress(picture, budget=budget, packet_size=1500)


@pytest.mark.parametrize("make", [texture, colourful])
@pytest.mark.parametrize("interleave_log2", [0, 2])
def test_a_share_of_the_blocks_is_coded_at_the_finer_of_two_grains(make, interleave_log2: int) -> None:  # type: ignore[no-untyped-def]
    picture, model = make(96, 200), default_model()
    colour = Colour.YCBCR420 if picture.ndim == 3 else Colour.GREY
    d = Description(1, 0, model.model_id, 200, 96, interleave_log2=interleave_log2, colour=colour)
    ours = shot.make_shot(Job(picture, d, model, 65535, (), None), 60)
    shares = [0.0, 0.3, 0.8, 1.0]
    streams = [ours.packets(Grain(60), Grain(30), share) for share in shares]
    assert len({scan(b"".join(s))[0][0].description.tag for s in streams}) == len(shares)
    sizes = [sum(map(len, s)) for s in streams]
    assert sizes == sorted(sizes)
    errors = []
    for stream, share in zip(streams, shares, strict=True):
        luma = [
            s.payload[1]
            for p in scan(b"".join(stream))[0]
            for s in p.sections
            if s.layer == FIRST_REFINEMENT and s.plane == 0
        ]
        assert luma == sorted(luma) and set(luma) <= {30, 60}
        assert share not in (0.0, 1.0) or len(set(luma)) == 1
        image = onboard.decompress(stream, enhance="plain").image
        errors.append(float(((image - picture.astype(float)) ** 2).mean()))
    assert errors == sorted(errors, reverse=True)


def test_a_cliff_between_two_grains_is_bridged() -> None:
    def make(grain: Grain, finer: Grain | None = None, share: float = 0.0) -> list[bytes]:
        cost = {True: 9000, False: 2000}
        own, other = cost[grain <= Grain(40, 700)], cost[finer is not None and finer <= Grain(40, 700)]
        return [bytes(round(share * other + (1 - share) * own))]

    packets, size = spend(5000, Grain(60), lambda grain: 8 * len(make(grain)[0]), make, lambda p: len(p[0]))
    assert 4850 <= size == len(packets[0]) <= 5000


@pytest.mark.parametrize("packet_size", [60, 200, 4000])
def test_a_packer_knows_how_many_bytes_it_holds(packet_size: int) -> None:
    packer = Packer(Description(1, 2, 3, 640, 480), 9, packet_size, ())
    assert packer.used == 0
    for number in range(30):
        room = packer.room(0, 2, 0, 100 * number)
        packer.add(Section(0, 2, 0, 100 * number, bytes(min(room, 7 * number + 3))), number % 4 == 0)
    used = packer.used
    assert used == sum(len(pack(p)) for p in packer.finish())
