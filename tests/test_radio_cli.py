"""The commands' radio side as people use it: erasure packets, missing maps, sending again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onboard.cli import main as compress
from onboard.ground.cli import main as decode
from tests.make_vectors import colour_scene
from tests.test_cli import one_line
from tests.test_erasure import split


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(colour_scene(160, 230, 1)).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_parity_heals_a_lost_packet(png: Path, tmp_path: Path) -> None:
    stream = tmp_path / "a.obp"
    assert compress(["-q", str(png), "--packet", "120", "--quality", "40", "--parity", "50,10", "-o", str(stream)]) == 0
    packets = split(stream.read_bytes())
    (tmp_path / "lost.obp").write_bytes(b"".join(packets[1:]))
    assert decode(["-q", str(stream), "-o", str(tmp_path / "a.png")]) == 0
    assert decode(["-q", str(tmp_path / "lost.obp"), "-o", str(tmp_path / "b.png")]) == 0
    assert (pixels(tmp_path / "a.png") == pixels(tmp_path / "b.png")).all()


def test_a_stream_heeds_an_expected_loss_and_refuses_what_it_cannot_do(png: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    stream = tmp_path / "a.obp"
    command = [str(png), "--stream", "--budget", "2000", "--packet", "200", "-o", str(stream)]
    assert compress(["--json", *command, "--expect-loss", "10%"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["interleave"] == 4
    for option in (["--order", "spread"], ["--lossless"], ["--overhead", "5"], ["--seconds", "3"]):
        assert compress([*command, *option]) == 2
        assert option[0] in one_line(capsys)


@pytest.mark.parametrize("form", ["m.bin", "m.hex", "m.b64", "typed"])
@pytest.mark.parametrize("again", ["stream", "picture"])
def test_what_is_missing_is_asked_for_and_sent_again(
    form: str, again: str, png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, lost, extra = tmp_path / "a.obp", tmp_path / "lost.obp", tmp_path / "extra.obp"
    options = ["--packet", "120", "--quality", "40"]
    assert compress(["-q", str(png), *options, "-o", str(stream)]) == 0
    packets = split(stream.read_bytes())
    lost.write_bytes(b"".join(packets[:2] + packets[4:-1]))
    asked = tmp_path / ("m.bin" if form == "typed" else form)
    assert decode([str(lost), "-o", str(tmp_path / "l.png"), "--missing", str(asked), "--json"]) == 1
    text = json.loads(capsys.readouterr().out)["pictures"][0]["missing"]
    source = [str(stream)] if again == "stream" else [str(png), *options]
    argv = ["-q", *source, "--resend", text if form == "typed" else str(asked), "-o", str(extra)]
    assert compress(argv) == 0
    assert len(extra.read_bytes()) < len(stream.read_bytes()) / 2
    assert decode(["-q", str(lost), str(extra), "-o", str(tmp_path / "b.png")]) == 0
    assert decode(["-q", str(stream), "-o", str(tmp_path / "a.png")]) == 0
    assert (pixels(tmp_path / "a.png") == pixels(tmp_path / "b.png")).all()


def test_a_map_for_another_encoding_gets_one_line(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, asked = tmp_path / "a.obp", tmp_path / "m"
    assert compress(["-q", str(png), "--packet", "120", "--quality", "40", "-o", str(stream)]) == 0
    stream.write_bytes(stream.read_bytes()[120:])
    assert decode(["-q", str(stream), "-o", str(tmp_path / "l.png"), "--missing", str(asked)]) == 1
    capsys.readouterr()
    assert compress(["-q", str(png), "--quality", "41", "--resend", str(asked)]) == 2
    assert "in.png: no packet of picture" in one_line(capsys)
    assert compress(["-q", str(png), "--quality", "40", "--resend", "b10203"]) == 2
    assert "mistyped" in one_line(capsys)


def test_a_map_may_be_limited_to_what_a_telecommand_holds(png: Path, tmp_path: Path) -> None:
    stream, asked, extra = tmp_path / "a.obp", tmp_path / "m", tmp_path / "x.obp"
    assert compress(["-q", str(png), "--packet", "60", "--quality", "60", "-o", str(stream)]) == 0
    lost = tmp_path / "l.obp"
    lost.write_bytes(b"".join(split(stream.read_bytes())[::2]))
    argv = ["-q", str(lost), "-o", str(tmp_path / "l.png"), "--missing", str(asked), "--missing-limit", "20"]
    assert decode(argv) == 1
    assert len(asked.read_bytes()) <= 20
    assert compress(["-q", str(stream), "--resend", str(asked), "-o", str(extra)]) == 0
    assert decode(["-q", str(lost), str(extra), "-o", str(tmp_path / "b.png")]) == 0


def test_a_parity_that_is_no_number_is_refused(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        compress([str(png), "--parity", "much"])
    assert stop.value.code == 2


def test_late_packets_improve_a_picture_that_was_written(png: Path, tmp_path: Path, capsys) -> None:
    stream, out = tmp_path / "a.obp", tmp_path / "a.png"
    assert compress(["-q", str(png), "--packet", "120", "--quality", "50", "-o", str(stream)]) == 0
    packets = split(stream.read_bytes())
    early, late = tmp_path / "early.obp", tmp_path / "late.obp"
    early.write_bytes(b"".join(packets[::2]))
    late.write_bytes(b"".join(packets[1::2] + packets[:4]))
    psnr = []
    for files, status in (([early], 1), ([early, late], 0)):
        assert decode([*map(str, files), "-o", str(out), "--reference", str(png), "--json"]) == status
        psnr.append(json.loads(capsys.readouterr().out)["pictures"][0]["psnr"])
    assert psnr[1] > psnr[0] + 1


def test_two_pictures_that_reuse_an_image_id_are_told_apart(tmp_path: Path) -> None:
    both = b""
    for seed in (1, 2):
        Image.fromarray(colour_scene(60, 90, seed)).save(tmp_path / "in.png")
        argv = ["-q", str(tmp_path / "in.png"), "--quality", "40", "--packet", "90", "--image-id", "7"]
        assert compress([*argv, "-o", str(tmp_path / "one.obp")]) == 0
        both += (tmp_path / "one.obp").read_bytes()
        assert decode(["-q", str(tmp_path / "one.obp"), "-o", str(tmp_path / f"alone-{seed}.png")]) == 0
    packets = split(both)
    (tmp_path / "mixed.obp").write_bytes(b"".join(packets[::2] + packets[1::2]))
    assert decode(["-q", str(tmp_path / "mixed.obp"), "-o", str(tmp_path / "mixed.png")]) == 0
    found = {pixels(p).tobytes() for p in tmp_path.glob("mixed-7-*.png")}
    assert found == {pixels(tmp_path / f"alone-{seed}.png").tobytes() for seed in (1, 2)}


def test_corrupt_packets_are_counted_for_each_file(png: Path, tmp_path: Path, capsys) -> None:
    stream = tmp_path / "a.obp"
    assert compress(["-q", str(png), "--packet", "100", "--quality", "50", "-o", str(stream)]) == 0
    packets = split(stream.read_bytes())
    files = []
    for bad in (2, 5, 0):
        damaged = [p[:30] + bytes((p[30] ^ 1,)) + p[31:] if i < bad else p for i, p in enumerate(packets)]
        files.append(tmp_path / f"bad{bad}.obp")
        files[-1].write_bytes(b"".join(damaged))
    assert decode([*map(str, files), "-o", str(tmp_path / "a.png"), "--json"]) == 1
    sources = json.loads(capsys.readouterr().out)["sources"]
    assert [sources[str(f)]["corrupt"] for f in files] == [2, 5, 0]
    assert [sources[str(f)]["packets"] for f in files] == [len(packets) - bad for bad in (2, 5, 0)]


def test_a_refinement_fits_the_radio_and_refuses_what_it_cannot_do(png: Path, tmp_path: Path, capsys) -> None:
    base, more = tmp_path / "a.obp", tmp_path / "b.obp"
    assert compress(["-q", str(png), "--quality", "20", "-o", str(base)]) == 0
    argv = [str(png), "--refine", "--base", str(base), "--budget", "3k", "-o", str(more), "--radio", "ax25"]
    assert compress(["-q", *argv]) == 0
    assert max(map(len, split(more.read_bytes()))) <= 256
    for refused in (["--parity", "20"], ["--expect-loss", "10%"], ["--order", "spread"], ["--overhead", "9"]):
        assert compress([*argv, *refused]) == 2
        assert f"{refused[0]} is for previews" in one_line(capsys)
