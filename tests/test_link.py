"""The link simulator does what it says, and the same for the same seed."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

import onboard
from firmware_sim.cli import main
from firmware_sim.link import Link, Pass, arrivals, flip_bits, split
from onboard.errors import InputError
from tests.make_vectors import scene

PACKETS = [i.to_bytes(4, "big") * 5 for i in range(20000)]


def lost_runs(link: Link, seed: int = 1) -> list[tuple[bool, int]]:
    arrived = set(link.transmit(PACKETS, seed))
    return [(key, len(list(run))) for key, run in groupby(p not in arrived for p in PACKETS)]


@pytest.mark.parametrize("loss", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("burst", [None, 4.0, 9.0])
def test_losses_have_the_asked_rate_and_mean_burst_length(loss: float, burst: float | None) -> None:
    runs = lost_runs(Link(loss, burst))
    lost = [n for is_lost, n in runs if is_lost]
    assert sum(lost) / len(PACKETS) == pytest.approx(loss, rel=0.12)
    assert sum(lost) / len(lost) == pytest.approx(burst or 1 / (1 - loss), rel=0.12)


def test_states_may_lose_some_packets_only() -> None:
    arrived = Link(0.5, 10.0, good_loss=0.1, bad_loss=0.6).transmit(PACKETS, 3)
    assert len(arrived) / len(PACKETS) == pytest.approx(0.65, rel=0.05)


def test_the_same_seed_gives_the_same_link_and_another_one_does_not() -> None:
    link = Link(0.2, 4.0, bit_error_rate=1e-3, duplicate=0.1, reorder=5, truncate=0.1)
    assert link.transmit(PACKETS, 7) == link.transmit(PACKETS, 7)
    assert link.transmit(PACKETS, 7) != link.transmit(PACKETS, 8)


def test_a_perfect_link_changes_nothing() -> None:
    assert Link().transmit(PACKETS, 1) == PACKETS
    assert Link(0.0, 3.0).transmit(PACKETS, 1) == PACKETS


def test_bit_errors_have_the_asked_rate_and_leave_the_losses_alone() -> None:
    arrived = Link(bit_error_rate=0.01).transmit(PACKETS, 5)
    wrong = sum((int.from_bytes(a) ^ int.from_bytes(b)).bit_count() for a, b in zip(arrived, PACKETS, strict=True))
    assert wrong / (160 * len(PACKETS)) == pytest.approx(0.01, rel=0.05)
    import random

    assert flip_bits(b"\x00\xff", 1.0, random.Random(0)) == b"\xff\x00"


def test_duplicates_and_cuts_have_their_rates() -> None:
    assert len(Link(duplicate=0.2).transmit(PACKETS, 5)) == pytest.approx(1.2 * len(PACKETS), rel=0.02)
    cut = [p for p in Link(truncate=0.2).transmit(PACKETS, 5) if len(p) < 20]
    assert len(cut) == pytest.approx(0.2 * len(PACKETS), rel=0.05)
    assert {len(p) for p in cut} == set(range(20))


def test_reordering_moves_packets_by_no_more_than_asked() -> None:
    order = [int.from_bytes(p[:4], "big") for p in Link(reorder=6).transmit(PACKETS, 5)]
    assert sorted(order) == list(range(len(PACKETS)))
    assert order != sorted(order)
    assert max(abs(i - n) for i, n in enumerate(order)) <= 6


def test_a_contact_carries_what_fits_and_no_packet_lies_across_two() -> None:
    packets = [bytes(100)] * 10
    schedule = (Pass(0, 2.0, 800), Pass(100, 3.5, 800))
    assert list(arrivals(packets, schedule)) == pytest.approx([1, 2, 101, 102, 103])
    assert list(arrivals(packets, schedule, overhead=50)) == pytest.approx([1.5, 101.5, 103])
    assert len(Link(schedule=schedule).transmit(packets, 1)) == 5


@pytest.mark.parametrize(
    "options", [{"loss": 1.5}, {"burst": 0.5}, {"loss": 0.9, "burst": 2.0}, {"reorder": -1}, {"bit_error_rate": -0.1}]
)
def test_a_link_that_cannot_be_is_refused(options: dict) -> None:
    with pytest.raises(InputError):
        Link(**options)


def test_the_command_makes_a_capture_that_decodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream, received = tmp_path / "in.obp", tmp_path / "received.obp"
    stream.write_bytes(onboard.compress(scene(200, 300, 1), quality=50, packet_size=100))
    argv = ["link", str(stream), "--loss", "0.2", "--burst", "4", "--seed", "7", "-o", str(received), "--json"]
    assert main(argv) == 0
    counts = json.loads(capsys.readouterr().out)
    assert 0 < counts["arrived"] < counts["packets"]
    assert onboard.decompress(received.read_bytes()).report["packets"]["used"] == counts["intact"]
    assert main(["link", str(tmp_path / "none"), "-o", str(received)]) == 2
    assert main(["link", str(stream), "--contact", "0+2@1200", "--contact", "60+2@1200", "-o", str(received)]) == 0
    assert 400 < received.stat().st_size <= 600


@pytest.mark.parametrize("contact", ["0+60@nan", "nan+60@1200", "0+inf@1200", "0+0@1200", "0+60@-1", "0+60", "soon"])
def test_a_contact_that_is_none_gets_status_two(contact: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(["link", "in.obp", "--contact", contact])
    assert e.value.code == 2
    assert repr(contact) in capsys.readouterr().err


def test_split_keeps_packets_of_every_kind_and_leaves_garbage_out() -> None:
    data = onboard.compress(scene(100, 100, 1), quality=50, packet_size=100, parity=(50, 50))
    packets = split(data)
    assert b"".join(packets) == data
    assert split(b"\x0b\xc1\x00" + packets[0] + b"noise" + packets[1][:-1]) == [packets[0]]
