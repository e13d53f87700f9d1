"""Layers 2 to 15: headers, tables and grids, round trips, order of packets, regions, losses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onboard
from onboard import progressive
from onboard.errors import BudgetError, InputError, NothingDecodableError
from onboard.image_io import write_bytes
from onboard.layer_header import LayerHeader, unpack_header
from onboard.reference import find_grid, phase_grid
from onboard.request import rectangles
from onboard.scan import scan
from onboard.tables import lossless_codes, pack_tables, parse_tables, refinement_codes
from onboard.wire import index_of, pack
from tests.pictures import checkerboard, colourful, deep, deep_colourful, noise, texture

# --- small parts ----------------------------------------------------------------------------------------------------


def test_headers_come_back() -> None:
    for header in (LayerHeader(1, 3, 77), LayerHeader(15, 0, 255, 0, 32), LayerHeader(2, 5, 0, 31, 1)):
        assert unpack_header(header.pack() + b"abc", 14, 6) == (header, b"abc")


@pytest.mark.parametrize("payload", [b"", b"\x10", bytes((0x18, 0, 31, 1)), bytes((0x16, 0)), b"\x50\0"])
def test_bad_headers_are_malformed_sections(payload: bytes) -> None:
    with pytest.raises(onboard.OnboardError):
        unpack_header(payload, 3, 6)


def test_the_table_file_comes_back_and_corrupt_ones_are_refused() -> None:
    data = pack_tables((refinement_codes().lengths, lossless_codes().lengths))
    again = parse_tables(data)
    assert (again[0].lengths == refinement_codes().lengths).all()
    assert (again[1].lengths == lossless_codes().lengths).all()
    for broken in (data[:-1], b"X" + data[1:], data[:50] + b"\0" + data[51:]):
        with pytest.raises(onboard.OnboardError):
            parse_tables(broken)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2), st.data())
def test_a_region_section_finds_the_blocks_that_were_meant(rows: int, columns: int, interleave: int, data) -> None:  # type: ignore[no-untyped-def]
    phase = data.draw(st.integers(0, (1 << interleave) - 1))
    whole = phase_grid((rows, columns), interleave, phase)
    if not len(whole.order):
        return
    first = data.draw(st.integers(0, len(whole.order) - 1))
    grid, begin = find_grid((rows, columns), interleave, phase, first, None, None)
    assert grid.order[begin] == whole.order[first]
    width = min(32, whole.columns - 32 * (first // (32 * whole.rows)))
    column = (first - 32 * whole.rows * (first // (32 * whole.rows))) % width
    left = data.draw(st.integers(0, column))
    span = data.draw(st.integers(column - left + 1, width - left))
    grid, begin = find_grid((rows, columns), interleave, phase, first, left, span)
    assert grid.order[begin] == whole.order[first]
    assert all(whole.order[grid.number(i)] == grid.order[i] for i in range(len(grid.order)))


@given(st.integers(0, 2**32 - 1))
def test_rectangles_cover_every_cell_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.random((9, 13)) < rng.random()
    seen = np.zeros(grid.shape, int)
    for r in rectangles(grid):
        seen[r.top : r.bottom, r.left : r.right] += 1
    assert (seen == grid).all()


# --- whole streams --------------------------------------------------------------------------------------------------


def mean_square(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("make", [texture, colourful, deep, deep_colourful])
def test_more_bytes_make_a_better_picture_up_to_lossless(make) -> None:  # type: ignore[no-untyped-def]
    picture = make(120, 171)
    errors = []
    for bpp in (0.3, 1.0, 3.0):
        data = onboard.compress(picture, bpp=bpp)
        assert len(data) <= bpp * 120 * 171 / 8
        errors.append(mean_square(picture, onboard.decompress(data).image))
    assert errors[0] > errors[1] > errors[2]
    exact = onboard.decompress(onboard.compress(picture, lossless=True))
    assert (exact.image == picture).all() and exact.image.dtype == picture.dtype
    assert (exact.mask == 255).all()


def test_a_coarse_base_gives_way_to_layers_where_they_win(monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:256, :256]
    there = (x // 64 + y // 64) % 2
    grain = np.random.default_rng(0).normal(0, 12, (256, 256))

    def stripes(period: float) -> np.ndarray:
        waves = 60 * np.sin(2 * np.pi * (0.825 * x + 0.565 * y) / period)
        return np.clip(128 + there * waves + grain, 0, 255).astype(np.uint8)

    def coded(period: float, handicap: float) -> tuple[list[int], float, float]:
        monkeypatch.setattr(progressive, "LAYERS_HANDICAP", handicap)
        data = onboard.compress(stripes(period), bpp=0.1)
        known = onboard.describe(data)
        shown = onboard.decompress(data, enhance="plain").image
        return known["refinements"], known["quality"], mean_square(shown, stripes(period))

    ours = progressive.LAYERS_HANDICAP
    layers, _, error = coded(5.5, ours)
    alone, quality, its_error = coded(5.5, 1e9)
    assert layers == [2] and alone == []
    assert index_of(quality) >= progressive.COARSE_INDEX
    assert ours * error < its_error
    assert coded(7, ours)[0] == []
    assert ours * coded(7, 0)[2] > coded(7, ours)[2]


@pytest.mark.parametrize("height", [1, 7, 8, 15, 16, 17])
@pytest.mark.parametrize("make", [noise, colourful])
def test_low_pictures_get_any_budget(make, height: int) -> None:  # type: ignore[no-untyped-def]
    picture = make(height, 640)
    for budget in (150, 300, 700):
        data = onboard.compress(picture, budget=budget)
        assert len(data) <= budget
        assert onboard.decompress(data).image.shape == picture.shape


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 9), (8, 264), (17, 257)])
@pytest.mark.parametrize("interleave", [1, 2, 4])
def test_any_size_and_interleave_is_lossless_and_refined(shape: tuple[int, int], interleave: int) -> None:
    picture = noise(*shape)
    data = onboard.compress(picture, lossless=True, interleave=interleave, packet_size=400)  # type: ignore[arg-type]
    assert (onboard.decompress(data).image == picture).all()
    base = onboard.compress(picture, quality=40, interleave=interleave, scale=2, packet_size=100)  # type: ignore[arg-type]
    more = onboard.refine(picture, base, bpp=100, packet_size=400)
    decoded = onboard.decompress(more + base)
    assert (decoded.mask == 3).all()
    assert mean_square(picture, decoded.image) < 3


@pytest.mark.parametrize("picture", [noise(40, 50), checkerboard(33, 40), np.zeros((20, 20), np.uint8)])
def test_hard_pictures_come_through(picture: np.ndarray) -> None:
    assert (onboard.decompress(onboard.compress(picture, lossless=True)).image == picture).all()
    wide = picture.astype(np.uint16) * 257
    assert (onboard.decompress(onboard.compress(wide, lossless=True)).image == wide).all()
    colour = np.stack([picture, picture[::-1], 255 - picture], -1)
    assert (onboard.decompress(onboard.compress(colour, lossless=True)).image == colour).all()
    deep_colour = colour.astype(np.uint16) * 97 + 5
    assert (onboard.decompress(onboard.compress(deep_colour, lossless=True)).image == deep_colour).all()


def test_the_order_of_packets_does_not_matter() -> None:
    picture = texture(96, 140)
    data = onboard.compress(picture, bpp=1.2, packet_size=90, interleave=2)
    packets = [pack(p) for p in scan(data)[0]]
    first = onboard.decompress(packets)
    rng = np.random.default_rng(5)
    for _ in range(5):
        rng.shuffle(packets)  # type: ignore[arg-type]
        again = onboard.decompress(packets + packets[:3])
        assert (again.image == first.image).all() and (again.mask == first.mask).all()


def test_a_refinement_without_its_base_is_kept_and_used_when_the_base_comes() -> None:
    picture = texture(96, 140)
    base = onboard.compress(picture, quality=40, packet_size=60)
    more = onboard.refine(picture, base, bpp=1)
    alone = onboard.decompress(more)
    assert alone.mask.max() == 0
    assert alone.report["layers"]["unused_sections"] == 1
    packets = [pack(p) for p in scan(base)[0]]
    some = onboard.decompress([*packets[:-3], more])
    assert 0 < (some.mask == 3).mean() < 1
    both = onboard.decompress(more + base)
    assert (both.mask == 3).all()
    where = some.mask.repeat(8, 0).repeat(8, 1)[:96, :140] == 3
    assert (some.image[where] == both.image[where]).all()


def test_a_refinement_is_not_applied_to_a_base_of_another_index() -> None:
    picture = texture(96, 140)
    coarse = onboard.compress(picture, quality=20, tag=5)
    fine = onboard.compress(picture, quality=60, tag=5)
    more = onboard.refine(picture, coarse, bpp=1)
    assert (onboard.decompress(coarse + more).mask == 3).all()
    assert (onboard.decompress(coarse + more + fine).mask == 2).all()


@pytest.mark.parametrize("scale", [1, 2, 8])
@pytest.mark.parametrize("make", [texture, colourful, deep, deep_colourful])
def test_a_region_is_sharp_in_the_coarse_picture(make, scale: int) -> None:  # type: ignore[no-untyped-def]
    picture = make(150, 330)
    base = onboard.compress(picture, quality=30, scale=scale)  # type: ignore[arg-type]
    region = (250, 33, 70, 41)
    more = onboard.refine(picture, base, budget=9000, regions=[region])
    assert len(more) <= 9000
    before, after = onboard.decompress(base), onboard.decompress(base + more)
    inside = np.s_[33:74, 250:320]
    assert mean_square(picture[inside], after.image[inside]) < mean_square(picture[inside], before.image[inside])
    assert (after.mask[33 // 8 : -(-74 // 8), 250 // 8 : 320 // 8] >= 3).all()
    assert (after.image[:, :176] == before.image[:, :176]).all()  # colour goes by luma as far as a net sees
    # the same samples, however the region was cut out
    whole = onboard.refine(picture, base, budget=200000)
    everywhere = onboard.decompress(base + whole)
    assert (everywhere.mask == 3).all()
    exact = onboard.decompress(base + onboard.refine(picture, base, lossless=True, regions=[region]))
    assert (exact.image[inside] == picture[inside]).all()
    assert set(np.unique(exact.mask)) == {2, 255}


def test_refinements_of_refinements_go_on_where_the_last_one_stopped() -> None:
    picture = texture(96, 140)
    sent = onboard.compress(picture, quality=30)
    errors = [mean_square(picture, onboard.decompress(sent).image)]
    for regions in ([(8, 8, 50, 50)], [(30, 30, 80, 60)], []):
        sent += onboard.refine(picture, sent, bpp=1.5, regions=regions)
        errors.append(mean_square(picture, onboard.decompress(sent).image))
    assert errors == sorted(errors, reverse=True)
    assert set(np.unique(onboard.decompress(sent).mask)) == {3, 4, 5}
    assert onboard.refine(picture, sent + onboard.refine(picture, sent, lossless=True), lossless=True) == b""


def test_only_the_region_of_the_picture_is_read() -> None:
    class Guarded(np.ndarray):
        seen: list = []  # noqa: RUF012

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            Guarded.seen.append(key)
            return np.asarray(self)[key]

    picture = texture(300, 400)
    base = onboard.compress(picture, quality=30)
    more = onboard.refine(picture.view(Guarded), base, budget=2000, regions=[(100, 100, 64, 64)])
    assert more == onboard.refine(picture, base, budget=2000, regions=[(100, 100, 64, 64)])
    assert Guarded.seen == [(slice(96, 168), slice(96, 168))]


def test_unusable_requests_are_errors_that_say_why() -> None:
    picture = texture(64, 80)
    base = onboard.compress(picture, quality=30)
    with pytest.raises(NothingDecodableError):
        onboard.refine(picture, b"", budget=100)
    with pytest.raises(InputError, match="80x64"):
        onboard.refine(picture[:60], base, budget=100)
    with pytest.raises(InputError, match="outside"):
        onboard.refine(picture, base, budget=100, regions=[(80, 0, 5, 5)])
    with pytest.raises(InputError, match="depth"):
        onboard.refine(picture.astype(np.uint16), base, budget=100)
    with pytest.raises(InputError, match="does not hold"):
        onboard.refine(picture, pack(scan(onboard.compress(picture, quality=60, packet_size=60))[0][0]), budget=1000)
    with pytest.raises(BudgetError):
        onboard.refine(picture, base, budget=20)
    with pytest.raises(InputError):
        onboard.refine(picture, base)
    with pytest.raises(InputError):
        onboard.compress(picture, lossless=True, budget=1000)
    with pytest.raises(InputError, match="300"):
        onboard.compress(noise(64, 80), lossless=True, packet_size=60)


def test_the_operators_loop_on_the_command_line(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    from onboard import cli
    from onboard.ground import cli as ground_cli
    from onboard.image_io import encode_picture, read_picture

    picture = texture(120, 160)
    source, preview, more, out = (str(tmp_path / n) for n in ("in.png", "p.obp", "r.obp", "out.png"))
    write_bytes(source, encode_picture(source, picture, {}))
    assert cli.main(["--preview", source, "--quality", "30", "-o", preview, "-q"]) == 0
    args = ["--refine", source, "--base", preview, "--roi", "40,40,48,32", "--budget", "3kB", "-o", more, "--json"]
    assert cli.main(args) == 0
    made = json.loads(capsys.readouterr().out)[0]
    assert made["bytes"] <= 3000 and made["regions"] == [[40, 40, 48, 32]]
    assert ground_cli.main([preview, more, "-o", out, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["pictures"][0]
    assert report["layers"]["blocks_by_mask"]["3"] == 24
    assert mean_square(picture[40:72, 40:88], read_picture(out)[40:72, 40:88]) < 30
    assert cli.main(["--lossless", source, "-o", more, "-q"]) == 0
    assert ground_cli.main([more, "-o", out, "-q"]) == 0
    assert (read_picture(out) == picture).all()
    assert cli.main(["--refine", source, "--budget", "3kB"]) == 2
    assert cli.main([source, "--roi", "1,2,3,4"]) == 2


def test_both_commands_say_which_layers_there_are(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    from onboard import cli
    from onboard.ground import cli as ground_cli
    from onboard.image_io import encode_picture

    source, preview, more, exact, out = (str(tmp_path / n) for n in ("in.png", "p.obp", "r.obp", "e.obp", "out.png"))
    write_bytes(source, encode_picture(source, texture(120, 160), {}))

    def said(command, *arguments: str) -> str:  # type: ignore[no-untyped-def]
        command(list(arguments))
        return capsys.readouterr().err

    refine = "--refine", source, "--base", preview, "--roi", "40,40,48,32"
    assert "scale 1, quality 30" in said(cli.main, source, "--quality", "30", "-o", preview)
    assert "layer 2 of 1 region, " in said(cli.main, *refine, "--budget", "1kB", "-o", more)
    assert "the finest there is below --lossless" in said(
        cli.main, *refine, "--budget", "1MB", "-o", str(tmp_path / "x")
    )
    assert "all that is missing of 1 region" in said(cli.main, *refine, "--lossless", "-o", exact)
    assert "nothing left to send" in said(cli.main, *refine, "--base", exact, "--budget", "1kB", "-o", out)
    assert "layers 0 and 2" in said(cli.main, source, "--bpp", "2", "-o", out)
    assert "lossless behind a preview of scale 2" in said(cli.main, source, "--lossless", "-o", out)
    assert "received in 2 packets, 8.0 % in layer 2, " in said(ground_cli.main, preview, more, "-o", out)
    assert "8.0 % lossless, " in said(ground_cli.main, preview, more, exact, "-o", out)
    assert "1 section without what they refer to" in said(ground_cli.main, more, "-o", out)


@pytest.mark.parametrize("make", [texture, colourful])
def test_what_is_exact_is_not_refined(make) -> None:  # type: ignore[no-untyped-def]
    picture = make(100, 140)
    exact = onboard.compress(picture, lossless=True)
    assert onboard.refine(picture, exact, budget=2000) == b""
    sent = onboard.compress(picture, quality=30)
    corner = onboard.refine(picture, sent, lossless=True, regions=[(0, 0, 48, 32)])
    more = onboard.refine(picture, sent + corner, budget=3000)
    decoded = onboard.decompress(sent + corner + more, enhance="plain")
    assert (decoded.mask[:4, :6] == 255).all() and (np.delete(decoded.mask, range(4), 0) == 3).all()
    assert onboard.decompress(sent + more, enhance="plain").mask[:4, :6].max() == 2
