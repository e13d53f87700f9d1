"""Missions: the queue is coarse to fine, passes end where they end, losses are asked for again, nothing is left to
chance."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware_sim import chart
from firmware_sim.board import Board, Builds, Preview, as_taken
from firmware_sim.build import host_compiler
from firmware_sim.devices import find_device, find_radio
from firmware_sim.flight import Flight
from firmware_sim.frames import Frame, luma, take
from firmware_sim.link import Link
from firmware_sim.mission import Camera, Contact, Mission, Setup
from firmware_sim.report import contents, timeline
from firmware_sim.summary import summary, text
from firmware_sim.transmit import Queue
from onboard import decompress
from onboard.errors import InputError
from tests.make_vectors import colour_scene

RADIO = replace(find_radio("uhf"), watts=2.0)
CAMERA = Camera(made_up=(3, 96, 64), interval=1.0)
SETUP = Setup(find_device("stm32f407"), "stm", budget=300, packet=64)
PI = Setup(find_device("pi-4"), "pi", budget=400, packet=80)
WHOLE = Link(overhead=RADIO.overhead)


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    """Without a C compiler: Python makes the same bytes, and nothing is to be built."""
    found = Builds(tmp_path)
    found.compiler = False
    return found


def fly(
    builds: Builds, *contacts: Contact, setup: Setup = SETUP, camera: Camera = CAMERA, **options: float | None
) -> Flight:
    mission = Mission(camera, (setup,), RADIO, contacts, **options)  # type: ignore[arg-type]
    flight = Flight(mission, setup, take(camera, mission.seed), builds)
    flight.run(lambda what, done, total: None)
    return flight


def preview_of(builds: Builds, number: int = 1, setup: Setup = SETUP) -> Preview:
    frame = take(CAMERA, 0)[number - 1]
    board, picture = Board(setup, builds), frame.picture()
    return Preview(frame, False, board.encode(frame, picture), board.need(picture))


def test_the_queue_is_coarse_to_fine_across_pictures_and_old_before_new(builds: Builds) -> None:
    queue, previews = Queue(), [preview_of(builds, n) for n in (2, 1)]
    for p in previews:
        queue.add(p)
        assert queue.add(p) == 0, "a packet waits once"
    assert queue.bytes == sum(p.size for p in previews)
    out = [queue.pop() for _ in range(len(queue))]
    assert out == sorted(out)
    assert [e.level for e in out] == sorted(e.level for e in out)
    assert {e.level for e in out} == {0, 1}
    assert [e.number for e in out if e.level == 0] == sorted(e.number for e in out if e.level == 0)
    assert queue.bytes == 0


def test_a_packet_that_is_asked_for_again_goes_before_finer_ones(builds: Builds) -> None:
    queue, preview = Queue(), preview_of(builds)
    queue.add(preview, [i for i, level in enumerate(preview.levels) if level == 1])
    again = preview.levels.index(0)
    queue.add(preview, [again])
    assert queue.first()[0].place == again


def test_a_pass_ends_at_the_bit_where_it_ends(builds: Builds) -> None:
    frame = preview_of(builds)
    sizes = [len(frame.packets[i]) + RADIO.overhead for i in sorted(range(len(frame.packets)), key=order(frame))]
    one = replace(CAMERA, made_up=(1, 96, 64))
    seconds = 8 * sum(sizes[:4]) / 1024
    for spare, count in ((0.0, 4), (-1 / 1024, 3)):
        log = fly(builds, Contact(16, seconds + spare, 1024, WHOLE), camera=one).passes[0]
        assert len(log.sent) == count
        assert log.bytes_sent == sum(sizes[:count]) - count * RADIO.overhead
        assert log.queue_after == frame.size - log.bytes_sent
        assert log.joules == pytest.approx(2.0 * 8 * sum(sizes[:count]) / 1024)


def order(preview: Preview):  # type: ignore[no-untyped-def]
    return lambda i: (preview.levels[i], i)


def test_frames_that_are_taken_during_a_pass_are_sent_in_it(builds: Builds) -> None:
    flight = fly(builds, Contact(0.5, 100, 9600, WHOLE))
    by_picture = {s.entry.number: s.time for s in reversed(flight.passes[0].sent)}
    assert {n: t > flight.previews[n].ready for n, t in by_picture.items()} == {1: True, 2: True, 3: True}
    assert by_picture[3] > 2.0
    assert summary(flight)["complete"] == 3


def test_frames_after_the_last_pass_are_encoded_and_wait(builds: Builds) -> None:
    flight = fly(builds, Contact(0.5, 0.1, 9600, WHOLE))
    assert len(flight.previews) == 3
    assert flight.queue.bytes + flight.passes[0].bytes_sent == sum(p.size for p in flight.previews.values())


def test_what_got_lost_is_asked_for_and_nothing_else_is_sent_again(builds: Builds) -> None:
    flight = fly(builds, Contact(10, 60, 9600, Link(0.3, overhead=20)), Contact(100, 60, 9600, WHOLE))
    first, second = flight.passes
    lost = [s for s in first.sent if not s.intact]
    assert lost
    assert first.queue_after == 0
    assert first.again == len(lost) == len(second.sent)
    assert {s.entry for s in second.sent} == {s.entry for s in lost}
    assert 0 < first.asked_bytes < first.bytes_sent / 10
    assert summary(flight)["complete"] == 3
    for number, preview in flight.previews.items():
        received = flight.ground.decode(number)
        assert (received.image == decompress(preview.packets).image).all()


def test_the_ground_may_ask_within_a_pass(builds: Builds) -> None:
    lossy = Contact(10, 60, 9600, Link(0.3, overhead=20))
    once, often = (fly(builds, lossy, ask_every=s) for s in (None, 2.0))
    assert summary(once)["complete"] < 3 == summary(often)["complete"]
    log = often.passes[0]
    assert log.again == sum(not s.intact for s in log.sent)
    assert all(a.time <= b.time for a, b in zip(log.sent, log.sent[1:], strict=False))
    sizes = [s.size + 20 for s in log.sent]
    assert log.sent[-1].time - 10 >= 8 * sum(sizes) / 9600 - 1e-9, "one packet at a time"


def test_without_resending_nothing_is_sent_again(builds: Builds) -> None:
    flight = fly(builds, Contact(10, 60, 9600, Link(0.3)), Contact(100, 60, 9600, WHOLE), resend=False)
    assert flight.passes[1].sent == []
    assert summary(flight)["complete"] < 3


def test_a_picture_of_which_nothing_came_is_missed_by_its_number(builds: Builds) -> None:
    flight = fly(builds, Contact(10, 60, 9600, WHOLE))
    del flight.ground.heard[2]
    request = flight.ground.ask()
    assert (request.unheard, request.maps, request.done) == ([2], [], [1, 3])
    assert request.bytes == 2 * 3


def test_packets_that_still_wait_are_not_queued_twice(builds: Builds) -> None:
    short = 0.4  # seconds: not all of the first layer
    flight = fly(builds, Contact(10, short, 9600, WHOLE), Contact(100, 60, 9600, WHOLE))
    assert flight.passes[0].asked_maps >= 1
    assert flight.passes[0].again == 0
    assert len(flight.passes[0].sent) + len(flight.passes[1].sent) == sum(
        len(p.packets) for p in flight.previews.values()
    )


def test_blocks_that_a_quota_left_out_are_not_sent_again_and_again(builds: Builds) -> None:
    setup = replace(SETUP, budget=100)
    flight = fly(builds, Contact(10, 60, 9600, WHOLE), setup=setup)
    assert any(p.holes for p in flight.previews.values()), "a tight quota leaves holes"
    for number, p in flight.previews.items():
        assert p.holding(flight.ground.decode(number).missing) == []


@pytest.mark.parametrize("device", [PI, SETUP], ids=["computer", "microcontroller"])
def test_erasure_packets_stand_for_lost_ones(builds: Builds, device: Setup) -> None:
    preview = preview_of(builds, setup=replace(device, parity=(100.0, 50.0)))
    parity = set(range(len(preview.packets))) - preview.sources
    assert parity
    lost = max(preview.coarse)
    have = set(range(len(preview.packets))) - {lost}
    assert lost in preview.with_restored(have)
    assert lost not in preview.with_restored(preview.sources - {lost})
    assert all(preview.levels[i] in (0, 1) for i in parity)
    whole = decompress(preview.packets).image
    assert (decompress([preview.packets[i] for i in sorted(have)]).image == whole).all()


@pytest.mark.parametrize("setup", [SETUP, replace(PI, parity=(60.0, 30.0))], ids=["single pass", "parity"])
def test_a_picture_counts_as_complete_when_the_decoder_misses_nothing(builds: Builds, setup: Setup) -> None:
    states = set()
    for seed in range(6):
        flight = fly(builds, Contact(10, 60, 9600, Link(0.1 + seed / 12)), setup=setup, seed=seed)
        for number, heard in flight.ground.heard.items():
            preview, missing = flight.previews[number], flight.ground.decode(number).missing
            asked = set(preview.holding(missing))
            assert (heard.complete is not None) == (missing.spans == preview.holes) == (not asked)
            assert (heard.coarse is not None) == (not asked & preview.coarse)
            states.add((heard.coarse is not None, heard.complete is not None))
    assert states == {(False, False), (True, False), (True, True)}


def test_bit_errors_and_copies_do_no_harm(builds: Builds) -> None:
    flight = fly(builds, Contact(10, 60, 9600, Link(bit_error_rate=1e-3, duplicate=0.5)))
    log = flight.passes[0]
    assert 0 < sum(s.intact for s in log.sent) < len(log.sent)
    assert all(len(p.have) == len(p.data) for p in flight.ground.heard.values())


@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (
            replace(SETUP, ram=4000),
            r"96x64 grey needs \d{4} bytes of RAM \(encoder .* 8 camera rows 768\), there are 4000",
        ),
        (replace(SETUP, flash=20000), r"96x64 grey needs \d{5} bytes of flash, there are 20000"),
        (replace(SETUP, seconds=1e-4), r"96x64 grey takes 0\.\d+ s on a STM32F407, there are 0\.0001 s"),
        (replace(SETUP, budget=20), "quota 20: must be 48 to"),
        (replace(PI, budget=20), "a budget of 20 bytes is too small: the smallest stream"),
        (replace(PI, ram=10_000_000), r"needs \d+ bytes of RAM \(\d+ for Python and numba, .*\), there are 10000000"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_in_numbers(builds: Builds, setup: Setup, says: str) -> None:
    flight = fly(builds, Contact(10, 60, 9600, WHOLE), setup=setup)
    assert flight.previews == {}
    assert len(flight.refused) == 3
    assert re.search(says, flight.refused[0].why), flight.refused[0].why
    assert "refused: frame 1" in text(summary(flight))


def test_a_full_store_refuses_until_the_ground_has_what_it_holds(builds: Builds) -> None:
    setup = replace(SETUP, store=650)
    camera = replace(CAMERA, made_up=(4, 96, 64), interval=30.0)  # the last at 90 s
    contacts = (Contact(62, 10, 9600, WHOLE), Contact(100, 10, 9600, WHOLE))
    flight = fly(builds, *contacts, setup=setup, camera=camera)
    assert [r.frame.number for r in flight.refused] == [3]
    assert "the store of 650 bytes holds" in flight.refused[0].why
    assert flight.kept_peak <= 650


def test_sixteen_bits_are_for_computers(builds: Builds) -> None:
    board, picture = Board(SETUP, builds), np.zeros((16, 16), np.uint16)
    why = board.refusal(picture, board.need(picture), 1.0, 0)
    assert why == "16x16 grey: samples of 16 bits; the microcontroller's encoder takes 8"


@pytest.mark.parametrize("parity", [None, (40.0, 20.0)])
def test_the_c_encoder_and_python_send_the_same_packets(
    builds: Builds, tmp_path: Path, parity: tuple[float, float] | None
) -> None:
    setup = replace(SETUP, parity=parity)
    try:
        host_compiler()
    except InputError as e:
        pytest.skip(str(e))
    (tmp_path / "c").mkdir()
    compiled = Builds(tmp_path / "c")
    frame = take(replace(CAMERA, colour=True), 5)[0]
    made = [Board(setup, b).encode(frame, frame.picture()) for b in (builds, compiled)]
    assert made[0] == made[1]
    need = Board(setup, compiled).need(frame.picture())
    assert need.ram < Board(setup, builds).need(frame.picture()).ram, "without a compiler the estimate is generous"


def test_the_same_seed_is_the_same_report_and_another_is_not(builds: Builds) -> None:
    link = Link(0.2, 3.0)
    contacts = (Contact(10, 60, 9600, link), Contact(100, 60, 9600, link))
    reports = []
    for seed in (1, 1, 2):
        flight = fly(builds, *contacts, seed=seed)
        reports.append(contents(flight, summary(flight)))
    assert reports[0] == reports[1]
    assert reports[0]["timeline.json"] != reports[2]["timeline.json"]


def test_passes_lose_different_packets(builds: Builds) -> None:
    link = Link(0.5)
    flight = fly(builds, Contact(0.5, 60, 9600, link), Contact(100, 60, 9600, link))
    patterns = [[s.intact for s in log.sent] for log in flight.passes]
    assert patterns[0][: len(patterns[1])] != patterns[1]


def test_the_timeline_is_in_order_and_tells_of_every_packet(builds: Builds) -> None:
    flight = fly(builds, Contact(0.5, 1.5, 9600, Link(0.1)), Contact(100, 60, 9600, WHOLE))
    events = timeline(flight)
    assert [e["t"] for e in events] == sorted(e["t"] for e in events)
    sent = [e for e in events if e["event"] == "sent"]
    assert sum(e["bytes"] for e in sent) == sum(log.bytes_sent for log in flight.passes)
    ground = [e for e in events if e["event"] == "ground"]
    assert ground[-1]["complete"] == 3
    assert [e["coarse"] for e in ground] == sorted(e["coarse"] for e in ground)
    figures = summary(flight)
    assert figures["first_coarse_s"] <= figures["first_complete_s"] <= figures["all_complete_s"]
    assert figures["psnr_mean"] == pytest.approx(figures["psnr_had_all_come"], abs=0.01)
    assert sum(p["completed_here"] for p in figures["passes"]) == 3


def test_a_grey_camera_delivers_luma() -> None:
    colour = colour_scene(20, 30, 1)
    expected = colour @ np.array((0.299, 0.587, 0.114))
    assert np.abs(luma(colour) - expected).max() <= 1
    frame = Frame(1, "x", 0.0, None, (24, 16), True, 3)
    assert as_taken(frame, True).shape == (16, 24)
    assert as_taken(frame, False).shape == (16, 24, 3)


def test_the_chart_is_a_picture(builds: Builds) -> None:
    pytest.importorskip("matplotlib")
    flight = fly(builds, Contact(0.5, 1.0, 9600, Link(0.2)), Contact(100, 60, 9600, WHOLE))
    data = chart.chart(flight)
    assert data[:4] == b"\x89PNG"
    assert data == chart.chart(flight)
    full, idle = flight.passes
    assert full.sent[-1].time - 0.5 <= chart.shown_seconds(full) <= 1
    assert idle.sent[-1].time - 100 < chart.shown_seconds(idle) < 30
