"""Exports are read back by another program, or by our strict loader, and give the same logits."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import videoadapt as va
from tests.toy_models import ADAPTERS
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import demo, export, train
from videoadapt.config.loading import load_config
from videoadapt.export.quantised import cost, quantise, videos_of_test
from videoadapt.inference.predictor import Predictor
from videoadapt.runs.build import open_run
from videoadapt.runs.inputs import find_problems
from videoadapt.weights.formats import read_weights

UNMERGEABLE = {
    "adaptformer": "AdaptMLP has a ReLU",
    "houlsby": "its bottleneck has a GELU",
    "adapter_plus": "its bottleneck has a GELU",
    "st_adapter": "its convolution mixes tokens",
    "aim": "it attends over time",
    "attentive_probe": "its query has no place in the backbone",
    "probe_over_times": "its query has no place in the backbone",
    "vpt+st_adapter": "its tokens take part in the attention",
}


EVERY = [pytest.param(name, marks=() if name == "adaptformer" else pytest.mark.slow) for name in ADAPTERS]
MERGED = [pytest.param(name, marks=() if name in ("linear", "adaptformer") else pytest.mark.slow) for name in ADAPTERS]


@pytest.fixture(scope="module", params=EVERY)
def run(request: pytest.FixtureRequest, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    config = toy_config(
        folder / "run",
        clips,
        model={"adapter": ADAPTERS[request.param]},
        train={"epochs": 1},
        test={"enable": False},
    )
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "run"


def logits(run: Path, clips_BCTHW: torch.Tensor) -> np.ndarray:
    _, _, model = open_run(run, torch.device("cpu"))
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        return model((clips_BCTHW / 255 - mean) / std).numpy()


@pytest.fixture
def clips_BCTHW() -> torch.Tensor:
    return torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    assert export.main([str(run / "m.onnx"), "--run", str(run)]) == 0
    return run / "m.onnx"


def test_onnx(run: Path, exported: Path, clips_BCTHW: torch.Tensor) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    found = session.run(None, {"clips": clips_BCTHW.numpy()})[0]
    np.testing.assert_allclose(found, logits(run, clips_BCTHW), atol=1e-5)
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    assert names == (run / "classes.txt").read_text().splitlines()


@pytest.mark.parametrize("run", ["adaptformer"], indirect=True)
def test_demo_of_an_onnx_file_is_the_runs(
    run: Path, exported: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone.onnx"  # nothing else of the run is beside it
    alone.write_bytes(exported.read_bytes())
    videos = [str(path) for path in sorted(clips.glob("train/*/*.mp4"))[:3]]
    answers = []
    for source in (["--run", str(run)], ["--onnx", str(alone)]):
        capsys.readouterr()
        assert demo.main([*videos, *source, "--json", "--top", "8", "--device", "cpu"]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    for ours, theirs in zip(*answers, strict=True):
        assert theirs["onnx"] == str(alone) and theirs["video"] == ours["video"]
        by_label = [{p["label"]: p["probability"] for p in said["predictions"]} for said in (ours, theirs)]
        assert by_label[1] == pytest.approx(
            by_label[0], abs=1e-5
        )  # float32 in another order; what is asked for is 1e-3
        assert max(by_label[0].values()) - min(by_label[0].values()) > 1e-3  # it tells classes apart
    model = pickle.loads(pickle.dumps(va.load(alone)))  # as one that went to another process
    window = va.load(run, device="cpu").timeline(videos[0], crops=1).values
    np.testing.assert_allclose(model.timeline(videos[0], crops=1).values, window, atol=1e-5)
    with pytest.raises(va.ConfigError, match=r"alone\.onnx: an ONNX file gives logits only; features come from"):
        model.features(videos[0])
    with pytest.raises(va.ConfigError, match=r"alone\.onnx: where it looked cannot be seen in an ONNX file"):
        model.explain(videos[0])


@pytest.mark.parametrize(
    ("precision", "rounding"), [pytest.param("bf16", 0.02, marks=pytest.mark.slow), ("fp16", 1e-3)]
)
def test_a_run_of_half_precision_is_exported_in_float32(
    precision: str, rounding: float, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is the run in float32; as it runs itself, the run's own rounding stands between them."""
    config = toy_config(tmp_path / "run", clips, train={"epochs": 1, "precision": precision}, test={"enable": False})
    assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    capsys.readouterr()
    assert export.main([str(tmp_path / "m.onnx"), "--run", str(tmp_path / "run")]) == 0
    assert f"the run itself computes in {precision} (train.precision)" in capsys.readouterr().out
    own, file = va.load(tmp_path / "run", device="cpu"), va.load(tmp_path / "m.onnx")
    assert own.config.train.precision == precision
    settings, names, model = open_run(tmp_path / "run", torch.device("cpu"))
    in_float32 = settings.train.model_copy(update={"precision": "fp32"})
    exact = Predictor(settings.model_copy(update={"train": in_float32}), names, model, torch.device("cpu"))
    videos = sorted(clips.glob("train/*/*.mp4"))[::6]
    of_own, of_exact, of_file = (
        np.array([[said.probability for said in sorted(predictor.predict(video, top=8), key=lambda said: said.label)]
                  for video in videos]) for predictor in (own, exact, file)
    )  # fmt: skip
    np.testing.assert_allclose(of_file, of_exact, atol=1e-5)
    np.testing.assert_allclose(of_file, of_own, atol=rounding)
    assert np.abs(of_own - of_exact).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("run", ["adaptformer"], indirect=True)
