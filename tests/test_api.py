"""`import videoadapt as va`: what a script or a notebook does with it, on a real toy run and its rendered clips."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from annotated_types import Ge

import videoadapt as va
from tests.media import write_video
from tests.toy_runs import environment, toy_config, write_config
from videoadapt import api
from videoadapt.config.loading import check_config
from videoadapt.data.videos import VideoRows
from videoadapt.distributed import choose_device
from videoadapt.models.adapters import Adapter, AdapterModule, Parallel
from videoadapt.registry import ADAPTERS
from videoadapt.runs.build import open_run
from videoadapt.runs.lists import load_splits
from videoadapt.weights.files import weights_path

SIZES = {"size": "tiny", "width": 32, "depth": 2, "num_heads": 2, "patch_px": 16}


@pytest.fixture(scope="module")
def result(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> va.RunResult:
    """A toy run, made from Python; its clips lie beside its folder."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "clips").symlink_to(clips)
    path = write_config(folder / "c.yaml", toy_config(folder / "run", folder / "clips"))
    return va.run(va.load_config(path, {"train.epochs": 1, "test": {"clips": 1}}))


@pytest.fixture(scope="module")
def file(result: va.RunResult) -> Path:
    return result.folder.parent / "clips/test/clockwise/clockwise_0001.mp4"


