"""What people get wrong on the command line: one line each, before any work, and nothing lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onboard
from firmware_sim.cli import main as simulate
from onboard.cli import main as compress
from onboard.errors import InputError
from onboard.ground.cli import main as decode
from onboard.scan import scan
from onboard.wire import pack
from tests.make_vectors import colour_scene, deep_colour_scene, scene

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(scene(120, 170, 1)).save(path)
    return path


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    path = tmp_path / "in.obp"
    path.write_bytes(onboard.compress(scene(120, 170, 1), bpp=0.4, packet_size=100))
    return path


def one_line(capsys: Capture) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


def usage(command, argv: list[str], capsys: Capture) -> str:  # type: ignore[no-untyped-def]
    """What a command says of arguments that it cannot even parse."""
    with pytest.raises(SystemExit) as stopped:
        command(argv)
    assert stopped.value.code == 2
    return one_line(capsys)


@pytest.mark.parametrize("option", ["--resend", "--raw", "-o", "--model", "--base"])
def test_an_empty_name_is_not_taken_for_none(option: str, png: Path, capsys: Capture) -> None:
    assert "is empty" in usage(compress, [str(png), option, ""], capsys)
    assert list(png.parent.iterdir()) == [png]


@pytest.mark.parametrize(
    "option", ["-o", "--missing", "--mask", "--reference", "--neighbours", "--nets", "--listen", "--model"]
)
def test_an_empty_name_is_not_taken_for_none_on_the_ground(option: str, packets: Path, capsys: Capture) -> None:
    assert "is empty" in usage(decode, [str(packets), option, ""], capsys)


@pytest.mark.parametrize("argv", [["--budget", "1e3"], ["--parity", "10,"], ["--interleave", "3"], ["--nothing"]])
def test_what_cannot_be_parsed_is_told_in_one_line(argv: list[str], png: Path, capsys: Capture) -> None:
    assert "--help lists the options" in usage(compress, [str(png), *argv], capsys)


@pytest.mark.parametrize("size", [0, 1, 47, 65536])
def test_packets_of_no_possible_size_are_refused(size: int, png: Path, capsys: Capture) -> None:
    for more in ([], ["--budget", "900"], ["--stream"], ["--parity", "20"]):
        assert compress([str(png), "--packet", str(size), *more]) == 2
        assert "must be 48 to 65535 bytes" in one_line(capsys)
    with pytest.raises(InputError, match="must be 48 to 65535 bytes"):
        onboard.compress(scene(20, 30, 1), packet_size=size)
    assert simulate(["devices", "--packet", str(size)]) == 2
    assert "must be 48 to 65535 bytes" in one_line(capsys)


@pytest.mark.parametrize(
    ("option", "text"), [("--window", "²:3"), ("--window", "3:"), ("--resend", "\udcff"), ("--resend", "none")]
)
def test_odd_characters_are_refused_in_words(option: str, text: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(scene(40, 50, 2).astype(np.uint16) * 9).save(path)
    assert compress([str(path), option, text]) == 2
    assert option.lstrip("-") in one_line(capsys)


@pytest.mark.parametrize("framing", ["ccsds", "kiss"])
def test_frames_count_in_the_size(framing: str, png: Path, capsys: Capture) -> None:
    argv = [str(png), "--framing", framing, "--budget", "1000", "--packet", "100", "--json"]
    assert compress(argv) == 0
    (made,) = json.loads(capsys.readouterr().out)
    written = os.path.getsize(made["output"])
    assert made["framed_bytes"] == written > made["bytes"] + 5 * made["packets"]
    assert 800 < written < 1000 + (written // 64 if framing == "kiss" else 1)  # KISS escapes cannot be foreseen


@pytest.mark.parametrize(
    "option",
    [["-o", "a.xyz"], ["-o", "a.psd"], ["--reference", "none.png"], ["--missing", "m", "--missing-limit", "1"]],
)
def test_nothing_is_waited_for_that_could_not_be_written(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert decode(["--listen", "udp://127.0.0.1:0", *option]) == 2
    assert "listening" not in one_line(capsys)


@pytest.mark.parametrize("url", ["udp://[::1:80", "udp://127.0.0.1", "http://127.0.0.1:80", "udp://:x"])
def test_an_address_that_is_none_is_refused(url: str, capsys: Capture) -> None:
    assert decode(["--listen", url]) == 2
    assert "must be tcp://HOST:PORT" in one_line(capsys)


@pytest.mark.parametrize("option", ["--idle", "--every"])
@pytest.mark.parametrize("text", ["nan", "-1", "inf", "soon"])
def test_times_that_cannot_pass_are_refused(option: str, text: str, capsys: Capture) -> None:
    assert "is no time in seconds" in usage(decode, ["--listen", "udp://127.0.0.1:0", option, text], capsys)


@pytest.mark.parametrize("apid", ["-1", "2047", "5000"])
def test_an_apid_that_no_space_packet_has_is_refused(apid: str, packets: Path, capsys: Capture) -> None:
    assert decode([str(packets), "--apid", apid]) == 2
    assert "must be 0 to 2046" in one_line(capsys)


@pytest.mark.parametrize("options", [["--burst", "3"], ["--good-loss", "0.1"], ["--bad-loss", "0.5"]])
def test_options_of_bursts_without_effect_are_refused(options: list[str], packets: Path, capsys: Capture) -> None:
    assert simulate(["link", str(packets), "-o", str(packets) + ".out", *options]) == 2
    assert "--burst" in one_line(capsys)


def test_a_device_or_a_pipe_takes_a_picture_as_png(packets: Path, tmp_path: Path) -> None:
    assert decode([str(packets), "-o", os.devnull, "-q"]) == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert decode([str(packets), "-o", str(pipe), "-q"]) == 0
    reader.join(10)
    with Image.open(io.BytesIO(got[0])) as image:
        assert (image.format, image.size) == ("PNG", (170, 120))


def test_a_deep_colour_picture_is_read_from_a_pipe(tmp_path: Path) -> None:
    from onboard.image_io import png_bytes, read_picture

    picture = deep_colour_scene(30, 40, 3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(png_bytes(picture)))
    writer.start()
    assert np.array_equal(read_picture(pipe), picture)
    writer.join(10)


def test_names_as_long_as_they_may_be_are_written(png: Path, tmp_path: Path) -> None:
    name = tmp_path / ("n" * 245 + ".obp")
    assert compress([str(png), "-o", str(name), "-q"]) == 0
    assert [p for p in tmp_path.iterdir() if p != png] == [name]


def test_a_base_without_the_preview_is_told_so(png: Path, tmp_path: Path, capsys: Capture) -> None:
    first, second = tmp_path / "1.obp", tmp_path / "2.obp"
    assert compress([str(png), "--quality", "30", "-o", str(first), "-q"]) == 0
    refine = [str(png), "--refine", "--budget", "3k", "-q", "--base"]
    assert compress([*refine, str(first), "-o", str(second)]) == 0
    assert compress([*refine, str(second), "-o", str(tmp_path / "3.obp")]) == 2
    assert "the base has no layer 0" in one_line(capsys)


def test_what_has_no_packet_is_told_by_name_and_what_would_be_right(png: Path, capsys: Capture) -> None:
    assert decode([str(png)]) == 2
    said = one_line(capsys)
    assert said.startswith(f"ground-decode: {png}: no usable packet")
    assert "give what onboard-compress wrote" in said


def test_a_missing_map_comes_from_standard_input(packets: Path, tmp_path: Path) -> None:
    lost, again = tmp_path / "lost.obp", tmp_path / "again.obp"
    sent = scan(packets.read_bytes())[0]
    lost.write_bytes(b"".join(pack(p) for p in sent[1:]))
    asked = subprocess.run(
        [sys.executable, "-m", "onboard.ground.cli", str(lost), "-o", os.devnull, "--missing", "-", "-q"],
        capture_output=True,
        check=False,
    )
    assert asked.returncode == 1
    made = subprocess.run(
        [sys.executable, "-m", "onboard.cli", str(packets), "--resend", "-", "-o", str(again), "-q"],
        input=asked.stdout,
        capture_output=True,
        check=False,
    )
    assert (made.returncode, made.stderr) == (0, b"")
    whole, loss, mended = (
        onboard.decompress(data)
        for data in (packets.read_bytes(), lost.read_bytes(), lost.read_bytes() + again.read_bytes())
    )
    assert np.array_equal(mended.image, whole.image)
    assert not np.array_equal(loss.image, whole.image)


def test_sections_that_came_twice_are_not_told_as_without_what_they_refer_to() -> None:
    sent = onboard.compress(colour_scene(120, 170, 5), bpp=2, packet_size=200)
    packets = scan(sent)[0]
    lost = b"".join(pack(p) for i, p in enumerate(packets) if i % 5 != 2)
    decoded = onboard.decompress([lost, sent])
    assert decoded.complete
    assert decoded.report["layers"]["unused_sections"] == 0


def test_the_report_says_of_which_layers_it_speaks() -> None:
    sent = scan(onboard.compress(scene(120, 170, 6), bpp=1, packet_size=150))[0]
    preview = [pack(p) for p in sent if all(s.layer < 2 for s in p.sections)]
    assert onboard.decompress(preview).report["received_of_layers"] == [0, 1]
    whole = onboard.decompress([pack(p) for p in sent])
    assert (whole.report["received_of_layers"], whole.report["received"]) == ([0, 1, 2], 1.0)
