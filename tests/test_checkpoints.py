"""Checkpoints of nets, and runs of training that stop, go on, are interrupted or diverge."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onboard.encoder import Effort
from onboard.errors import InputError
from onboard.model import Model
from tests.pictures import colourful, folder_of_textures, texture
from training.cli import main
from training.examples import NO_LOSS, PARTS, make
from training.pool import Batch

ABOUT = {"net": "small", "part": "luma", "model": "b9d5", "loss": "mse", "seed": 1}


def new_run(start: Any = (), names: Any = (), **plan: Any) -> Any:
    """A run of a net of luma that is as small as can be."""
    from training.enhance import Plan, Run
    from training.nets import Shape

    part, about = PARTS["luma"], {**ABOUT, "start": list(names)}
    usual = {"steps": 40, "crops": 2, "seed": 1, "threads": 1, "device": "cpu"}
    return Run(Shape(part.layout.channels, part.outputs, 8, 4), Plan(**{**usual, **plan}), about, start)


def state_of_a_run() -> dict[str, Any]:
    return new_run().state()


def batch(seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(2, 12, 12, PARTS["luma"].layout.channels)).astype(np.float16)
    base, target = rng.integers(0, 256, (2, 2, 1, 48, 48), np.uint8)
    return Batch(seen, base, target, np.full(2, 1e-4, np.float32))


def plain(value: Any) -> Any:
    """Tensors of a state as lists, so that it can be compared."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_that_was_saved_goes_on_as_if_it_had_not_stopped(device: str, tmp_path: Path, model: Model) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    from training.checkpoints import load, save
    from training.enhance import check

    run, path = new_run(device=device), tmp_path / "net.pt"
    for seed in range(3):
        run.learn(batch(seed))
    run.curve.append({"step": 3})
    save(run.state(), path)
    again = new_run(device=device, seed=9)
    assert plain(again.state()["net"]) != plain(run.state()["net"])
    again.resume(load(path))
    assert plain(again.state()) == plain(run.state())
    for each in (run, again):
        each.learn(batch(3))
    assert again.step == 4
    for name, value in run.mean.items():
        assert torch.allclose(again.mean[name], value, atol=0 if device == "cpu" else 1e-4)
    example = make(texture(176, 208), model, PARTS["luma"], 90, Effort(model.threshold, model.price), NO_LOSS, 0)
    assert set(check(again, [example])) == {"whole_db", "whole_ssim"}