def test_import_is_lazy() -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'av', 'videoadapt.api'}"
    code = (
        f"import sys, videoadapt as va; print({heavy} & sys.modules.keys()); dir(va); hasattr(va, 'none'); "
        f"print({heavy} & sys.modules.keys()); va.load; print({heavy} <= sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["set()", "set()", "True"], done.stderr


def test_names_that_are_handed_on() -> None:
    assert va.__all__ == api.__all__
    for name in va.__all__:
        assert getattr(va, name) is getattr(api, name) and getattr(va, name).__doc__
    assert {*va.__all__, "__version__"} <= set(dir(va))
    with pytest.raises(AttributeError, match="module 'videoadapt' has no attribute 'laod'"):
        getattr(va, "laod")  # noqa: B009


def test_a_run_returns_its_results(result: va.RunResult) -> None:
    saved = json.loads((result.folder / "results.json").read_text())
    assert result.results == saved and result.results["num_views"] == 3
    assert (result.top1, result.top5) == (saved["top1"], saved["top5"])
    assert len((result.folder / "metrics.jsonl").read_text().splitlines()) == 6  # the one epoch that was asked for


def test_weights_that_do_not_fit_name_no_key_of_a_yaml() -> None:
    with pytest.raises(va.CheckpointError) as raised:
        va.create_model(
            "vit", **SIZES, weights="package:masked_trunk.safetensors", num_classes=8, num_frames=4, crop_px=32
        )
    said = str(raised.value)
    assert "does not fit the model" in said and "change the backbone's size or width" in said and "model." not in said


def test_a_run_without_a_test(result: va.RunResult, tmp_path: Path) -> None:
    copy = shutil.copytree(result.folder, tmp_path / "copy")  # finished: nothing is left to train
    again = va.run(va.load_config(copy / "config.yaml", [f"output={copy}", "test.enable=false"]))
    assert again == va.RunResult(copy, None) and again.top1 is None and again.top5 is None


def test_three_lines(result: va.RunResult, file: Path) -> None:
    model = va.load(str(result.folder), device="cpu")
    best = model.predict(file)[0]
    assert isinstance(model, va.Predictor) and isinstance(best, va.Prediction) and best.name in model.class_names
    assert va.load(result.folder / "adapter.safetensors").predict(str(file))[0] == best


def test_what_cannot_be_loaded(result: va.RunResult, tmp_path: Path) -> None:
    with pytest.raises(va.CheckpointError, match=f"^{tmp_path}/none: no such run folder or adapter file"):
        va.load(tmp_path / "none")
    with pytest.raises(va.CheckpointError, match=f"^{tmp_path}: not a run folder"):
        va.load(str(tmp_path))
    with pytest.raises(va.ConfigError, match=f"^weights: .*{result.folder}/adapter.safetensors"):
        va.load(result.folder, weights="backbone.pth")
    with pytest.raises(TypeError, match=r"^source: expected a path \(str or Path\), got list"):
        va.load([result.folder])  # type: ignore[arg-type]
    with pytest.raises(va.ConfigError, match=r"^device = 'gpu': allowed: auto, cpu, cuda"):
        va.load(result.folder, device="gpu")


@pytest.mark.parametrize("name", ["cpu", torch.device("cpu"), "auto"])
def test_devices(name: str | torch.device) -> None:
    expected = "cuda" if name == "auto" and torch.cuda.is_available() else "cpu"
    assert choose_device(name).type == expected


def test_gpus_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == choose_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    assert choose_device("cuda") == torch.device("cuda", 0)
    with pytest.raises(va.ConfigError, match=r"^device = 'cuda:2': this machine has 2 GPUs, numbered from 0"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:0"):
        with pytest.raises(va.ConfigError, match=f"^device = '{name}': this machine offers no CUDA device"):
            choose_device(name)


@pytest.mark.parametrize("name", ["cpu:0", "cuda:", "cuda:x", "cuda:-1", "mps", 0, None])
def test_devices_that_are_none(name: Any) -> None:
    with pytest.raises(va.ConfigError, match=f"^device = '{name}': allowed: auto, cpu, cuda, or one GPU by its number"):
        choose_device(name)


def test_frames_of_an_opened_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", num_frames=20)
    with va.open_video(str(path)) as video, va.open_video(path, decoder={"name": "pyav", "threads": 2}) as other:
        assert len(video) == 20 and video.fps_hz == 25 and np.array_equal(video[3:9], other[3:9])
        assert torch.equal(va.read_clip(path, 4, 2)[:, 0], torch.from_numpy(video[6]).permute(2, 0, 1))


def test_a_model_for_a_loop_of_ones_own(file: Path) -> None:
    torch.manual_seed(3)
    model = va.create_model(
        "vit", **SIZES, adapter="adaptformer", bottleneck=4, num_classes=5, num_frames=4, crop_px=32
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert model.training
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all(".adapter." in name or name.startswith(("fc_norm", "head")) for name in trained)
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=1.0)
    clips_BCTHW = torch.stack([va.read_clip(file, 4, stride, crop_px=32) for stride in (1, 2, 3)])
    logits_BK = model(va.normalise(clips_BCTHW))
    assert logits_BK.shape == (3, 5)
    F.cross_entropy(logits_BK, torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and changed <= {*trained, *(name for name, _ in model.named_buffers())}


def test_a_created_model_is_the_one_of_a_config(result: va.RunResult) -> None:
    config, class_names, of_run = open_run(result.folder, torch.device("cpu"))
    torch.manual_seed(config.seed)
    adapter = {"name": "adaptformer", "bottleneck": 4, "dropout": 0.1}
    model = va.create_model("vit", **SIZES, adapter=adapter, num_classes=len(class_names), num_frames=4, crop_px=32)
    frozen = {name: p for name, p in of_run.named_parameters() if not p.requires_grad}
    assert frozen.keys() == {name for name, p in model.named_parameters() if not p.requires_grad}
    assert all(torch.equal(model.get_parameter(name), tensor) for name, tensor in frozen.items())
    model.load_state_dict(of_run.state_dict())  # and no tensor more or less


def test_weights_of_a_created_model(tmp_path: Path) -> None:
    clip = {"num_frames": 8, "crop_px": 64, "num_classes": 3}
    package = "package:masked_trunk.safetensors"
    models = [
        va.create_model("vit", size="tiny", tubelet_frames=8, adapter=adapter, weights=weights, **clip)
        for adapter, weights in (("lora", package), (["adaptformer", "lora"], weights_path(package)), ("lora", None))
    ]
    kernels = [model.backbone.patch_embed.weight for model in models]
    assert torch.equal(kernels[0], kernels[1]) and not torch.equal(kernels[0], kernels[2])
    with pytest.raises(va.CheckpointError, match=f"^weights = '{tmp_path}/none.pth': no such file or folder"):
        va.create_model("vit", size="tiny", weights=tmp_path / "none.pth", **clip)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"num_classes": 0}, va.ConfigError, "^num_classes = 0: allowed: 1 or more"),
        ({"num_classes": "5"}, TypeError, "^num_classes = '5': expected a whole number"),
        ({"num_frames": 3}, va.ConfigError, "^ViT: num_frames = 3: a clip needs a multiple of"),
        ({"crop_px": 100}, va.ConfigError, "^ViT: crop_px = 100: "),
        ({"patch_px": 0}, va.ConfigError, "^ViT: patch_px = 0: input should be greater than or equal to 1"),
        (
            {"adapter": ["vpt", {"name": "lora", "rank": "8"}]},
            va.ConfigError,
            "^LoRA: rank = '8': input should be a valid int",
        ),
        ({"adapter": "adaptformer", "blocks": [7]}, va.ConfigError, r"^AdaptFormer: blocks = \[7\]: allowed"),
        ({"botleneck": 4}, va.ConfigError, "^botleneck: .*did you mean 'bottleneck'"),
        ({"adapter": "lroa"}, va.ConfigError, "^adapter = 'lroa': did you mean 'lora'"),
        ({"bottleneck": 0}, va.ConfigError, r"^AdaptFormer: bottleneck = 0: .* greater than or equal to 1"),
        ({"bottleneck": "four"}, va.ConfigError, r"^AdaptFormer: bottleneck = 'four': "),
        ({"drop_path": 2.0}, va.ConfigError, r"^ViT: drop_path = 2.0: .* less than 1"),
        ({"width": 33}, va.ConfigError, r"^ViT: num_heads = 2: needs to divide width = 33"),
        ({"inflate": "mean"}, va.ConfigError, "^inflate = 'mean': "),
    ],
)
def test_models_that_cannot_be(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        va.create_model("vit", **{"num_classes": 5, "num_frames": 4, "crop_px": 32, **SIZES, **arguments})


def test_normalised_clips() -> None:
    clips_BCTHW = torch.randint(256, (2, 3, 4, 8, 8), dtype=torch.uint8)
    normalised = va.normalise(clips_BCTHW)
    assert normalised.dtype == torch.float32 and torch.equal(va.normalise(clips_BCTHW[1]), normalised[1])
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(normalised[0], (clips_BCTHW[0] / 255 - mean) / std)


@pytest.mark.parametrize(
    ("clips", "error", "said"),
    [
        (torch.rand(2, 3, 4, 8, 8), va.ConfigError, r"clips: torch.float32 of shape \(2, 3, 4, 8, 8\); expected uint8"),
        (
            torch.zeros(4, 8, 8, 3, dtype=torch.uint8),
            va.ConfigError,
            r"shape \(4, 8, 8, 3\); expected .*\(3, T, H, W\)",
        ),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), va.ConfigError, "clips: "),
        (np.zeros((3, 4, 8, 8), np.uint8), TypeError, "clips: expected a tensor, got ndarray"),
    ],
)
def test_clips_that_are_none(clips: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        va.normalise(clips)


def test_names_of_components() -> None:
    assert {"adaptformer", "lora", "linear"} <= set(va.adapters())
    assert {"vit", "timm", "pytorchvideo"} <= set(va.backbones())
    assert {"decord", "pyav", "torchcodec"} <= set(va.decoders())
    assert {"dense", "segment"} <= set(va.samplers())
    assert {"tensorboard", "wandb", "mlflow"} <= set(va.loggers())
    assert {"video_list", "synthetic", "webdataset"} <= set(va.datasets())
    assert {"cross_entropy", "bce", "focal", "asymmetric"} <= set(va.losses())


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> type:
    """An adapter that is registered from outside of the package, for the time of a test."""
    monkeypatch.setattr(ADAPTERS._known, "_obj_map", dict(ADAPTERS._known._obj_map))

    @va.register_adapter("gate")
    class Gate(Adapter):
        def __init__(self, *, first: Annotated[int, Ge(0)] = 0):
            self.first = first

        def attach(self, backbone: Any) -> None:
            for block in backbone.blocks[self.first :]:
                block.mlp = Parallel(block.mlp, Scale(backbone.width))

    return Gate


class Scale(AdapterModule):
    def __init__(self, width: int):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(width))

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        return self.scale * x_BND


