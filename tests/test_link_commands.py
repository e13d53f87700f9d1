"""What the board kept or the link carries, as the commands take it: with frames, from a pipe, or nothing at all."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import onboard
from firmware_sim.cli import main as simulate
from onboard.cli import main as compress
from onboard.framing import frame
from onboard.ground.cli import main as decode
from onboard.scan import scan
from tests.make_vectors import colour_scene
from tests.test_erasure import split

FRAMES = pytest.mark.parametrize("framing", ["none", "ccsds", "kiss"])
PICTURE = colour_scene(120, 170, 1)
SAID = {"source_id": "N0CALL", "capture_time_ms": 1700000000123, "metadata": "roll 3"}
STREAM = onboard.compress(PICTURE, quality=50, packet_size=150, parity=(20, 20), **SAID)
PACKETS = split(STREAM)

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder with in.png and in.obp: status, and what it says."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PICTURE).save("in.png")
    Path("in.obp").write_bytes(STREAM)

    def run(command: Callable[[list[str]], int], line: str) -> tuple[int, str]:
        return command(line.split()), "".join(capsys.readouterr())

    return run


@pytest.fixture
def asked(run: Run) -> str:
    """A file with the missing map of in.obp without its second to fifth packet and all parity."""
    sources = [p for p, parsed in zip(PACKETS, scan(STREAM)[0], strict=True) if parsed.sections]
    Path("lost.obp").write_bytes(b"".join(sources[:1] + sources[5:]))
    assert run(decode, "-q lost.obp -o lost.png --enhance plain --missing map.b64")[0] == 1
    return "map.b64"


def framed(framing: str) -> bytes:
    return frame(PACKETS, framing, 77, "OB1TST-7", "QST")


def said_in(path: str) -> list[dict[str, object]]:
    """What each packet of a file says beside the picture."""
    return [onboard.decompress(p, enhance="plain").report["extensions"] for p in split(Path(path).read_bytes())]


def test_packets_are_sent_again_as_large_as_the_first_time(run: Run, asked: str) -> None:
    assert run(compress, f"-q in.obp --resend {asked} -o again.obp")[0] == 0
    again = split(Path("again.obp").read_bytes())
    assert len(again) > 1 and max(map(len, again)) <= 150
    assert run(decode, "-q lost.obp again.obp -o all.png")[0] == 0
    assert run(compress, f"-q in.obp --resend {asked} --packet 1000 -o large.obp")[0] == 0
    assert max(map(len, split(Path("large.obp").read_bytes()))) > 150


def test_packets_that_are_sent_again_say_what_they_said_unless_it_is_given_anew(run: Run, asked: str) -> None:
    assert run(compress, f"-q in.obp --resend {asked} -o again.obp")[0] == 0
    assert all(said == SAID for said in said_in("again.obp"))
    assert run(compress, f"-q in.obp --resend {asked} --source-id OB1TST -o again.obp")[0] == 0
    assert all(said == SAID | {"source_id": "OB1TST"} for said in said_in("again.obp"))
    assert all(p.erasure is None for p in scan(Path("again.obp").read_bytes())[0])


@FRAMES
def test_a_kept_stream_may_be_framed(framing: str, run: Run, asked: str) -> None:
    assert run(compress, f"-q in.obp --resend {asked} -o wanted.obp")[0] == 0
    Path("kept.bin").write_bytes(framed(framing))
    assert run(compress, f"-q kept.bin --resend {asked} -o again.obp")[0] == 0
    assert Path("again.obp").read_bytes() == Path("wanted.obp").read_bytes()


@FRAMES
def test_a_base_may_be_framed(framing: str, run: Run) -> None:
    Path("base.bin").write_bytes(framed(framing))
    assert run(compress, "-q --refine in.png --base base.bin --budget 2kB -o more.obp")[0] == 0
    assert Path("more.obp").read_bytes() == onboard.refine(PICTURE, STREAM, budget=2000)


def test_a_base_that_is_empty_is_named(run: Run) -> None:
    Path("empty.obp").touch()
    status, said = run(compress, "--refine in.png --base empty.obp --budget 2kB")
    assert status == 2
    assert "empty.obp: no packets" in said and said.count("\n") == 1


@FRAMES
def test_the_simulated_link_carries_what_is_in_frames(framing: str, run: Run) -> None:
    Path("kept.bin").write_bytes(framed(framing))
    status, said = run(simulate, "link kept.bin -o received.obp --json")
    assert status == 0
    assert json.loads(said)["intact"] == len(PACKETS)
    assert Path("received.obp").read_bytes() == STREAM


def test_the_simulated_link_refuses_what_has_no_packets(run: Run) -> None:
    status, said = run(simulate, "link in.png -o received.obp")
    assert status == 2
    assert "in.png: no packets in it" in said and said.count("\n") == 1
    assert not Path("received.obp").exists()


def test_the_simulated_link_never_writes_over_its_input(run: Run) -> None:
    status, said = run(simulate, "link in.obp --loss 0.5 -o in.obp")
    assert status == 2
    assert "in.obp: is what would be read" in said
    assert Path("in.obp").read_bytes() == STREAM
    assert run(simulate, "link in.obp -o - --json")[0] == 2


@pytest.mark.parametrize("name", ["in.obp", "in.png"])
def test_a_pipe_carries_what_is_sent_again(name: str, run: Run, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(name).read_bytes())))
    as_first = "--quality 50 --packet 150 --parity 20 --source-id N0CALL --time 1700000000123" * (name == "in.png")
    status, said = run(compress, f"-q - --resend {asked} -o again.obp {as_first}")
    assert status == 0, said
    assert run(decode, "-q lost.obp again.obp -o all.png")[0] == 0


def test_a_map_is_not_written_over(run: Run, asked: str) -> None:
    before = Path(asked).read_bytes()
    assert run(compress, f"in.obp --resend {asked} -o {asked}")[0] == 2
    assert Path(asked).read_bytes() == before


def test_nothing_left_to_send_is_an_empty_file_and_no_error(run: Run) -> None:
    Path("again.obp").write_bytes(b"of the pass before")
    assert run(decode, "-q in.obp -o whole.png --enhance plain --missing none.b64")[0] == 0
    status, said = run(compress, "in.obp --resend none.b64 -o again.obp --bitrate 1200")
    assert (status, said) == (0, "again.obp: empty, nothing left to send\n")
    assert Path("again.obp").read_bytes() == b""
    assert run(decode, "-q in.obp again.obp -o whole.png")[0] == 0
    status, said = run(simulate, "link again.obp -o received.obp")
    assert (status, Path("received.obp").read_bytes()) == (0, b"")


def test_a_picture_that_has_been_sent_exactly_gets_an_empty_refinement(run: Run) -> None:
    assert run(compress, "-q in.png --lossless -o exact.obp")[0] == 0
    for more in ("more.obp", "again.obp"):  # an empty refinement is a base as any other
        status, said = run(compress, f"--refine in.png --base exact.obp --budget 2kB --check --json -o {more}")
        (found,) = json.loads(said)
        assert (status, found["bytes"], found["packets"], found["psnr"]) == (0, 0, 0, None)
        assert Path(more).read_bytes() == b""
    assert run(compress, "-q --refine in.png --base exact.obp --base more.obp --lossless -o last.obp")[0] == 0


def test_a_refinement_is_reported_in_full(run: Run) -> None:
    status, said = run(compress, "--refine in.png --base in.obp --budget 2kB -v --bitrate 1200")
    assert status == 0
    assert "s on the air" in said


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("in.obp --resend map.b64 --scale 2", "--scale is for pictures"),
        ("in.obp --resend map.b64 --stream", "--stream is for pictures"),
        ("in.obp --resend map.b64 --quality 50", "--quality is for pictures"),
        ("in.obp --resend map.b64 --image-id 0", "--image-id is for pictures"),
        ("in.obp --resend map.b64 --check", "--check is for pictures"),
        ("in.obp --resend map.b64 --radio lora --packet 300", "this radio carries"),
        ("in.obp --resend map.b64 --packet 20", "packet size 20: must be"),
        ("in.png --refine --base in.obp --budget 2k --packet 20", "packet size 20: must be"),
        ("in.png --refine --base in.obp --budget 2k --radio lora --packet 300", "this radio carries"),
        ("in.png --refine --base in.obp --budget 2k --resend map.b64", "--resend is for previews"),
        ("in.png --refine --base in.obp --budget 2k --scale 2", "--scale is for previews"),
        ("in.png --refine --base in.obp --budget 2k --interleave 4", "--interleave is for previews"),
        ("in.png --refine --base in.obp --budget 2k --stream", "--stream is for previews"),
        ("in.png --refine --base in.obp --budget 2k --image-id 0", "--image-id is for previews"),
        ("in.png --refine --base in.obp --budget 2k --gray", "--gray is for previews"),
        ("in.png --stream --quality 50 --curve sqrt", "--curve does not go with --stream"),
        ("in.png --stream --quality 50 --time 0", "--time does not go with --stream"),
        ("in.png --bitrate -5", "bit rate -5: must be more than 0"),
        ("in.png --bitrate nan", "bit rate nan: must be more than 0"),
        ("in.png --bitrate 0", "bit rate 0: must be more than 0"),
        ("in.png --bitrate 0 --seconds 5", "bit rate 0: must be more than 0"),
    ],
)
def test_options_of_the_board_without_effect_or_sense_are_refused(
    line: str, complaint: str, run: Run, asked: str
) -> None:
    status, said = run(compress, f"{line} -o no.obp")
    assert status == 2
    assert complaint in said and said.count("\n") == 1
    assert not Path("no.obp").exists()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--live", "--live goes with --listen"),
        ("--every 2", "--every goes with --listen"),
        ("--idle 2", "--idle goes with --listen"),
        ("--listen udp://127.0.0.1:0 --every 2", "--every goes with --live"),
        ("--missing-limit 20", "--missing-limit goes with --missing"),
        ("--apid 5 --framing kiss", "--apid goes with --framing ccsds"),
    ],
)
def test_options_of_the_ground_without_effect_are_refused(line: str, complaint: str, run: Run) -> None:
    status, said = run(decode, f"in.obp -o no.png {line}")
    assert status == 2
    assert complaint in said and said.count("\n") == 1
    assert not Path("no.png").exists()
