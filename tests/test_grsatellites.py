"""The gr-satellites receiver, on a stand-in for its base class with the same signature."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.framing import space_packet, ui_frame
from onboard.ground.grsatellites import receiver_class
from tests.make_vectors import scene
from tests.test_erasure import split


class Viewer:
    def __init__(self) -> None:
        self.opened: list[Path] = []

    def open(self, path: Path) -> None:
        self.opened.append(path)


class ImageReceiver:
    """What satellites.filereceiver.ImageReceiver brings (gr-satellites 5): the names that a receiver may rely on."""

    def __init__(self, path: str | Path, verbose: bool = False, display: bool = False, fullscreen: bool = True) -> None:
        self._files: dict[Any, Any] = {}
        self._path = Path(path)
        self._verbose = verbose
        self._feh = Viewer() if display else None
        self.lines: list[str] = []

    def _log(self, message: str) -> None:
        self.lines.append(message)


PICTURES = [scene(120, 170, i) for i in range(2)]
PACKETS = [split(onboard.compress(p, quality=50, packet_size=90, parity=(30, 0))) for p in PICTURES]


@pytest.mark.parametrize("framing", ["none", "ccsds", "ax25"])
def test_mixed_pictures_grow_in_their_own_files_and_are_shown_once(framing: str, tmp_path: Path) -> None:
    frames = [p for packets in PACKETS for p in packets]
    random.Random(3).shuffle(frames)
    receiver = receiver_class(ImageReceiver)(tmp_path, display=True)
    finished = []
    receiver.on_completion = lambda f: finished.append(f.path)
    for i, p in enumerate(frames):
        made = {"none": p, "ccsds": space_packet(p, 5, i), "ax25": ui_frame(p, "OB1TST", "QST")}[framing]
        receiver.push_chunk(made)
        receiver.push_chunk(b"telemetry of another kind")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert len(names) == 2
    assert sorted(p.name for p in receiver._feh.opened) == names
    assert {p.name for p in finished} == set(names)
    for packets in PACKETS:
        whole = onboard.decompress(b"".join(packets))
        path = tmp_path / f"{whole.report['picture_id']}-{whole.report['tag']:04x}.png"
        assert (np.asarray(Image.open(path)) == whole.image).all()


def test_nothing_that_comes_over_the_air_raises(tmp_path: Path) -> None:
    receiver = receiver_class(ImageReceiver)(tmp_path)
    rng = random.Random(1)
    for _ in range(300):
        chunk = bytearray(rng.choice(PACKETS[0]))
        chunk[rng.randrange(len(chunk))] ^= 1 << rng.randrange(8)
        receiver.push_chunk(bytes(chunk))
        receiver.push_chunk(rng.randbytes(rng.randrange(60)))
    assert list(tmp_path.iterdir()) == []
    assert len(receiver.lines) == 600
