"""Training of the neural decoders: the examples it is made of, and a few steps where PyTorch is installed."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onboard
from onboard.decoder import Decoding
from onboard.encoder import Effort
from onboard.errors import InputError
from onboard.ground.features import CHANNELS, LAYOUTS, chroma_features, features
from onboard.model import Model
from onboard.scan import scan
from tests.pictures import colourful, folder_of_textures, texture
from training.cli import main
from training.examples import NO_LOSS, PARTS, Loss, lost, make, pictures_of
from training.pool import Pool, _framed, _recoloured
from training.synthetic import coloured, drawing


def effort(model: Model) -> Effort:
    return Effort(model.threshold, model.price)


def test_features_are_latents_groups_arrivals_and_index(photograph: np.ndarray, model: Model) -> None:
    packets = scan(onboard.compress(photograph, quality=40, packet_size=60))[0]
    decoding = Decoding(packets[0].description, model)
    decoding.add(packets[1:])
    latents = decoding.latents()[0]
    seen = features(decoding.planes[0], latents).reshape(-1, CHANNELS)
    state = decoding.planes[0]
    assert not state.has_first.all()
    assert (seen[:, 9] == state.has_first).all()
    assert (seen[:, 10] == state.has_rest).all()
    assert np.allclose(seen[:, 0] * 4096, latents.first)
    two = latents.group == 1
    assert np.allclose(seen[two, 1:8] * 1024, latents.rest[two])
    assert not seen[~two, 1:8].any()
    assert np.allclose(seen[:, 11], 1 - packets[0].index / 100, atol=1e-6)


@pytest.mark.parametrize("name", PARTS)
def test_an_example_is_the_picture_without_nets_beside_the_truth(name: str, model: Model) -> None:
    if name == "chroma":
        pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed: pip install '.[ground]'")
    part, picture = PARTS[name], colourful(176, 208)
    source = picture if name == "chroma" else picture[..., 0]
    e = make(source, model, part, 90, effort(model), NO_LOSS, 0)
    assert e.base.shape == e.target.shape == (part.planes, 176, 208)
    assert e.seen.shape == (176 // part.side, 208 // part.side, part.layout.channels)
    assert np.abs(e.base.astype(float) - e.target).mean() < 25
    if name == "luma":
        assert (e.target[0] == source).all()
        data = onboard.compress(np.ascontiguousarray(source), quality=55)
        assert (e.base[0] == onboard.decompress(data, enhance="plain").image).all()
    if name == "chroma":
        assert (e.base == np.stack(decoded(onboard.compress(source, quality=55), model).plain_full()[1:])).all()


def decoded(data: bytes, model: Model) -> Decoding:
    packets = scan(data)[0]
    decoding = Decoding(packets[0].description, model)
    decoding.add(packets)
    return decoding


def test_lost_packets_are_marked_in_the_features(model: Model) -> None:
    e = make(texture(240, 240), model, PARTS["luma"], 120, effort(model), Loss(0.3, 2.0, 60, 1), 4)
    assert 0.3 < e.seen[..., LAYOUTS["luma"].known[0] + 9].mean() < 1
    assert e.kind == "lossy"


@pytest.mark.parametrize("burst", [1.0, 4.0])
def test_losses_have_the_asked_rate_and_burst_length(burst: float) -> None:
    gone = lost(200_000, Loss(0.2, burst, 200, 0), np.random.default_rng(3))
    assert abs(gone.mean() - 0.2) < 0.02
    starts = np.count_nonzero(gone[1:] & ~gone[:-1])
    assert abs(gone.sum() / starts - max(burst, 1 / 0.8)) < 0.3


def test_layer_2_is_seen_in_the_samples_and_by_its_step(model: Model) -> None:
    e = make(texture(176, 208), model, PARTS["layered"], 0, effort(model), NO_LOSS, 0, step=70)
    assert e.kind == "layered"
    assert (e.seen[..., -2] == 1).all()
    assert np.allclose(e.seen[..., -1], (70 - 80) / 40, atol=1e-3)
    cells = e.base[0].reshape(44, 4, 52, 4).swapaxes(1, 2).reshape(44, 52, 16)
    assert (e.seen[..., :16].astype(float) * 64 + 128 == cells).all()
    assert np.abs(e.base.astype(float) - e.target).mean() < 12


def test_a_cell_knows_its_place_in_the_block_and_what_is_known_of_that(model: Model) -> None:
    e = make(texture(176, 208), model, PARTS["doubled"], 90, effort(model), NO_LOSS, 0)
    _, places, known = np.split(e.seen, [4, 4 + 16], -1)
    assert (places[4:8, 8:12].argmax(-1) == np.arange(16).reshape(4, 4)).all()
    assert (places.sum(-1) == 1).all()
    assert (known == known[::4, ::4].repeat(4, 0).repeat(4, 1)).all()
    assert len(np.unique(known[..., 0])) > 20


def test_a_cell_of_chroma_sees_the_luma_that_it_covers(model: Model) -> None:
    d = decoded(onboard.compress(colourful(39, 70), quality=70), model)
    known = [features(state, own) for state, own in zip(d.planes, d.latents(), strict=True)]
    plain = d.plain()
    luma = np.arange(39 * 70, dtype=np.uint32).astype(np.uint8).reshape(39, 70)
    whole = [np.pad(p, [(0, 24 - p.shape[0]), (0, 40 - p.shape[1])], mode="edge") for p in plain[1:]]
    seen = chroma_features(LAYOUTS["chroma"], luma, whole, known)
    assert seen.shape == (6, 10, 136)
    levels = seen[..., :96] * 64 + 128
    assert (levels[3, 7, :64].reshape(8, 8) == luma[24:32, 56:64]).all()
    assert (levels[5, 9, :64] == luma[-1, -1]).all()  # beyond the picture
    assert (levels[1, 2, 64:80].reshape(4, 4) == whole[0][4:8, 8:12]).all()
    assert (levels[1, 2, 80:96].reshape(4, 4) == whole[1][4:8, 8:12]).all()
    assert (seen[2:4, 4:6, 96:100].argmax(-1) == [[0, 1], [2, 3]]).all()
    for first, own in ((100, known[1][1, 2]), (112, known[2][1, 2]), (124, known[0][3, 5])):
        assert (seen[3, 5, first : first + CHANNELS] == own).all()


def test_drawings_in_colour_have_few_colours_or_channels_of_their_own() -> None:
    drawings = [coloured(np.random.default_rng(seed), 96) for seed in range(12)]
    assert all(d.shape == (96, 96, 3) and d.dtype == np.uint8 for d in drawings)
    colours = [len(np.unique(d.reshape(-1, 3), axis=0)) for d in drawings]
    assert min(colours) <= 256 < max(colours)


def test_other_colours_are_channels_exchanged_and_at_times_unrelated() -> None:
    picture = colourful(64, 80)
    others = [_recoloured(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert all(o.shape == picture.shape and o.dtype == np.uint8 for o in others)
    assert len({o.tobytes() for o in others}) == 30
    same = [np.abs(o.mean(-1) - picture.mean(-1)).mean() < 6 for o in others]
    assert 15 < sum(same) < 30


def test_a_pool_gives_the_same_crops_for_the_same_seed(model: Model) -> None:
    pictures = [texture(170, 190, seed) for seed in range(3)]
    found = []
    for seed in (7, 7, 8):
        with Pool(pictures, model, PARTS["luma"], seed) as pool:
            found.append(pool.batch(3))
    first, second, other = found
    assert first.seen.shape == (3, 40, 40, LAYOUTS["luma"].channels)
    assert first.base.shape == first.target.shape == (3, 1, 160, 160)
    assert (first.seen[1, 7, 20, :16] * 64 + 128 == first.base[1, 0, 28:32, 80:84].ravel()).all()
    assert (first.seen == second.seen).all()
    assert (first.target == second.target).all()
    assert not np.array_equal(first.seen, other.seen)


@pytest.mark.parametrize("name", ["luma", "layered"])
def test_a_pool_gives_the_same_crops_with_any_number_of_threads(
    name: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures, found = [texture(170, 190, seed) for seed in range(3)], []
    for threads in (1, 5):
        monkeypatch.setattr("training.pool.cores", lambda threads=threads: threads)
        with Pool(pictures, model, PARTS[name], 7) as pool:
            found.append([pool.batch(3) for _ in range(4)])
    for one, five in zip(*found, strict=True):
        assert (one.seen == five.seen).all()
        assert (one.target == five.target).all()


def test_what_fails_in_a_thread_of_a_pool_is_raised_and_its_threads_end(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("training.pool.make", fail)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError) as kept, Pool([texture(170, 190)], model, PARTS["luma"], 1):
        pass
    assert kept.value.__traceback__ is not None  # which keeps the pool
    assert threading.active_count() == before


def test_of_large_pictures_the_middle_is_kept_and_some_of_many_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.examples.KEPT_SIDE", 100)
    monkeypatch.setattr("training.examples.MOST_VALIDATED", 2)
    picture = texture(120, 90)
    Image.fromarray(picture).save(tmp_path / "a.png")
    training, unseen = pictures_of([tmp_path / "a.png"] * 99, PARTS["luma"])
    assert len(training) == 90 and len(unseen) == 2
    assert (training[0] == picture[10:110]).all()
    assert training[0].base is None  # or the whole picture would stay


def test_pictures_without_colour_are_no_reason_to_have_too_few(tmp_path: Path) -> None:
    Image.fromarray(texture(170, 170)).save(tmp_path / "grey.png")
    Image.fromarray(colourful(170, 170)).save(tmp_path / "colour.png")
    grey, colour = ([tmp_path / f"{name}.png"] for name in ("grey", "colour"))
    training, unseen = pictures_of((9 * grey + colour) * 10, PARTS["chroma"])  # by names no grey one would validate
    assert (len(training), len(unseen)) == (9, 1)
    needed = r"9 of 18 pictures can be used: at least 10 pictures in colour of 8 bits of at least 160x160 are needed"
    with pytest.raises(InputError, match=needed):
        pictures_of((grey + colour) * 9, PARTS["chroma"])


def test_frames_are_black_or_white_and_most_end_where_blocks_do() -> None:
    picture = np.full((160, 240), 99, np.uint8)
    ends = []
    for seed in range(40):
        framed = _framed(picture, np.random.default_rng(seed))
        assert set(np.unique(framed)) in ({99}, {0, 99}, {99, 255})
        rows, columns = np.flatnonzero((framed == 99).any(1)), np.flatnonzero((framed == 99).any(0))
        assert (framed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 99).all()
        ends += [int(rows[0]), int(columns[0]), 160 - 1 - int(rows[-1]), 240 - 1 - int(columns[-1])]
    wide = [n for n in ends if n]
    assert 40 < len(wide) < 120 and (picture == 99).all()
    assert 0.5 < np.mean([n % 16 == 0 for n in wide]) < 0.95


def test_drawings_are_of_every_kind() -> None:
    drawings = [drawing(np.random.default_rng(seed), 96) for seed in range(12)]
    assert all(d.shape == (96, 96) and d.dtype == np.uint8 for d in drawings)
    assert len({d.tobytes() for d in drawings}) == 12


def test_bfloat16_is_used_where_it_is_clearly_faster_only() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.processor import Processor

    for half_seconds, taken in ((13.0, False), (1.0, False), (0.9, False), (0.5, True)):
        assert Processor.choose("cpu", {False: 1.0, True: half_seconds}.__getitem__).half is taken
    assert str(Processor.choose("cpu")).startswith("the CPU, in ")
    a = torch.full((2, 2), 1 + 2**-10)
    for half, kept in ((False, torch.float32), (True, torch.bfloat16)):
        with Processor(torch.device("cpu"), half).precision():
            assert (a @ a).dtype == kept


def test_a_gpu_that_is_asked_for_and_not_there_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    run = [
        "enhance",
        "--images",
        str(folder_of_textures(tmp_path)),
        "--device",
        "cuda",
        "--out",
        str(tmp_path / "net.pt"),
    ]
    assert main(run) == 2
    assert capsys.readouterr().err.strip().endswith("use --device cpu, or install its CUDA build")


def test_a_net_for_looks_learns_from_features_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    pytest.importorskip("efficientnet_lite_pytorch", reason="the feature net is missing: pip install '.[train]'")
    run = ["enhance", "--images", str(folder_of_textures(tmp_path)), "--crops", "2", "--threads", "1", "--json"]
    assert main([*run, "--net", "perceptual", "--steps", "2", "--out", str(tmp_path / "net.pt")]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == "hybrid"


def test_features_tell_a_blurred_picture_from_a_sharp_one() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    pytest.importorskip("efficientnet_lite_pytorch", reason="the feature net is missing: pip install '.[train]'")
    from training.losses import Features
    from training.processor import Processor

    sharp = torch.from_numpy(texture(96, 96).astype(np.float32))[None, None]
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2, count_include_pad=False)
    looks = Features.load(Processor.choose("cpu"))
    same, other = (float(looks.distance(p, sharp)) for p in (sharp, blurred))
    assert same == 0
    assert other > 0.01


def test_what_training_lacks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["enhance", "--images", str(tmp_path), "--out", str(tmp_path / "x.pt")]) == 2
    assert "torch is not installed: pip install" in capsys.readouterr().err
