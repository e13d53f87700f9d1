"""The commands as people use them: files, pipes, exit statuses, messages of one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onboard.cli import main as compress
from onboard.ground.cli import main as decode
from onboard.ground.linear import find_neighbours, pack_neighbours
from onboard.image_io import read_raw
from onboard.model import default_model
from tests.make_vectors import colour_scene, deep_scene, scene


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    Image.fromarray(colour_scene(120, 170, 1)).save(path)
    return path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_a_preview_is_made_decoded_and_compared(png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(["--preview", str(png), "--check", "--json"]) == 0
    (made,) = json.loads(capsys.readouterr().out)
    assert made["output"] == f"{png}.obp"
    assert made["bytes"] == os.path.getsize(made["output"])
    out, mask = tmp_path / "out.png", tmp_path / "mask.png"
    argv = [made["output"], "-o", str(out), "--mask", str(mask), "--reference", str(png), "--json"]
    assert decode(argv) == 0
    (found,) = json.loads(capsys.readouterr().out)["pictures"]
    assert found["psnr"] == made["psnr"]
    assert found["received"] == 1.0
    with Image.open(out) as image:
        assert image.size == (170, 120)
        assert image.text["onboard:decoder"] == found["decoder"]
        assert image.text["onboard:received"] == "1.0000"
    with Image.open(mask) as image:
        assert image.size == (22, 15)
        assert np.asarray(image).min() == 2


def test_several_pictures_go_to_a_folder(tmp_path: Path) -> None:
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(scene(50, 60, i)).save(paths[-1])
    folder = tmp_path / "out"
    folder.mkdir()
    assert compress(["-q", *map(str, paths), "-o", str(folder), "--quality", "40"]) == 0
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["0.png.obp", "1.png.obp", "2.png.obp"]
    merged = tmp_path / "all.obp"
    merged.write_bytes(b"".join((folder / n).read_bytes() for n in names))
    assert decode(["-q", str(merged), "-o", str(folder)]) == 0
    assert len(list(folder.glob("all-*.png"))) == 3
    assert decode(["-q", *(str(folder / n) for n in names)]) == 0
    named = [p.name.split("-")[0] for p in folder.glob("?.preview-*.png")]
    assert sorted(named) == ["0.preview", "1.preview", "2.preview"]


def test_several_pictures_for_one_file_are_refused(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress([str(png), str(png), "-o", "x.obp"]) == 2
    assert "folder" in one_line(capsys)


def test_a_lost_packet_gives_a_picture_and_status_one(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress(["-q", str(png), "--packet", "80", "--quality", "50"]) == 0
    data = Path(f"{png}.obp").read_bytes()
    lost = tmp_path / "lost.obp"
    lost.write_bytes(data[80:])
    assert decode([str(lost), "-o", str(tmp_path / "o.png")]) == 1
    assert "% of layers 0 and 1 received" in capsys.readouterr().err
    assert (tmp_path / "o.png").exists()


def test_order_duplicates_and_files_do_not_matter(png: Path, tmp_path: Path) -> None:
    assert compress(["-q", str(png), "--packet", "90", "--quality", "50", "-o", str(tmp_path / "a.obp")]) == 0
    from onboard.scan import scan
    from onboard.wire import pack

    packets = [pack(p) for p in scan((tmp_path / "a.obp").read_bytes())[0]]
    (tmp_path / "b.obp").write_bytes(b"".join(packets[::-1][: len(packets) // 2 + 3]))
    (tmp_path / "c.obp").write_bytes(b"".join(packets[: len(packets) // 2 + 1]))
    assert decode(["-q", str(tmp_path / "a.obp"), "-o", str(tmp_path / "a.png")]) == 0
    assert decode(["-q", str(tmp_path / "b.obp"), str(tmp_path / "c.obp"), "-o", str(tmp_path / "bc.png")]) == 0
    a, bc = (np.asarray(Image.open(tmp_path / n)) for n in ("a.png", "bc.png"))
    assert (a == bc).all()


@pytest.mark.parametrize("layout", ["u8", "u16le", "u16be"])
def test_raw_sensor_dumps_are_read(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = scene(60, 80, 2) if layout == "u8" else deep_scene(60, 80, 2)
    dtype = {"u8": "u1", "u16le": "<u2", "u16be": ">u2"}[layout]
    raw = tmp_path / "dump.raw"
    raw.write_bytes(picture.astype(dtype).tobytes())
    argv = ["--raw", f"80x60:{layout}", str(raw), "--quality", "80", "--check", "--json"]
    assert compress(argv) == 0
    assert json.loads(capsys.readouterr().out)[0]["psnr"] > 24
    assert compress(["--raw", f"81x60:{layout}", str(raw)]) == 2
    assert "dump.raw" in one_line(capsys)


def test_raw_rgb_dumps_are_read(tmp_path: Path) -> None:
    pairs = {0x0000: (0, 0, 0), 0xFFFF: (255, 255, 255), 0x8410: (132, 130, 132), 0x0821: (8, 4, 8)}
    words, wanted = np.array([list(pairs)], np.uint16), np.array([list(pairs.values())], np.uint8)
    raw = tmp_path / "dump.raw"
    for layout, data in (("rgb565le", words.astype("<u2")), ("rgb565be", words.astype(">u2")), ("rgb888", wanted)):
        raw.write_bytes(data.tobytes())
        assert np.array_equal(read_raw(str(raw), f"4x1:{layout}"), wanted)


def test_pipes_carry_pictures_and_packets(tmp_path: Path) -> None:
    pgm = b"P5 61 47 255\n" + scene(47, 61, 3).tobytes()
    run = [sys.executable, "-m", "onboard.cli", "-q", "--quality", "50", "-", "-o", "-"]
    packets = subprocess.run(run, input=pgm, capture_output=True, check=True).stdout
    back = [sys.executable, "-m", "onboard.ground.cli", "-q", "-", "-o", "-"]
    picture = subprocess.run(back, input=packets, capture_output=True, check=True).stdout
    (tmp_path / "p.png").write_bytes(picture)
    assert np.asarray(Image.open(tmp_path / "p.png")).shape == (47, 61)


def test_bad_input_gets_one_line_and_status_two(png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png.read_bytes()[:200])
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    for path in (broken, empty, tmp_path / "none.png", tmp_path):
        assert compress([str(path)]) == 2
        assert path.name in one_line(capsys)
    for path in (broken, empty, tmp_path / "none.obp", tmp_path):
        assert decode([str(path), "-o", str(tmp_path / "no.png")]) == 2
        one_line(capsys)
    assert not (tmp_path / "no.png").exists()
    assert not list(tmp_path.glob("*.obp"))


def test_one_bad_picture_of_several_does_not_keep_the_others_from_being_coded(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    assert compress([str(empty), str(png), "-o", str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    bad, good = json.loads(out)
    assert bad["error"] in err
    assert bad["input"] == str(empty) and "empty file" in bad["error"]
    assert Path(good["output"]).stat().st_size == good["bytes"]
    assert compress([str(empty), "-q"]) == 2


def test_a_picture_in_a_folder_that_is_missing_does_not_keep_the_others_from_being_coded(
    png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = png.parent / "nowhere" / "a.png"
    assert compress(["-q", str(gone), str(png)]) == 1
    assert f"there is no folder {gone.parent}" in one_line(capsys)
    assert Path(f"{png}.obp").exists()


def test_floating_point_pictures_are_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "f.tif")
    assert compress([str(tmp_path / "f.tif")]) == 2
    assert "f.tif: samples are floating point: scale them to integers" in capsys.readouterr().err


def test_a_budget_that_is_too_small_is_refused(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress([str(png), "--budget", "5"]) == 2
    assert "smallest" in one_line(capsys)
    assert not Path(f"{png}.obp").exists()


def test_nothing_half_written_is_left_when_the_folder_is_missing(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress([str(png), "-o", str(png.parent / "no" / "x.obp")]) == 2
    assert "x.obp" in one_line(capsys)


def test_neither_command_writes_over_what_it_reads(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = png.read_bytes()
    assert compress([str(png), "-o", str(png)]) == 2
    assert "is what would be read" in capsys.readouterr().err and png.read_bytes() == before
    packets = png.with_suffix(".obp")
    assert compress([str(png), "-o", str(packets)]) == 0
    before = packets.read_bytes()
    assert decode([str(packets), "-o", str(packets)]) == 2
    assert "is what would be read" in capsys.readouterr().err and packets.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "nowhere.obm"], "nowhere.obm: No such file"),
        (["--resend", "nowhere.map"], "--resend nowhere.map: no such file"),
        (["--resend", "A" * 300], "no such file, and not a missing map"),
        (["--apid", "5"], "--apid goes with --framing ccsds"),
        (["--calls", "A>B"], "--calls goes with --framing kiss"),
        (["--framing", "kiss", "--calls", "A"], "--calls A: must be FROM>TO"),
        (["--expect-burst", "4"], "--expect-burst goes with --expect-loss"),
        (["--metadata", "x" * 300], "metadata of 300 bytes: must be at most 255"),
        (["--curve", "sqrt"], "for pictures of 16 bits"),
        (["--expect-loss", "50"], "expected loss 50: must be a fraction, 0 to 0.9; 50 % is 0.5"),
        (["--metadata", "\udcff"], r"metadata '\udcff': must be valid text"),
    ],
)
def test_options_that_cannot_be_met_are_refused_in_words(
    png: Path, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compress([str(png), *options]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--packet", "10"], "packet size 10: must be 48 to 65535 bytes"),
        (["--packet", "40"], "packet size 40: must be 48 to 65535 bytes"),
        (["--packet", "200000"], "packet size 200000: must be 48 to 65535 bytes"),
        (["--packet", "200", "--metadata", "x" * 190], "in.png: packet size 200: must be 236 to 65535 bytes"),
        (["--roi", "0,0,0,0"], "in.png: region 0,0,0,0 is empty: width and height must be at least 1"),
    ],
)
def test_a_refinement_that_cannot_be_made_is_refused_in_words(
    png: Path, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = png.with_suffix(".obp")
    assert compress(["-q", str(png), "--quality", "40", "-o", str(base)]) == 0
    assert compress([str(png), "--refine", "--base", str(base), "--budget", "2k", *options]) == 2
    assert complaint in one_line(capsys)
    assert not Path(f"{png}.refine.obp").exists()


def test_a_base_without_packets_is_named_and_not_the_picture(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = png.with_name("other.png")
    other.write_bytes(png.read_bytes())
    assert compress([str(png), "--refine", "--base", str(other), "--budget", "2k"]) == 2
    assert one_line(capsys).startswith(f"onboard-compress: {other}: no usable packet in ")


def test_a_file_that_holds_no_matrices_is_refused_in_words_of_ours(
    png: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = png.with_name("array.npy")
    np.save(array, np.zeros(3))
    assert compress(["-q", str(png), "--quality", "40"]) == 0
    for wrong in (png, array):
        assert decode([f"{png}.obp", "--neighbours", str(wrong)]) == 2
        said = one_line(capsys)
        assert f"{wrong}: not a whole file of matrices, as `onboard-train neighbours` makes it" in said


def test_matrices_for_another_model_are_told_of(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped, other = find_neighbours(default_model().model_id), png.with_name("other.npz")
    assert shipped is not None
    other.write_bytes(pack_neighbours(replace(shipped, model_id=0x1234)))
    assert compress(["-q", str(png), "--quality", "40"]) == 0
    assert decode([f"{png}.obp", "--neighbours", str(other), "--enhance", "linear"]) == 0
    assert "linear decoder (asked for; the matrices given are for model 1234)" in one_line(capsys)


def test_an_exact_picture_has_no_psnr_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "exact.png"
    Image.fromarray(np.full((9, 7), 128, np.uint8)).save(path)
    assert compress([str(path), "--check", "--json", "--lossless"]) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)[0]["psnr"] is None


def test_no_picture_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert compress([]) == 2
    assert "--help" in one_line(capsys)


def test_sizes_with_suffixes_are_understood(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, limit in (("900", 900), ("1k", 1000), ("1kB", 1000), ("1KiB", 1024), ("0.5kb", 500)):
        assert compress([str(png), "--budget", text, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["bytes"] <= limit
    with pytest.raises(SystemExit) as stop:
        compress([str(png), "--budget", "many"])
    assert stop.value.code == 2


def test_extensions_are_carried_to_the_ground(png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["-q", str(png), "--source-id", "OB1TST", "--time", "1700000000123", "--metadata", "roll 3\u00b0"]
    assert compress(argv) == 0
    assert decode([f"{png}.obp", "-o", str(tmp_path / "o.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["pictures"][0]["extensions"]
    assert found == {"source_id": "OB1TST", "capture_time_ms": 1700000000123, "metadata": "roll 3\u00b0"}


def test_a_read_only_kernel_cache_never_fails(tmp_path: Path, png: Path) -> None:
    run = [sys.executable, "-m", "onboard.cli", "-q", "--quality", "30", str(png), "-o", str(tmp_path / "r.obp")]
    subprocess.run(run, env={**os.environ, "NUMBA_CACHE_DIR": "/proc/nowhere"}, check=True, timeout=280)
    assert (tmp_path / "r.obp").stat().st_size > 50
    note = [sys.executable, "-c", "from onboard.kernels import CACHE, CACHE_NOTE; assert CACHE_NOTE and not CACHE"]
    subprocess.run(note, env={**os.environ, "NUMBA_CACHE_DIR": "/dev/null/x"}, check=True, timeout=280)


def test_cached_kernels_load_without_the_compiler() -> None:
    encode = "onboard.compress(np.zeros((64, 64, 3), np.uint8), quality=50)"
    run = [sys.executable, "-c", f"import sys, numpy as np, onboard; {encode}; print('numba.np.linalg' in sys.modules)"]
    outputs = [subprocess.run(run, capture_output=True, check=True, text=True, timeout=280).stdout for _ in range(2)]
    assert outputs[1] == "False\n"


def test_a_numba_that_keeps_other_things_of_a_kernel_keeps_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import CompileResultCacheImpl

    from onboard.kernels import _MachineCode

    monkeypatch.setattr(CompileResultCacheImpl, "reduce", lambda self, compiled: ("new", compiled))
    assert _MachineCode.reduce(object.__new__(_MachineCode), "kernel") == ("new", "kernel")


NOT_COMPILED = """
from importlib import import_module
from pkgutil import iter_modules
from onboard import kernels
from onboard.cli import main
assert main(["--warmup", "-q"]) == 0
names = [m.name for m in iter_modules(kernels.__path__)]
found = [each for name in names for each in vars(import_module(f"onboard.kernels.{name}")).values()]
compiled = {f.__name__: bool(f.signatures) for f in found if isinstance(getattr(f, "_cache", None), kernels._Cache)}
print(len(compiled), *(name for name, done in compiled.items() if not done))
"""


def test_warm_up_compiles_all_that_board_and_ground_run() -> None:
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    run = subprocess.run([sys.executable, "-c", NOT_COMPILED], capture_output=True, text=True, check=True, env=env)
    many, *missing = run.stdout.split()
    assert int(many) > 30
    assert missing == ["forward"]  # which only training runs
