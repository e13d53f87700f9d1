"""Packets over TCP and UDP: every one is accounted for, pictures grow, and what is on disk is always whole."""

from __future__ import annotations

import io
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import onboard
from onboard.errors import InputError
from onboard.framing import frame
from onboard.ground.listen import Listener, listen
from onboard.ground.pictures import Store, decode_picture
from onboard.scan import scan
from onboard.unframe import LONGEST_FRAME, Unframer
from tests.make_vectors import scene
from tests.test_erasure import split

STREAM = onboard.compress(scene(200, 300, 3), quality=60, packet_size=120)
PACKETS = split(STREAM)


def received(url: str, send, framing: str = "auto") -> Store:
    """A store filled by whatever `send` writes to the port it is told."""
    listener = Listener(url)
    sender = threading.Thread(target=send, args=(listener.port,))
    sender.start()
    store = Store()
    listen(listener, store, lambda: Unframer(framing), lambda: None, every=0.1, idle=1.0)
    sender.join()
    assert listener.dropped == 0
    return store


def test_datagrams_are_all_accounted_for() -> None:
    rounds = 20

    def send(port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for _ in range(rounds):
                for p in PACKETS:
                    s.sendto(p, ("127.0.0.1", port))
                time.sleep(0.01)
            s.sendto(PACKETS[0][:-1], ("127.0.0.1", port))
            s.sendto(b"noise", ("127.0.0.1", port))

    store = received("udp://127.0.0.1:0", send)
    (report,) = store.sources.values()
    assert report.packets == rounds * len(PACKETS)
    assert report.corrupt == 1
    assert report.skipped_bytes == len(PACKETS[0]) - 1 + 5
    (description,) = store.descriptions()
    assert store.duplicates[description] == (rounds - 1) * len(PACKETS)
    assert decode_picture(store, description).complete


@pytest.mark.parametrize("framing", ["none", "ccsds", "kiss"])
def test_streams_in_pieces_of_any_size_give_every_packet(framing: str) -> None:
    def send(port: int) -> None:
        rng = random.Random(framing)
        for half in (PACKETS[::2], PACKETS[1::2]):  # two connections, one after the other
            data = frame(half, framing, 5, "A", "B")
            with socket.create_connection(("127.0.0.1", port)) as s:
                while data:
                    n = rng.randrange(1, 300)
                    s.sendall(data[:n])
                    data = data[n:]

    store = received("tcp://127.0.0.1:0", send, framing)
    (report,) = store.sources.values()
    assert (report.packets, report.skipped_bytes) == (len(PACKETS), 0)


@given(st.randoms(use_true_random=False), st.sampled_from(["none", "ccsds", "kiss"]), st.booleans())
def test_how_a_stream_is_cut_into_pieces_does_not_matter(rng: random.Random, framing: str, noisy: bool) -> None:
    noise = [rng.randbytes(rng.randrange(50)) if noisy else b"" for _ in PACKETS]
    data = b"".join(n + frame([p], framing, 5, "A", "B") for n, p in zip(noise, PACKETS, strict=True))
    taker = Unframer(framing)
    out, at = b"", 0
    while at < len(data):
        n = rng.randrange(1, 400)
        out += taker.feed(data[at : at + n])
        at += n
    out += taker.feed(b"", final=True)
    assert len(scan(out)[0]) == len(PACKETS)


@pytest.mark.parametrize("fill", [b"\x0b\xc1\x00", b"\x00", b"\xc0", b"\x0b\xc1" + b"\xff" * 40])
@pytest.mark.parametrize("framing", ["auto", "none", "ccsds", "kiss"])
def test_endless_garbage_never_piles_up(fill: bytes, framing: str) -> None:
    taker = Unframer(framing)
    for _ in range(10):
        taker.feed(fill * 3000)
        assert len(taker._rest) <= LONGEST_FRAME


def test_packets_beyond_the_limit_on_memory_are_refused_and_counted() -> None:
    store = Store(limit=9000)
    report = store.add(STREAM)
    (kept,) = store.pictures.values()
    assert 0 < len(kept) < report.packets
    assert store.refused == report.packets - len(kept)
    assert store.kept <= 9000


def test_the_cost_of_a_packet_in_memory_is_not_understated() -> None:
    import tracemalloc

    from onboard.ground.pictures import PACKET_COST, packet_bytes

    data = onboard.compress(scene(700, 900, 3), quality=70, packet_size=64)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        store = Store()
        store.add(data)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    (packets,) = store.pictures.values()
    assert grown <= sum(PACKET_COST + packet_bytes(p) for p in packets.values()) == store.kept


@pytest.mark.parametrize("url", ["udp://127.0.0.1", "http://127.0.0.1:80", "udp://:5", "tcp://127.0.0.1:99999", "x"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        Listener(url)


def test_a_live_picture_grows_and_is_whole_whenever_the_command_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "live.png"
    run = [sys.executable, "-m", "onboard.ground.cli", "--listen", "udp://127.0.0.1:0", "--live", "--every", "0"]
    for seed in range(3):
        rng = random.Random(seed)
        with subprocess.Popen([*run, "-o", str(out)], stderr=subprocess.PIPE, text=True) as command:
            assert command.stderr is not None
            port = int(command.stderr.readline().rsplit(" ", 1)[1])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                written = None
                for _ in range(3000):
                    s.sendto(rng.choice(PACKETS), ("127.0.0.1", port))
                    time.sleep(0.005)
                    if out.exists() and written is None:
                        written = rng.randrange(20)
                    if written is not None:
                        written -= 1
                        if written < 0:
                            break
            command.kill()
        with Image.open(out) as image:
            image.load()
            assert image.size == (300, 200)


def test_of_several_pictures_the_first_goes_to_standard_output() -> None:
    other = split(onboard.compress(scene(60, 90, 4), quality=40))
    run = [sys.executable, "-m", "onboard.ground.cli", "--listen", "udp://127.0.0.1:0", "--idle", "1", "-o", "-"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stderr is not None
        port = int(command.stderr.readline().rsplit(b" ", 1)[1])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for packet in PACKETS + other:
                s.sendto(packet, ("127.0.0.1", port))
        picture, said = command.communicate(timeout=60)
    assert command.returncode == 1
    assert b"which came first" in said
    with Image.open(io.BytesIO(picture)) as image:
        assert image.size == (300, 200)
