"""Training of the neural decoders: the examples it is made of, and a few steps where PyTorch is installed."""

from __future__ import annotations

import json
from dataclasses import replace
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
from tests.pictures import colourful, texture
from training.cli import main
from training.examples import NO_LOSS, PARTS, Loss, lost, make
from training.pool import Pool, _recoloured
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


def test_chroma_is_not_trained_without_a_net_of_luma(model: Model) -> None:
    other = replace(model, lengths=np.roll(model.lengths, 1, axis=0))
    with pytest.raises(InputError, match=r"there is none: (no small net of luma for|LiteRT is not installed)"):
        Pool([colourful(330, 330)], other, PARTS["chroma"], 1)


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
    first, second, other = (Pool(pictures, model, PARTS["luma"], seed).batch(3) for seed in (7, 7, 8))
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


def test_what_fails_in_a_thread_of_a_pool_is_raised(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("training.pool.make", fail)
    with pytest.raises(ZeroDivisionError):
        Pool([texture(170, 190)], model, PARTS["luma"], 1)


def test_drawings_are_of_every_kind() -> None:
    drawings = [drawing(np.random.default_rng(seed), 96) for seed in range(12)]
    assert all(d.shape == (96, 96) and d.dtype == np.uint8 for d in drawings)
    assert len({d.tobytes() for d in drawings}) == 12


def test_training_learns_stops_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    run = ["enhance", "--images", str(few_pictures(tmp_path)), "--crops", "2", "--threads", "1"]
    run += ["--out", str(tmp_path / "net.pt")]
    assert main([*run, "--steps", "2"]) == 0
    assert main([*run, "--steps", "4"]) == 0
    assert "dB by the net" in capsys.readouterr().err


def test_bfloat16_is_used_where_the_processor_has_it_only() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.processor import Processor, has_fast_bfloat16

    assert not has_fast_bfloat16({"avx2": True, "avx512_f": True, "avx512_bf16": False})
    assert has_fast_bfloat16({"avx512_bf16": True, "amx_bf16": False})
    assert has_fast_bfloat16({"neon": True, "bf16": True})
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
    run = ["enhance", "--images", str(few_pictures(tmp_path)), "--device", "cuda", "--out", str(tmp_path / "net.pt")]
    assert main(run) == 2
    assert capsys.readouterr().err.strip().endswith("use --device cpu, or install its CUDA build")


def test_a_net_for_looks_learns_from_features_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    pytest.importorskip("efficientnet_lite_pytorch", reason="the feature net is missing: pip install '.[train]'")
    run = ["enhance", "--images", str(few_pictures(tmp_path)), "--crops", "2", "--threads", "1", "--json"]
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


def few_pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(11):
        Image.fromarray(texture(168, 168, seed)).save(folder / f"{seed}.png")
    return folder


def test_training_can_start_from_a_shipped_net() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is missing: pip install '.[ground]'")
    from training.checkpoints import weights_of
    from training.nets import Net, Shape

    (path,) = (Path(__file__).parents[1] / "onboard/ground/models").glob("small-luma-*.tflite")
    weights = weights_of(path)
    part, layers = PARTS["luma"], 2 + len({name.split(".")[1] for name in weights if name.startswith("body")})
    net = Net(Shape(part.layout.channels, part.outputs, len(weights["enter.weight"]), layers))
    assert -(-layers // part.layout.across) == int(path.stem.split("-r")[1])
    assert set(net.state_dict()) == set(weights)
    net.grow_from([weights])
    shipped = litert.Interpreter(model_path=str(path))
    shipped.allocate_tensors()
    (given,), (made,) = shipped.get_input_details(), shipped.get_output_details()
    x = np.random.default_rng(3).normal(size=given["shape"]).astype(np.float32)
    shipped.set_tensor(given["index"], x)
    shipped.invoke()
    with torch.no_grad():
        found = net(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - shipped.get_tensor(made["index"])).max() < 0.01 < np.abs(found).max()


def test_a_larger_net_starts_as_the_mean_of_smaller_ones() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.nets import Net, Shape

    torch.manual_seed(5)
    small, deep = Net(Shape(7, 4, 5, 4)), Net(Shape(9, 4, 6, 6))
    for net in (small, deep):
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    large = Net(Shape(9, 4, 16, 8))
    large.grow_from([small.state_dict(), deep.state_dict()])
    x = torch.randn(2, 9, 6, 5)
    assert torch.allclose(large(x), (small(x[:, :7]) + deep(x)) / 2, atol=1e-4)
    with pytest.raises(ValueError, match="20 channels in 4 layers: more than the net to be trained has, 16 in 8"):
        large.grow_from([small.state_dict()] * 4)


def test_a_net_does_not_start_from_one_that_sees_something_else() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is missing: pip install '.[ground]'")
    from training.checkpoints import start_weights

    (path,) = (Path(__file__).parents[1] / "onboard/ground/models").glob("small-luma-*.tflite")
    assert set(start_weights(path, "layered")) == set(start_weights(path, "luma"))
    with pytest.raises(InputError, match="a net of luma has other cells than one of doubled"):
        start_weights(path, "doubled")
    with pytest.raises(InputError, match="must be a checkpoint, or have a name such as"):
        start_weights(Path("net.tflite"), "luma")


def test_the_mean_of_checkpoints_is_that_of_their_weights_and_needs_one_shape() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.checkpoints import mean_of

    about = {"net": "small", "part": "luma"}
    states = [
        {"about": about, "shape": {"width": 2}, "step": n, "mean": {"w": torch.full((2,), n)}} for n in (1.0, 4.0)
    ]
    assert mean_of(states)["mean"]["w"].tolist() == [2.5, 2.5]
    assert mean_of(states)["step"] == 4
    assert mean_of(states)["about"]["mean_of_steps"] == [1, 4]
    with pytest.raises(InputError, match="one shape"):
        mean_of([*states, {**states[0], "shape": {"width": 3}}])


def test_a_net_goes_over_to_a_model_with_other_code_tables_only(model: Model) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.checkpoints import carried

    old = replace(model, lengths=np.roll(model.lengths, 1, axis=0))
    names = [f"{m.model_id:04x}" for m in (old, model)]
    state = {"about": {"net": "small", "model": names[0]}, "step": 3}
    assert carried(state, old, model) == {
        "about": {"net": "small", "model": names[1], "trained_for": names[0]},
        "step": 3,
    }
    with pytest.raises(InputError, match=f"for model {names[0]}, not for {names[1]}"):
        carried(state, model, old)
    with pytest.raises(InputError, match="must be trained anew"):
        carried(state, old, replace(model, price=model.price + 1))


def test_what_training_lacks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["enhance", "--images", str(tmp_path), "--out", str(tmp_path / "x.pt")]) == 2
    assert "torch is not installed: pip install" in capsys.readouterr().err