def test_a_rate_that_is_given_anew_counts_and_the_end_of_the_plan_as_well() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    run = new_run(steps=3, rate=0.004)
    for seed in range(3):
        run.learn(batch(seed))

    def rates(**plan: Any) -> list[float]:
        again = new_run(**plan)
        again.resume(run.state())
        return [o.param_groups[0]["lr"] for o in again.optimisers]

    assert rates(steps=3) == [0, 0]
    kept, fresh = rates(steps=1 << 30), rates(steps=1 << 30, rate=0.002)
    assert np.allclose(kept, [0.004 * 0.04, 0.2 * 0.004 * 0.04])  # the fourth of 100 steps of warm-up
    assert np.allclose(fresh, np.array(kept) / 2)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small run of the command."""
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    monkeypatch.setattr("training.pool.POOL", 4)
    run = [
        "enhance",
        "--images",
        str(folder_of_textures(tmp_path)),
        "--crops",
        "2",
        "--threads",
        "1",
        "--device",
        "cpu",
    ]
    return [*run, "--out", str(tmp_path / "net.pt")]


def test_training_learns_stops_and_goes_on(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--steps", "2"]) == 0
    assert main([*command, "--steps", "4", "--seed", "9", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "dB by the net" in err
    report = json.loads(out)
    assert [point["step"] for point in report["curve"]] == [2, 4]
    assert report["seed"] == 1  # that with which it began


def test_a_plan_that_is_fulfilled_is_said_before_pictures_are_read(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--steps", "2"]) == 0
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    assert main([*command, "--steps", "2"]) == 0
    assert "has learnt for 2 steps already; give more --steps to go on" in capsys.readouterr().err


def test_an_interrupt_loses_nothing(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.checkpoints import load
    from training.enhance import Run

    learn = Run.learn

    def interrupted(run: Run, batch: Batch) -> Any:
        if run.step == 2:
            signal.raise_signal(signal.SIGINT)
        return learn(run, batch)

    monkeypatch.setattr(Run, "learn", interrupted)
    assert main([*command, "--steps", "9"]) == 130
    assert load(tmp_path / "net.pt")["step"] == 3
    assert "net.pt: saved at step 3" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_while_losses_are_read_loses_nothing_either(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import enhance
    from training.checkpoints import load

    is_finite = enhance.Run.is_finite

    def interrupted(run: enhance.Run) -> bool:
        signal.raise_signal(signal.SIGINT)
        return is_finite(run)

    monkeypatch.setattr(enhance, "NOTE_EVERY", 2)
    monkeypatch.setattr(enhance.Run, "is_finite", interrupted)
    assert main([*command, "--steps", "9"]) == 130
    assert load(tmp_path / "net.pt")["step"] == 2


def test_a_run_is_saved_by_time_too(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.checkpoints import load
    from training.enhance import Run

    learn = Run.learn

    def killed(run: Run, batch: Batch) -> Any:
        if run.step == 3:
            raise SystemExit
        return learn(run, batch)

    monkeypatch.setattr(Run, "learn", killed)
    monkeypatch.setattr("training.enhance.SAVE_EVERY", 0)
    with pytest.raises(SystemExit):
        main([*command, "--steps", "9"])
    assert load(tmp_path / "net.pt")["step"] == 3


def test_a_run_that_diverges_stops_and_leaves_its_checkpoint_alone(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--steps", "2"]) == 0
    good = (tmp_path / "net.pt").read_bytes()
    capsys.readouterr()
    assert main([*command, "--steps", "5", "--rate", "1e36"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "onboard-train: the loss is no longer finite at step 5: lower --rate"
    assert (tmp_path / "net.pt").read_bytes() == good


@pytest.mark.parametrize(
    "option", ["--steps 0", "--crops 0", "--threads 0", "--seed -1", "--seed 99999999999", "--rate -1", "--rate nan"]
)
def test_a_plan_that_makes_no_sense_is_refused_in_one_line(
    option: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *option.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"onboard-train: {option}") and ": must be" in said and said.count("\n") == 1


def test_a_checkpoint_that_cannot_be_written_is_said_before_all_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out, why in (("gone/net.pt", "there is no folder"), ("pictures", "is a folder")):
        assert main([*command[:-1], str(tmp_path / out)]) == 2
        said = capsys.readouterr().err
        assert f"{out}: {why}" in said and said.count("\n") == 1


def test_chroma_is_not_trained_without_a_net_of_luma(
    command: list[str], tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(model, lengths=np.roll(model.lengths, 1, axis=0))
    (tmp_path / "other.obm").write_bytes(other.data)
    assert main([*command, "--part", "chroma", "--model", str(tmp_path / "other.obm")]) == 2
    said = capsys.readouterr().err
    assert "there is none: no small net of luma for" in said or "LiteRT is not installed" in said
    assert "onboard-train export-nets" in said and "--nets" in said and said.count("\n") == 1


def test_chroma_goes_by_a_net_of_luma_in_a_folder(
    command: list[str], tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is missing: pip install '.[ground]'")
    other = replace(model, lengths=np.roll(model.lengths, 1, axis=0))
    (tmp_path / "other.obm").write_bytes(other.data)
    (shipped,) = (Path(__file__).parents[1] / "onboard/ground/models").glob("small-luma-*.tflite")
    (tmp_path / f"small-luma-{other.model_id:04x}-r4.tflite").write_bytes(shipped.read_bytes())
    part, effort = replace(PARTS["chroma"], nets=tmp_path), Effort(model.threshold, model.price)
    cases = (other, part), (model, PARTS["chroma"])
    theirs, usual = (make(colourful(176, 208), *case, 90, effort, NO_LOSS, 0).seen for case in cases)
    assert (theirs == usual).all()
    chroma = [*command, "--part", "chroma", "--model", str(tmp_path / "other.obm"), "--nets", str(tmp_path)]
    assert main(chroma) == 2
    assert "0 of 11 pictures can be used" in capsys.readouterr().err  # they have no colour


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
    assert set(start_weights(path, "layered", "b9d5")) == set(start_weights(path, "luma", "b9d5"))
    with pytest.raises(InputError, match="a net of luma has other cells than one of doubled"):
        start_weights(path, "doubled", "b9d5")
    with pytest.raises(InputError, match="must be a checkpoint, or have a name such as"):
        start_weights(Path("net.tflite"), "luma", "b9d5")


@pytest.mark.parametrize("kind", ["tflite", "pt"])
def test_a_net_does_not_start_from_one_for_another_model(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.checkpoints import save, start_weights

    path = tmp_path / f"small-luma-b9d5-r4.{kind}"
    if kind == "pt":
        save(state_of_a_run(), path)
    with pytest.raises(InputError, match=r"b9d5-r4.*for model b9d5, not for 1234: .*--model.*export-nets --carry"):
        start_weights(path, "luma", "1234")


def test_a_start_that_is_too_large_is_named() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    with pytest.raises(InputError, match=r"^a\.pt, b\.pt: 16 channels in 4 layers: more than"):
        new_run(start=[new_run().mean] * 2, names=["a.pt", "b.pt"])


@pytest.mark.parametrize("content", [b"", b"text, and no more", b"PK\x03\x04 and no more", "list", "dict", "state"])
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(content: bytes | str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.checkpoints import load

    path = tmp_path / "net.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        whole = state_of_a_run()
        torch.save({"list": [1], "dict": {"about": 1}, "state": {**whole, "about": {"net": "small"}}}[content], path)
    with pytest.raises(InputError) as raised:
        load(path)
    assert str(raised.value) == f"{path}: not a checkpoint of `onboard-train enhance`"


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.checkpoints import load

    with pytest.raises(InputError, match=r"gone\.pt: No such file"):
        load(tmp_path / "gone.pt")


def test_the_mean_of_checkpoints_is_that_of_their_weights_and_needs_one_kind() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[train]'")
    from training.checkpoints import mean_of

    about = {"net": "small", "part": "luma", "model": "b9d5"}
    states = [
        {"about": about, "shape": {"width": 2}, "step": n, "mean": {"w": torch.full((2,), n)}} for n in (1.0, 4.0)
    ]
    assert mean_of(states)["mean"]["w"].tolist() == [2.5, 2.5]
    assert mean_of(states)["step"] == 4
    assert mean_of(states)["about"]["mean_of_steps"] == [1, 4]
    for other in (
        {"shape": {"width": 3}},
        {"about": {**about, "model": "1234"}},
        {"about": {**about, "part": "layered"}},
    ):
        with pytest.raises(InputError, match="one part, model and shape"):
            mean_of([*states, {**states[0], **other}])


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
