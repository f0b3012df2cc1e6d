"""An adapter is a small file that, with its own trunk and no other, predicts what the run predicted."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.toy_runs import toy_config, write_config
from tests.weight_files import trunk
from videoadapt.cli import demo, train
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config, ModelConfig
from videoadapt.errors import CheckpointError
from videoadapt.inference.adapter_bank import AdapterBank
from videoadapt.models.loading import save_backbone
from videoadapt.runs.adapter_file import open_adapter, read_adapter, save_adapter
from videoadapt.runs.build import build_model, build_seeded_model, open_run
from videoadapt.runs.statement import backbone_fingerprint

FORMS = [
    {"name": "adaptformer", "bottleneck": 4, "scale": "learnable", "form": "sequential", "blocks": [1]},
    {"name": "linear"},
    {"name": "full"},
]


@pytest.fixture(scope="module", params=FORMS, ids=lambda adapter: adapter["name"])
def finished(
    request: pytest.FixtureRequest, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """(run folder, trunk) of a short run with validation and a moving average."""
    folder = tmp_path_factory.mktemp("adapter")
    weights = trunk(folder / "trunk.safetensors")
    config = toy_config(
        folder / "out",
        clips,
        model={"adapter": request.param, "weights": str(weights)},
        train={"epochs": 2, "ema": 0.5},
        data={"val": {"holdout": 0.2}},
        test={"enable": False},
    )
    assert train.main(["--cfg", str(write_config(folder / "c.yaml", config))]) == 0
    return folder / "out", weights


def predictions(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert demo.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]


def test_the_file_and_its_trunk_predict_what_the_run_does(
    finished: tuple[Path, Path], clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = finished
    video = str(next(clips.glob("train/*/*.mp4")))
    of_run = predictions(capsys, video, "--run", str(run))
    adapter = str(run / "adapter.safetensors")
    assert predictions(capsys, video, "--adapter", adapter, "--weights", str(weights)) == of_run


def test_what_the_training_brings_is_not_called_new(
    finished: tuple[Path, Path], tmp_path: Path, log_lines: list[str]
) -> None:
    """The trunk has neither norm nor head: to a first training these are new, what asks a run takes them from its files."""
    run, weights = finished
    new, brought = (
        "tensors loaded; newly initialised: fc_norm, head",
        "tensors loaded; from the training: fc_norm, head",
    )
    adapter = str(run / "adapter.safetensors")
    open_run(run, torch.device("cpu"))
    open_adapter(adapter, weights)
    AdapterBank.from_files([adapter], weights)
    assert [line.endswith(brought) for line in log_lines if line.startswith(f"INFO {weights}: ")] == [True] * 3
    build_seeded_model(load_config(run / "config.yaml"), 8)
    assert log_lines[-1].endswith(new)

    again = Path(shutil.copytree(run, tmp_path / "out"))
    (again / "run.log").unlink()
    for enabled in ("true", "false"):  # resumed, and only tested
        call = ["--cfg", str(run / "config.yaml"), f"output={again}", f"train.enable={enabled}", "test.enable=true"]
        assert train.main(call) == 0
    assert [(again / "run.log").read_text().count(line) for line in (new, brought)] == [0, 2]


def test_another_trunk_is_refused_with_both_fingerprints(
    finished: tuple[Path, Path], clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, weights = finished
    adapter = read_adapter(run / "adapter.safetensors")
    video = str(next(clips.glob("train/*/*.mp4")))
    tensors = load_file(weights)
    tensors["backbone.blocks.0.mlp.norm.bias"][3] += 1e-3  # the smallest change of one frozen value
    save_file(tensors, tmp_path / "other.safetensors", {"format": "videoadapt"})
    arguments = [video, "--adapter", str(run / "adapter.safetensors"), "--weights"]
    if adapter.config.model.adapter["name"] == "full":  # everything is in the file, whatever the trunk
        of_run = predictions(capsys, video, "--run", str(run))
        assert predictions(capsys, *arguments, str(tmp_path / "other.safetensors")) == of_run
        return
    capsys.readouterr()
    assert demo.main([*arguments, str(tmp_path / "other.safetensors")]) == 2
    message = capsys.readouterr().err
    assert adapter.backbone in message and len(message.splitlines()) == 1
    other = build_model(
        adapter.config.model.model_copy(update={"weights": str(tmp_path / "other.safetensors")}), 8, 4, 32
    )
    assert backbone_fingerprint(other) in message
    assert demo.main([*arguments, str(trunk(tmp_path / "wide.safetensors", width=48))]) == 2
    assert "width = 48 in the file, 32 in the model" in capsys.readouterr().err


def test_the_metadata_say_how_to_use_it_and_nothing_private(finished: tuple[Path, Path]) -> None:
    run, _ = finished
    with safe_open(run / "adapter.safetensors", "pt") as file:
        metadata = file.metadata()
    ours = load_config(run / "config.yaml")
    adapter = read_adapter(run / "adapter.safetensors")
    assert adapter.class_names == (run / "classes.txt").read_text().splitlines()
    assert adapter.config.model.adapter == ours.model.adapter
    assert adapter.config.data.sampling == ours.data.sampling and adapter.config.test.average == ours.test.average
    assert str(run.parent) not in json.dumps(metadata)


def test_the_fingerprint_ignores_the_adapter_and_the_format(tmp_path: Path) -> None:
    data = Path(__file__).parents[1] / "golden"
    backbone = {"name": "vit", "size": "tiny", "width": 48, "depth": 3, "num_heads": 3}
    found = set()
    for adapter in ({"name": "linear"}, {"name": "adaptformer"}, {"name": "adaptformer", "form": "sequential"}):
        for weights in ("videomae_pretrain.pth", "ours.safetensors"):
            path = (tmp_path if weights == "ours.safetensors" else data) / weights
            model = build_model(ModelConfig(backbone=backbone, adapter=adapter, weights=str(path)), 5, 4, 32)
            found.add(backbone_fingerprint(model))
            if weights.endswith(".pth") and adapter["name"] == "linear":
                save_backbone(model.backbone, tmp_path / "ours.safetensors", {})
    assert len(found) == 1


def test_size_for_vit_b(tmp_path: Path) -> None:
    config = Config(output=tmp_path, model=ModelConfig(backbone={"name": "vit"}, adapter={"name": "adaptformer"}))
    names = [f"class {number}" for number in range(51)]
    model = build_model(config.model, len(names), 8, 224)
    save_adapter(model, config, names, tmp_path / "adapter.safetensors")
    assert 4.9e6 < (tmp_path / "adapter.safetensors").stat().st_size < 5.5e6
    assert sum(p.numel() for p in model.parameters()) * 4 > 345e6


def test_other_files_are_refused(finished: tuple[Path, Path], tmp_path: Path) -> None:
    run, weights = finished
    whole = (run / "adapter.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-100])
    (tmp_path / "empty").write_bytes(b"")
    torch.save({"a": torch.zeros(1)}, tmp_path / "torch")
    for name in ("cut", "empty", "torch"):
        with pytest.raises(CheckpointError, match=f"{name}: cannot be read as an adapter file"):
            read_adapter(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"not an adapter file .*are given as `weights`"):
        read_adapter(weights)
    with pytest.raises(CheckpointError, match="there is no such adapter file"):
        read_adapter(tmp_path / "none")
    with safe_open(run / "adapter.safetensors", "pt") as file:
        metadata = file.metadata()
    tensors = load_file(run / "adapter.safetensors")
    save_file(tensors, tmp_path / "later", metadata | {"config": json.dumps({"model": {"novelty": 1}})})
    with pytest.raises(CheckpointError, match=r"(?s)written by videoadapt .*novelty"):
        read_adapter(tmp_path / "later")


def foreign(folder: Path, **changes: object) -> Path:
    """An adapter file from elsewhere: the metadata of a small one with other values, text as it is."""
    config = Config(
        output=folder,
        model=ModelConfig(backbone={"name": "vit", "size": "tiny", "width": 32, "depth": 2, "num_heads": 2}),
    )
    path = folder / "adapter.safetensors"
    save_adapter(build_model(config.model, 3, 8, 224), config, ["a", "b", "c"], path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    kept = json.loads(metadata["config"])
    for key, value in changes.items():
        if key in metadata:
            metadata[key] = value if isinstance(value, str) else json.dumps(value)
            continue
        section, name = key.split("__")
        kept.setdefault(section, {})[name] = value
        metadata["config"] = json.dumps(kept)
    save_file(load_file(path), path, {name: text for name, text in metadata.items() if text != "gone"})
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__adapter": {"name": "adaptformer", "colour": 1}}, "model.adapter.colour: unknown key"),
        (
            {"model__adapter": {"bottleneck": 0}},
            "model.adapter.bottleneck = 0: input should be greater than or equal to 1",
        ),
        ({"model__adapter": [1]}, "model.adapter = 1: expected a mapping with a `name`"),
        ({"model__backbone": {"name": "vit2"}}, "vit2"),
        (
            {"model__backbone": {"name": "vit", "width": 10**9}},
            "width = 1000000000: input should be less than or equal to 16384",
        ),
        (
            {"model__backbone": {"name": "vit", "depth": 10**7}},
            "depth = 10000000: input should be less than or equal to 200",
        ),
        (
            {"model__backbone": {"name": "vit", "width": 16380, "depth": 100, "num_heads": 1}},
            "more memory than this machine has",
        ),
        ({"model__backbone": {"name": "vit", "width": 33, "num_heads": 2}}, "33"),
        (
            {"data__decoder": {"name": "pyav", "threads": 10**6}},
            "threads = 1000000: input should be less than or equal to 64",
        ),
        ({"data__sampling": {"name": "dense", "stride": 1}}, "data.sampling.stride: unknown key"),
        ({"data__num_frames": 10**9}, "data.num_frames = 1000000000: input should be less than or equal to 10000"),
        ({"data__crop_px": "x"}, "data.crop_px = 'x': input should be a valid integer"),
        ({"test__clips": 10**6}, "test.clips = 1000000: input should be less than or equal to 1000"),
        ({"test__crops": 10**6}, "test.crops = 1000000: input should be less than or equal to 100"),
        ({"config": []}, "config is a list, not a dict"),
        ({"config": "[" * 100_000}, "config is no JSON"),
        ({"config": "9" * 5000}, "config is no JSON"),
        ({"config": {"model": 5}}, "model = 5: input should be a valid dictionary"),
        ({"config": "gone"}, "it has no 'config'"),
        ({"trunk": "gone"}, "it has no 'trunk'"),
        ({"class_names": {}}, "class_names is a dict, not a list"),
        ({"class_names": [1, 2, 3]}, "class_names are not two texts or more"),
        ({"class_names": []}, "class_names are not two texts or more"),
        ({"normalisation": "nothing"}, "normalisation is no JSON"),
    ],
)
def test_a_file_from_elsewhere_is_checked_before_it_is_built(
    changes: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = foreign(tmp_path, **changes)
    assert demo.main(["x.mp4", "--adapter", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ") and said in line