@pytest.mark.parametrize("how", ["int8", "fp16"])
def test_what_fewer_bits_cost(
    run: Path, exported: Path, how: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted(clips.glob("train/*/*.mp4"))[::6]
    names = (run / "classes.txt").read_text().splitlines()
    labels = [names.index(video.parent.name) for video in videos]
    rows = [f"{video.relative_to(clips)} {label}\n" for video, label in zip(videos, labels, strict=True)]
    (tmp_path / "list.txt").write_text("".join(rows))
    if how == "int8":
        listed = ["--list", str(tmp_path / "list.txt"), "--root", str(clips)]
        assert export.main([str(tmp_path / "q.onnx"), "--run", str(run), "--quantize", how, *listed]) == 0
        found = json.loads((tmp_path / "q.json").read_text())
        shown = capsys.readouterr().out
        assert f"int8    top1 {found[how]['top1']:.2f} %" in shown and "probabilities differ by" in shown
    else:  # without another export
        quantise(exported, tmp_path / "q.onnx", "fp16")
        config = load_config(run / "config.yaml")
        found = cost(exported, tmp_path / "q.onnx", videos_of_test(config, len(names), tmp_path / "list.txt", clips))
    probs_NK = []
    for file in (exported, tmp_path / "q.onnx"):
        answers = [va.load(file).predict(video, top=8) for video in videos]
        probs_NK.append(np.array([[p.probability for p in sorted(said, key=lambda p: p.label)] for said in answers]))
    differing = np.abs(probs_NK[1] - probs_NK[0])
    assert found["num_videos"] == len(videos) == 8 and found["num_clips"] == 8 * 2 * 3
    assert found["largest_difference"] == pytest.approx(differing.max(), abs=1e-6)
    assert 1e-6 < differing.max() < 0.02  # other numbers, and the same model
    for name, of_file in zip(("float32", how), probs_NK, strict=True):
        assert found[name]["top1"] == pytest.approx(100 * np.mean(of_file.argmax(axis=1) == labels), abs=1e-3)
    assert found[how]["bytes"] == (tmp_path / "q.onnx").stat().st_size < found["float32"]["bytes"]


@pytest.mark.parametrize("run", ["linear"], indirect=True)
def test_fewer_bits_where_the_videos_are_elsewhere(
    run: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(run / "config.yaml")
    (tmp_path / "moved").symlink_to(clips)
    videos = videos_of_test(config, 8, root=tmp_path / "moved")
    assert len(videos) == 16 and all(video.path.is_relative_to(tmp_path / "moved") for video in videos)
    monkeypatch.setattr("videoadapt.export.programs.export_onnx", lambda *_: pytest.fail("exported first"))
    said = ["--run", str(run), "--quantize", "int8", "--list", str(tmp_path / "none.txt")]
    assert export.main([str(tmp_path / "m.onnx"), *said]) == 2
    assert "none.txt: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["linear"], indirect=True)
def test_fewer_bits_of_what_cannot_be(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        ([str(tmp_path / "m.pt2"), "--run", str(run), "--quantize", "int8"], "m.pt2: is for .onnx"),
        ([str(tmp_path / "m.onnx"), "--adapter", "a.safetensors", "--quantize", "int8"], "names no test list"),
        ([str(tmp_path / "m.onnx"), "--run", str(run), "--list", "l.txt"], "--list and --root: go with --quantize"),
    ):
        with pytest.raises(SystemExit):
            export.main(arguments)
        assert expected in capsys.readouterr().err


def test_torch_export(run: Path, clips_BCTHW: torch.Tensor, tmp_path: Path) -> None:
    assert export.main([str(tmp_path / "m.pt2"), "--run", str(run)]) == 0
    extra = {"class_names": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    np.testing.assert_allclose(program.module()(clips_BCTHW).detach(), logits(run, clips_BCTHW), atol=1e-5)
    assert json.loads(extra["class_names"]) == (run / "classes.txt").read_text().splitlines()


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_an_export_on_a_full_disk_is_one_line(
    run: Path, suffix: str, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = small_disk / f"model.{suffix}"
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free - 4096))
    assert export.main([str(target), "--run", str(run)]) == 2
    assert f"error: {target}: No space left on device; free some space" in capsys.readouterr().err
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize("run", MERGED, indirect=True)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_merged(
    run: Path, suffix: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = UNMERGEABLE.get(request.node.callspec.params["run"])
    code = export.main([str(tmp_path / f"m.{suffix}"), "--run", str(run)])
    captured = capsys.readouterr()
    if reason:
        assert code == 2 and f"cannot be merged into the backbone exactly ({reason})" in captured.err
        assert not list(tmp_path.iterdir())
        return
    assert code == 0 and "its logits differ by" in captured.out
    assert read_weights(str(tmp_path / f"m.{suffix}")).format == "VideoMAE fine-tuned"


@pytest.mark.parametrize("run", ["linear"], indirect=True)
def test_a_wrong_export_is_deleted_and_fails(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "videoadapt.models.head.Head.fold_norm", lambda head: setattr(head, "norm", torch.nn.Identity())
    )
    assert export.main([str(tmp_path / "m.safetensors"), "--run", str(run)]) == 2
    assert "deleted, because its logits differ" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run", ["linear"], indirect=True)
def test_another_suffix(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(tmp_path / "m.bin"), "--run", str(run)]) == 2
    assert "allowed: .onnx, .pt2, .safetensors, .pth" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["linear"], indirect=True)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_an_exported_head_is_used_with_its_classes(run: Path, suffix: str, clips: Path, tmp_path: Path) -> None:
    merged, names = tmp_path / f"m.{suffix}", (run / "classes.txt").read_text().splitlines()
    assert export.main([str(merged), "--run", str(run)]) == 0
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in [*names[1:], names[0]]))
    head = ["model.head.batch_norm=false", "model.adapter={name: full}", "train.enable=false", "test.enable=true"]
    same = load_config(run / "config.yaml", [f"model.weights={merged}", f"output={tmp_path}/out", *head])
    assert find_problems(same)[1] == []
    other = same.model_copy(update={"data": same.data.model_copy(update={"classes": str(tmp_path / "classes.txt")})})
    (problem,) = find_problems(other)[1]
    assert problem.startswith(f"model.weights = {merged}: its head's class 0 is {names[0]!r} in the file and ")
