"""Colour of 16 bits from files and to files, which Pillow does by halves."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onboard.errors import InputError
from onboard.image_io import check_outputs, encode_picture, png_bytes, read_picture
from tests.pictures import deep_colourful

PICTURE = deep_colourful(23, 31) * 13 + 1  # low bytes that matter


def written(tmp_path: Path, name: str, data: bytes) -> np.ndarray:
    (tmp_path / name).write_bytes(data)
    return read_picture(tmp_path / name)


def test_png_of_deep_colour_comes_back_exactly_with_its_text(tmp_path: Path) -> None:
    data = png_bytes(PICTURE, {"decoder": "plain"})
    found = written(tmp_path, "a.png", data)
    assert found.dtype == np.uint16 and (found == PICTURE).all()
    image = Image.open(io.BytesIO(data))
    assert image.text == {"decoder": "plain"}  # type: ignore[attr-defined]
    assert (np.asarray(image) == PICTURE >> 8).all()  # and Pillow itself sees a valid file


def test_ppm_of_deep_colour_is_read_whole(tmp_path: Path) -> None:
    found = written(tmp_path, "a.ppm", b"P6 31 23 65535\n" + PICTURE.astype(">u2").tobytes())
    assert (found == PICTURE).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"compression": "deflate"}, {"rowsperstrip": 8}, {"tile": (16, 16)}],
    ids=lambda o: "-".join(o) or "plain",
)
def test_tiff_of_deep_colour_is_read_whole(tmp_path: Path, options: dict) -> None:
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, PICTURE, photometric="rgb", **options)
    assert (written(tmp_path, "a.tif", out.getvalue()) == PICTURE).all()


def test_deep_files_that_would_lose_their_depth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cuts to 8"):
        written(tmp_path, "a.ppm", b"P3 2 1 65535\n 1 2 3 4 5 65535\n")
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, np.moveaxis(PICTURE, -1, 0), photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match="cuts to 8"):
        written(tmp_path, "a.tif", out.getvalue())


@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_deep_colour_in_jpeg_2000_is_refused_and_what_pillow_keeps_is_read(kind: str, tmp_path: Path) -> None:
    encode = pytest.importorskip("imagecodecs").jpeg2k_encode
    with pytest.raises(InputError, match="cuts to 8"):
        written(tmp_path, f"a.{kind}", encode(PICTURE, level=0, codecformat=kind))
    grey, shallow = PICTURE[..., 0], (PICTURE >> 8).astype(np.uint8)
    assert (written(tmp_path, f"g.{kind}", encode(grey, level=0, codecformat=kind)) == grey).all()
    assert (written(tmp_path, f"s.{kind}", encode(shallow, level=0, codecformat=kind)) == shallow).all()


def test_deep_colour_is_written_as_png_only() -> None:
    with pytest.raises(InputError, match=r"\.png only"):
        encode_picture("a.tif", PICTURE, {})


def test_deep_colour_goes_from_file_to_file_on_the_command_line(tmp_path: Path) -> None:
    from onboard import cli
    from onboard.ground import cli as ground_cli

    source, preview, more, out = (str(tmp_path / n) for n in ("in.png", "p.obp", "r.obp", "out.png"))
    picture = deep_colourful(96, 112)
    Path(source).write_bytes(png_bytes(picture))
    errors = []
    assert cli.main(["--preview", source, "--budget", "500", "-o", preview, "-q"]) == 0
    assert cli.main(["--refine", source, "--base", preview, "--budget", "6kB", "-o", more, "-q"]) == 0
    for given in ([preview], [preview, more]):
        assert ground_cli.main([*given, "-o", out, "-q"]) == 0
        shown = read_picture(out)
        assert shown.dtype == np.uint16
        errors.append(float(np.mean((shown.astype(float) - picture) ** 2)))
    assert errors[1] < errors[0] / 2
    assert cli.main(["--lossless", source, "-o", more, "-q"]) == 0
    assert ground_cli.main([more, "-o", out, "-q"]) == 0
    assert (read_picture(out) == picture).all()


def test_outputs_go_where_files_can_be_written_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_outputs(["-", "/dev/null", str(tmp_path / "a.png")], [])
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        check_outputs([str(tmp_path)], [])
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    check_outputs([str(tmp_path / "link.png"), str(tmp_path / "elsewhere" / "b.png")], [])
    with pytest.raises(InputError, match=r"a\.png: cannot be written there"):
        check_outputs([str(tmp_path / "a.png")], [])
