"""Frames of ground stations: independent libraries read ours, and captures full of garbage give up their packets."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import onboard
from onboard.cli import main as compress
from onboard.errors import InputError
from onboard.framing import address, frame, kiss_frame, space_packet, ui_frame
from onboard.ground.cli import main as decode
from onboard.scan import scan
from onboard.unframe import kiss_payloads, strip_ax25, unframe
from tests.make_vectors import scene
from tests.test_cli import one_line
from tests.test_erasure import split

STREAM = onboard.compress(scene(200, 300, 3), quality=50, packet_size=150, parity=(30, 10))
PACKETS = split(STREAM)


def framed(framing: str, packets: list[bytes] = PACKETS) -> bytes:
    return frame(packets, framing, 77, "OB1TST-7", "QST")


def test_space_packets_are_read_by_an_independent_library() -> None:
    library = pytest.importorskip("spacepackets.ccsds.spacepacket")
    data = framed("ccsds")
    for i, packet in enumerate(PACKETS):
        header = library.SpacePacketHeader.unpack(data[:6])
        assert (header.apid, header.seq_count, header.data_len) == (77, i, len(packet) - 1)
        assert (header.packet_type, header.sec_header_flag) == (library.PacketType.TM, False)
        assert header.seq_flags == library.SequenceFlags.UNSEGMENTED
        assert data[6 : 6 + len(packet)] == packet
        data = data[6 + len(packet) :]
    assert data == b""


def test_the_count_of_space_packets_wraps_at_14_bits() -> None:
    assert space_packet(b"x", 5, 0x4003)[:6].hex() == "0005c0030000"


def test_a_ui_frame_is_spelled_as_in_the_standard() -> None:
    # AX.25 v2.2, figure 3.5: N7LEM to NJ7P, with SSID 0
    assert address("NJ7P", command=True, last=False).hex() == "9c946ea04040e0"
    assert address("n7lem", command=False, last=True).hex() == "9c6e988a9a4061"
    assert ui_frame(b"AB", "N7LEM", "NJ7P").hex() == "9c946ea04040e0" + "9c6e988a9a4061" + "03f0" + "4142"
    assert address("OB1TST-15", command=False, last=True)[6] == 0x7F


@pytest.mark.parametrize("call", ["", "TOOLONG", "A B", "OB1TST-16", "OB1TST-"])
def test_a_call_sign_that_is_none_is_refused(call: str) -> None:
    with pytest.raises(InputError, match="call sign"):
        address(call, command=True, last=False)


@pytest.mark.parametrize("apid", [-1, 2047])
def test_an_apid_that_is_none_is_refused(apid: int) -> None:
    with pytest.raises(InputError, match="APID"):
        space_packet(b"x", apid, 0)


@given(st.lists(st.binary(max_size=60) | st.text("\xc0\xdb\xdc\xdd", max_size=9).map(lambda s: s.encode("latin1"))))
def test_kiss_frames_carry_any_bytes(payloads: list[bytes]) -> None:
    stream = b"".join(map(kiss_frame, payloads))
    assert stream.count(b"\xc0") == 2 * len(payloads)
    assert list(kiss_payloads(stream)) == payloads


def test_digipeated_frames_and_frames_of_other_kinds_are_told_apart() -> None:
    frame = ui_frame(PACKETS[0], "OB1TST", "QST")
    digipeated = frame[:13] + bytes((frame[13] & 0xFE,)) + address("RELAY", command=False, last=True) + frame[14:]
    assert strip_ax25(frame) == strip_ax25(digipeated) == PACKETS[0]
    assert strip_ax25(PACKETS[0]) == PACKETS[0]
    assert strip_ax25(b"") == b""


@pytest.mark.parametrize("framing", ["none", "ccsds", "kiss"])
@pytest.mark.parametrize("said", ["auto", None])
def test_every_framing_comes_off_without_a_byte_left_over(framing: str, said: str | None) -> None:
    assert unframe(framed(framing), said or framing) == STREAM


def test_space_packets_of_another_apid_are_left_out() -> None:
    other = frame(PACKETS[:5], "ccsds", 78, "", "")
    assert unframe(other + framed("ccsds"), "auto", 77) == STREAM
    assert unframe(other + framed("ccsds"), "ccsds", 78) == b"".join(PACKETS[:5])


@pytest.mark.parametrize("framing", ["none", "ccsds", "kiss"])
def test_garbage_between_frames_costs_no_packet(framing: str) -> None:
    rng = random.Random(framing)
    frames = [framed(framing, [p]) for p in PACKETS]
    capture = b"".join(rng.randbytes(rng.randrange(40)) + f for f in frames) + rng.randbytes(30)
    for said in (framing, "auto"):
        for begin in (b"", b"\xc0", rng.randbytes(500)):  # whatever a capture begins with
            found = scan(unframe(begin + capture, said))[0]
            assert len(found) == len(PACKETS)


@pytest.mark.parametrize("framing", ["none", "ccsds", "kiss"])
def test_in_a_mutated_capture_every_packet_that_survives_is_used(framing: str) -> None:
    for seed in range(150):
        rng = random.Random(f"{framing} {seed}")
        frames = [bytearray(framed(framing, [p])) for p in PACKETS]
        whole = 0
        for f in frames:
            fate = rng.random()
            if fate < 0.1:
                f[rng.randrange(len(f))] ^= 1 << rng.randrange(8)
            elif fate < 0.2:
                del f[rng.randrange(len(f)) :]
            elif fate < 0.25:
                f.clear()
            else:
                whole += 1
        found = scan(unframe(b"".join(frames), framing))[0]
        assert len(found) >= whole
        assert {p.description for p in found} <= {scan(STREAM)[0][0].description}


@given(st.binary(max_size=300), st.sampled_from(["auto", "none", "ccsds", "kiss"]), st.none() | st.integers(0, 2047))
def test_garbage_in_any_framing_is_just_garbage(data: bytes, framing: str, apid: int | None) -> None:
    assert len(unframe(data, framing, apid)) <= len(data)
    assert scan(unframe(data, framing, apid))[0] == []


@pytest.mark.parametrize("framing", ["ccsds", "kiss"])
def test_the_commands_write_and_read_frames(framing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    png, stream, out = tmp_path / "in.png", tmp_path / "a.bin", tmp_path / "o.png"
    Image.fromarray(scene(100, 150, 1)).save(png)
    calls = ["--calls", "OB1TST>QST"] if framing == "kiss" else []
    argv = ["-q", str(png), "--packet", "120", "--framing", framing, *calls, "-o", str(stream)]
    assert compress(argv) == 0
    assert decode(["-q", str(stream), "-o", str(out)]) == 0
    assert compress([*argv, *(["--calls", "?>QST"] if calls else ["--apid", "9999"])]) == 2
    one_line(capsys)
