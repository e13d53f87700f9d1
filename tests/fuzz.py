"""Mutated streams and captures against the ground half: `python -m tests.fuzz --count 100000 --seed 1`.

Every case damages the capture of one of twenty-three streams in one framing and decodes what is left. It must end in a
picture or in an error of our own, in time and within a bound on memory, and every packet that the damage did not touch
must be used. A case depends on the seed and its number only; a failure names both.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic

import numpy as np

import onboard
from onboard.errors import OnboardError
from onboard.framing import FRAMINGS, frame
from onboard.ground.pictures import Store, decode_picture
from onboard.scan import scan
from onboard.unframe import unframe
from onboard.wire import CRC, HEADER, LENGTH, Kind, pack
from tests.make_vectors import colour_scene, deep_colour_scene, deep_scene, scene

MAX_PIXELS = 1 << 16  # of a picture; a damaged header may claim 65535 x 65535
MEMORY = 256 << 20  # bytes that all cases together may take beyond what the program had when it began
SECONDS = 20  # for one case
FORGED = 0.25  # share of cases with a damaged packet behind a valid CRC, so that the parsers meet it


@cache
def streams() -> list[list[bytes]]:
    """The packets of twenty-three streams: grey, colour and deep, all scales and interleaves, parity, every layer."""
    preview = onboard.compress(scene(80, 200, 7), quality=30, scale=2)
    deep = onboard.compress(deep_colour_scene(80, 90, 21), quality=30, packet_size=150, curve="sqrt")
    made = [
        onboard.compress(scene(40, 61, 1), quality=30, packet_size=64),
        onboard.compress(scene(70, 90, 2), quality=60, packet_size=150, interleave=2),
        onboard.compress(scene(70, 90, 3), quality=60, packet_size=150, interleave=4),
        onboard.compress(scene(97, 83, 4), quality=50, packet_size=90, parity=(50, 20)),
        onboard.compress(
            scene(90, 120, 5), quality=70, packet_size=100, parity=(100, 50), interleave=4, order="spread"
        ),
        onboard.compress(scene(90, 120, 5), quality=50, packet_size=100, expect_loss=0.1, expect_burst=4),
        onboard.compress(scene(100, 130, 6), quality=60, scale=2, packet_size=80),
        onboard.compress(scene(130, 170, 7), quality=70, scale=4, packet_size=64, interleave=2),
        onboard.compress(scene(150, 150, 8), quality=80, scale=8, packet_size=60, interleave=4),
        onboard.compress(scene(200, 130, 9), quality=90, scale=16, packet_size=60),
        onboard.compress(scene(200, 220, 10), quality=90, scale=32, packet_size=48),
        onboard.compress(scene(240, 250, 11), quality=90, scale=64),
        onboard.compress(scene(255, 255, 12), quality=90, scale=128),
        onboard.compress(colour_scene(50, 60, 13), quality=50, packet_size=100),
        onboard.compress(colour_scene(70, 80, 14), quality=50, packet_size=120, interleave=4, parity=(60, 30)),
        onboard.compress(colour_scene(90, 60, 15), quality=60, scale=2, packet_size=120, interleave=2),
        onboard.compress(deep_scene(64, 64, 16), quality=40, packet_size=150, metadata="m", source_id="OB1TST"),
        onboard.compress(scene(70, 90, 17), bpp=1.5, packet_size=150, interleave=2),
        onboard.compress(colour_scene(40, 50, 18), lossless=True, packet_size=400),
        preview + onboard.refine(scene(80, 200, 7), preview, bpp=1, regions=[(130, 20, 60, 40)], packet_size=100),
        b"".join(onboard.compress_stream(scene(80, 100, 19), quality=50, packet_size=100)),
        onboard.compress(deep_colour_scene(60, 70, 20), bpp=3, packet_size=200, interleave=2),
        deep + onboard.refine(deep_colour_scene(80, 90, 21), deep, bpp=1, regions=[(30, 20, 40, 40)], packet_size=100),
    ]
    return [[pack(p) for p in scan(data)[0]] for data in made]


def mutated(rng: random.Random, frames: list[bytes]) -> tuple[bytes, list[int]]:
    """A damaged capture, and the numbers of the frames that the damage did not touch."""
    frames = list(frames)
    whole = set(range(len(frames)))
    order = list(range(len(frames)))
    for _ in range(rng.choice((0, 0, 1, 3))):  # lost, twice, out of order
        i = rng.randrange(len(order))
        kind = rng.randrange(3)
        if kind == 0 and len(order) > 1:
            del order[i]
        elif kind == 1:
            order.insert(rng.randrange(len(order) + 1), order[i])
        else:
            rng.shuffle(order)
    pieces = [frames[i] for i in order]
    damaged = set()
    for _ in range(rng.randint(1, 6)):
        n = rng.randrange(len(pieces))
        data = bytearray(pieces[n])
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice((0, 0xFF, 0x0B, 0xC0, 0xC1, 0xDB, rng.randrange(256)))
        elif kind == 2:
            del data[at : at + rng.randint(1, 20)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == 4:
            del data[at:]
        else:  # garbage between frames touches none
            pieces[n] = bytes(data) + _noise(rng)
            continue
        pieces[n] = bytes(data) or b"\0"
        damaged.add(n)
    left = {i for n, i in enumerate(order) if n not in damaged}
    return b"".join(pieces), sorted(whole & left)


def _noise(rng: random.Random) -> bytes:
    return rng.choice((rng.randbytes(rng.randrange(200)), b"\x0b\xc1" * rng.randrange(50), b"\xc0" * rng.randrange(9)))


def forged(rng: random.Random, packet: bytes) -> bytes:
    """A packet with some bytes changed and a length and CRC that fit."""
    raw = bytearray(packet[: -CRC.size])
    for _ in range(rng.randint(1, 6)):
        raw[rng.randrange(2, len(raw))] = rng.choice((0, 0xFF, rng.randrange(256)))
    LENGTH.pack_into(raw, HEADER.size - LENGTH.size, len(raw) + CRC.size)
    return bytes(raw) + CRC.pack(zlib.crc32(raw))


def run_case(seed: int, number: int) -> str:
    """One case; returns how it ended: "picture" or "nothing". Anything that must not happen is raised."""
    rng = random.Random(f"{seed} {number}")
    packets = streams()[number % len(streams())]
    framing = rng.choice(FRAMINGS)
    frames = [frame([p], framing, 7, "OB1TST", "QST") for p in packets]
    capture, whole = mutated(rng, frames)
    if rng.random() < FORGED:
        capture += frame([forged(rng, rng.choice(packets))], framing, 7, "OB1TST", "QST")
    store = Store()
    store.add(unframe(capture, framing))
    kept = {pack(p) for d in (*store.pictures.values(), *store.parity.values()) for p in d.values()}
    lost = {packets[i] for i in whole} - kept
    assert not lost, f"{len(lost)} packets that arrived intact are not used"
    try:
        found = store.descriptions()
    except OnboardError:
        assert all(scan(packets[i])[0][0].kind == Kind.PARITY for i in whole)
        return "nothing"
    ended = "nothing"
    for description in found:
        try:
            decoded = decode_picture(store, description, enhance="plain", max_pixels=MAX_PIXELS)
        except OnboardError:
            continue
        assert decoded.image.shape[:2] == (description.height, description.width)
        assert decoded.report["packets"]["used"] == len(store.pictures.get(description, {}))
        assert set(np.unique(decoded.mask)) <= {*range(16), 255}
        assert 0 <= decoded.report["received"] <= 1
        ended = "picture"
    return ended


@contextmanager
def limits() -> Iterator[None]:
    """A case that hangs, or takes more memory than stated, is ended with an error."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as f:
        now = int(f.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))

    def hung(*_: object) -> None:
        raise TimeoutError(f"a case took more than {SECONDS} s")

    old = signal.signal(signal.SIGALRM, hung)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(count: int, seed: int, first: int = 0) -> Counter[str]:
    """Run cases; returns how many ended how. The first that fails is raised, with its number."""
    for number in range(len(streams())):  # compile what there is before memory is counted
        run_case(seed, number)
    ended: Counter[str] = Counter()
    with limits():
        for number in range(first, first + count):
            signal.alarm(SECONDS)
            try:
                ended[run_case(seed, number)] += 1
            except Exception as e:
                raise AssertionError(f"seed {seed}, case {number}: {type(e).__name__}: {e}") from e
            if sys.stderr.isatty() and number % 1000 == 0:
                print(f"\r{number}", end="", file=sys.stderr, flush=True)
    return ended


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition(":")[0])
    parser.add_argument("--count", type=int, default=100_000, help="cases (default 100000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    began = monotonic()
    ended = fuzz(options.count, options.seed, options.first)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{options.count} cases, seed {options.seed}: {ended['picture']} made a picture, {ended['nothing']} were "
        f"refused, none failed; {monotonic() - began:.0f} s, peak memory {peak} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
