"""Where the commands write: never over what they read, all or nothing, and to what is no file as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.cli import main as compress
from onboard.errors import InputError
from onboard.ground.cli import main as decode
from onboard.image_io import check_outputs, encode_picture, read_picture, write_bytes
from onboard.model import Model
from onboard.scan import scan
from tests.pictures import texture


@pytest.fixture
def packets(tmp_path: Path) -> Path:
    path = tmp_path / "in.obp"
    path.write_bytes(onboard.compress(texture(72, 88), quality=40, packet_size=120))
    return path


def test_a_link_stays_one_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_bytes(str(link), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path) -> None:
    path, found = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    write_bytes(str(path), b"packets")
    reader.join(10)
    assert found == [b"packets"]
    assert path.is_fifo()


def test_a_pipe_without_a_name_gets_the_bytes() -> None:
    out, into = os.pipe()
    try:
        write_bytes(f"/proc/self/fd/{into}", b"packets")
        assert os.read(out, 100) == b"packets"
    finally:
        os.close(out)
        os.close(into)


def test_commands_run_without_a_standard_output(packets: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    code = "import sys; sys.stdout = None; from onboard.ground.cli import main; sys.exit(main(sys.argv[1:]))"
    run = [sys.executable, "-c", code, str(packets), "-q", "-o", str(out)]
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=280)
    assert (done.returncode, done.stderr) == (0, "")
    assert out.exists()


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        write_bytes(str(tmp_path), b"packets")


def test_outputs_over_inputs_or_each_other_are_refused(tmp_path: Path) -> None:
    one, link, other = tmp_path / "one", tmp_path / "link", tmp_path / "other"
    one.write_bytes(b"kept")
    link.symlink_to(one)
    for name in (one, link, f"{tmp_path}/../{tmp_path.name}/one"):
        with pytest.raises(InputError, match="is what would be read"):
            check_outputs([str(name)], [str(one)])
    for pair in ([str(other), str(other)], ["-", "-"], [str(one), str(link)]):
        with pytest.raises(InputError, match="would be written twice"):
            check_outputs(pair, [])
    check_outputs([str(other), "/dev/null", "/dev/null", "-"], [str(one), "-"])


@pytest.mark.parametrize("option", ["--mask", "--missing", "--reference"])
def test_nothing_that_is_read_is_written_over(
    option: str, packets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, original = packets.read_bytes(), tmp_path / "original.png"
    Image.fromarray(texture(72, 88)).save(original)
    other = str(original if option == "--reference" else packets)
    out = str(original if option == "--reference" else tmp_path / "out.png")
    assert decode([str(packets), "-o", out, option, other]) == 2
    assert "is what would be read" in capsys.readouterr().err
    assert packets.read_bytes() == before
    assert (read_picture(original) == texture(72, 88)).all()
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("extra", [["--mask", "nowhere/m.png"], ["--missing", "map", "--missing-limit", "5"]])
def test_where_one_output_cannot_be_made_none_is_written(
    extra: list[str], packets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packets.write_bytes(packets.read_bytes()[:200])
    assert decode([str(packets), "-q", "-o", "out.png", *extra]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.obp"]


@pytest.mark.parametrize("option", ["-o", "--mask", "--missing", "--nets"])
def test_where_packets_are_waited_for_places_are_looked_at_first(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listen = ["--listen", "udp://127.0.0.1:0", "-o", str(tmp_path / "out.png")]
    assert decode([*listen, option, str(tmp_path / "nowhere" / "x")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "folder" in err


@pytest.mark.parametrize("option", ["-o", "--mask", "--missing"])
def test_json_and_a_file_do_not_share_standard_output(
    option: str, packets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode([str(packets), "--json", option, "-"]) == 2
    assert capsys.readouterr().out == ""


def test_a_picture_that_cannot_be_decoded_leaves_the_others(
    packets: Path, tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = tmp_path / "strange.obp"
    unknown = tmp_path / "unknown.obm"
    unknown.write_bytes(replace(model, price=model.price + 1).data)
    strange.write_bytes(onboard.compress(texture(40, 40), quality=40, model=str(unknown), image_id=1))
    assert decode([str(packets), str(strange), "-o", f"{tmp_path}/out/", "--json"]) == 2  # there is no such folder
    capsys.readouterr()
    (tmp_path / "out").mkdir()
    assert decode([str(packets), str(strange), "-o", f"{tmp_path}/out/", "--json"]) == 1
    out, err = capsys.readouterr()
    first, second = json.loads(out)["pictures"]
    assert "not at hand" in first["error"]
    assert err.startswith("ground-decode: picture 1/") and "not at hand" in err
    assert [str(p) for p in (tmp_path / "out").iterdir()] == [second["output"]]
    for option in ("--mask", "--missing"):
        assert decode([str(packets), str(strange), "-o", f"{tmp_path}/out/", option, "-"]) == 2
    assert decode([str(strange), "-o", f"{tmp_path}/out/"]) == 2


def test_a_full_disk_behind_standard_output_is_told_in_one_line(packets: Path) -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("there is no /dev/full")
    for module, argv in (("onboard.ground.cli", ["-q", "-o", "-"]), ("onboard.ground.cli", ["--json"])):
        with Path("/dev/full").open("wb") as full:
            run = [sys.executable, "-m", module, str(packets), *argv]
            done = subprocess.run(run, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=280)
        assert done.returncode == 2
        assert done.stderr == "ground-decode: standard output: No space left on device\n"


def test_a_mask_keeps_its_values_and_is_shown_in_colours(packets: Path, tmp_path: Path) -> None:
    data = onboard.compress(texture(240, 240), quality=40, packet_size=120)
    packets.write_bytes(data[:120] + data[240:])
    out, mask = tmp_path / "out.png", tmp_path / "mask.png"
    assert decode([str(packets), "-q", "-o", str(out), "--mask", str(mask)]) == 1
    with Image.open(mask) as image:
        values, colours = np.asarray(image), np.asarray(image.convert("RGB")).astype(int)
    assert (values == onboard.decompress(packets.read_bytes()).mask).all()
    assert set(np.unique(values)) >= {0, 2}
    assert (colours[values == 0] == (190, 40, 40)).all()
    assert colours[values == 2].sum(-1).min() > colours[values == 0].sum(-1).max() + 50


@pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.bmp", "a.gif"])
def test_grey_of_16_bits_is_not_cut_to_8_in_silence(name: str) -> None:
    deep = texture(24, 32).astype(np.uint16) * 16
    with pytest.raises(InputError, match=r"a\.\w+: .*(\.png and \.tif have as many|\.png always works)"):
        encode_picture(name, deep, {})


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_grey_of_16_bits_comes_back_exactly(name: str, tmp_path: Path) -> None:
    deep = texture(24, 32).astype(np.uint16) * 16
    (tmp_path / name).write_bytes(encode_picture(name, deep, {}))
    assert (read_picture(tmp_path / name) == deep).all()


def test_too_many_pixels_for_pillow_are_told_with_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(texture(40, 50)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    assert read_picture(path).shape == (40, 50)
    assert not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(InputError, match=r"large\.png: more than 1800 pixels, Pillow's limit; a raw dump \(--raw\)"):
        read_picture(path)


@pytest.mark.parametrize(("option", "no_data"), [([], False), (["--no-data"], True), (["--all-data"], False)])
def test_what_0_means_in_16_bits_can_be_said(option: list[str], no_data: bool, tmp_path: Path) -> None:
    deep = texture(96, 96).astype(np.uint16) * 8 + 1000
    deep[:8, :8] = 0  # less than 1 %: by itself a sample like any other
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert compress([str(tmp_path / "deep.png"), "-q", "-o", str(tmp_path / "deep.obp"), *option]) == 0
    window = scan((tmp_path / "deep.obp").read_bytes())[0][0].description.window
    assert window is not None and window.no_data is no_data


def test_what_0_means_is_asked_of_16_bits_only_and_one_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    png = tmp_path / "in.png"
    Image.fromarray(texture(40, 40)).save(png)
    for option in ("--no-data", "--all-data"):
        assert compress([str(png), option]) == 2
        assert compress([str(png), "--stream", "--budget", "900", option]) == 2
        assert f"{option} does not go with --stream" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        compress([str(png), "--no-data", "--all-data"])