def test_an_adapter_of_ones_own(gate: type, result: va.RunResult, tmp_path: Path) -> None:
    assert "gate" in va.adapters()
    model = va.create_model("vit", **SIZES, adapter="gate", first=1, num_classes=5, num_frames=4, crop_px=32)
    assert [name for name, p in model.backbone.named_parameters() if p.requires_grad] == ["blocks.1.mlp.adapter.scale"]
    changes = {"output": tmp_path / "run", "model.adapter": {"name": "gate", "first": 1}}
    other = va.run(va.load_config(result.folder / "config.yaml", changes))
    assert other.top1 is not None and va.load(other.folder).config.model.adapter == {"name": "gate", "first": 1}
    with pytest.raises(va.ConfigError, match=r"model.adapter.first = -1: .* greater than or equal to 0"):
        va.load_config(result.folder / "config.yaml", {"model.adapter": {"name": "gate", "first": -1}})


def test_a_data_set_of_your_own_is_told_what_it_lacks(tmp_path: Path) -> None:
    @va.register_dataset("mine")
    class Mine:
        def load(self, source: str, root: Path) -> Any:
            rows = [(f"{source}{label}.mp4", label, label + 1) for label in (0, 1)]
            return rows if source == "bare" else VideoRows(root, rows)

    for name in ("train0", "train1", "test0", "test1"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    data = {"dataset": {"name": "mine"}, "root": str(tmp_path), "train": "train", "test": "test", "classes": 2}
    splits = load_splits(check_config({"output": "x", "data": data}))
    assert [video.id for video in splits.test] == ["test0.mp4", "test1.mp4"] and splits.class_names == ["0", "1"]
    for changed, said in (
        (
            {"train": "bare"},
            r"^data.train = bare: `load` of data.dataset 'mine' returned a list; needed: .*VideoRows\(root, rows\)",
        ),
        ({"classes": None}, "^data.classes: is not set; name a file"),
    ):
        with pytest.raises(va.DataListError, match=said):
            load_splits(check_config({"output": "x", "data": data | changed}))


def test_components_register_under_a_free_name() -> None:
    doors = (
        va.register_adapter,
        va.register_backbone,
        va.register_dataset,
        va.register_decoder,
        va.register_sampler,
        va.register_logger,
    )
    for door, taken in zip(doors, ("lora", "vit", "synthetic", "pyav", "dense", "wandb"), strict=True):
        with pytest.raises(
            va.ConfigError, match=f"cannot be registered as '{taken}', which is one of videoadapt's own"
        ):
            door(taken)(type("Mine", (), {}))


def test_overrides_from_python(tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", tmp_path / "clips"))
    values = {"data.root": tmp_path / "other", "model.adapter": {"name": "lora", "rank": 2}, "train": {"epochs": 3}}
    config = va.load_config(path, values)
    assert (config.data.root, config.train.epochs, config.train.batch_size) == (tmp_path / "other", 3, 8)
    assert config.model.adapter["name"] == "lora" and config.model.adapter["rank"] == 2
    texts = [f"data.root={tmp_path / 'other'}", "model.adapter", "{name: lora, rank: 2}", "train.epochs", "3"]
    assert va.load_config(str(path), texts) == config
    with pytest.raises(va.ConfigError, match=r"train.epoch: unknown key; did you mean 'epochs'"):
        va.load_config(path, {"train.epoch": 3})
    with pytest.raises(TypeError, match=r"^overrides = 'train.epochs=3': expected a list of strings, or a mapping"):
        va.load_config(path, "train.epochs=3")
