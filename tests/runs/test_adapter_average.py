"""The mean of adapter files is one more adapter file, of the numbers that it should have, and of nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import videoadapt as va
from tests.weight_files import SIZES, trunk
from videoadapt.config.loading import check_config
from videoadapt.models.parameters import trainable_state
from videoadapt.runs.adapter_file import read_adapter, save_adapter
from videoadapt.runs.build import build_seeded_model
from videoadapt.runs.rates import Rates
from videoadapt.weights.files import safetensors_bytes

NAMES = ["run", "jump", "swim"]


def left(
    path: Path, weights: Path, seed: int, names: list[str] = NAMES, bottleneck: int = 4, num_frames: int = 4
) -> Path:
    """An adapter file of random numbers."""
    adapter = {"name": "adaptformer", "bottleneck": bottleneck}
    model = {"backbone": SIZES, "adapter": adapter, "weights": str(weights)}
    data = {"num_frames": num_frames, "crop_px": 32}
    config = check_config({"output": path.parent, "seed": seed, "model": model, "data": data})
    built = build_seeded_model(config, names)
    with torch.no_grad():
        for tensor in trainable_state(built).values():
            tensor.add_(torch.rand_like(tensor) if tensor.is_floating_point() else seed)
    save_adapter(built, config, names, path, Rates({25.0: seed}))
    return path


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    return trunk(tmp_path / "backbone.safetensors")


@pytest.fixture
def files(tmp_path: Path, backbone: Path) -> list[Path]:
    return [left(tmp_path / f"{seed}.safetensors", backbone, seed) for seed in (1, 2, 3)]


def state(path: Path) -> dict[str, Tensor]:
    return read_adapter(path).tensors


def test_a_mean_and_a_point_between(files: list[Path], tmp_path: Path, backbone: Path) -> None:
    out = va.average_adapters(files, tmp_path / "mean.safetensors")
    one, two, three = map(state, files)
    for name, tensor in state(out).items():
        if tensor.is_floating_point():
            expected = (one[name].double() + two[name] + three[name]) / 3
            assert tensor.dtype == one[name].dtype
            # rounded to float32 once, at the end: by 2^-24 of it at most
            torch.testing.assert_close(tensor.double(), expected, rtol=2.0**-24 * 1.001, atol=1e-15)
        else:
            assert tensor.equal(one[name])
    between = state(va.average_adapters(files[:2], tmp_path / "b.safetensors", [0.75, 0.25]))["head.linear.weight"]
    expected = torch.lerp(one["head.linear.weight"], two["head.linear.weight"], 0.25)
    torch.testing.assert_close(between, expected, rtol=1e-6, atol=1e-7)
    assert read_adapter(out).config.seed == 1  # the first file's: it draws a backbone without weights
    assert read_adapter(out).rates.as_dict() == Rates({25.0: 6}).as_dict()
    assert va.load(out, weights=backbone, device="cpu").class_names == NAMES


def test_an_end_is_the_file_itself(files: list[Path], tmp_path: Path) -> None:
    for again in (
        va.average_adapters([files[0], files[0]], tmp_path / "a.safetensors", [0.5, 0.5]),
        va.average_adapters(files[:2], tmp_path / "b.safetensors", [1, 0]),
    ):
        assert all(tensor.equal(state(again)[name]) for name, tensor in state(files[0]).items())


def test_weights_that_are_none(files: list[Path], tmp_path: Path) -> None:
    for chosen, weights, said in (
        (files[:1], None, "files: 1 named; averaging takes two or more"),
        (files, [0.5, 0.5], r"weights = \[0.5, 0.5\]: give one for each of the 3 files"),
        (files[:2], [0.5, 0.6], r"need to sum to 1, and sum to 1.1"),
        (files[:2], [float("nan"), 1.0], "need to sum to 1"),
        (files, [0.333, 0.333, 0.333], r"need to sum to 1, and sum to 0.999"),
    ):
        with pytest.raises(va.ConfigError, match=said):
            va.average_adapters(chosen, tmp_path / "out.safetensors", weights)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_point_beyond_two_files_has_no_negative_variance(files: list[Path], tmp_path: Path, backbone: Path) -> None:
    name = "head.norm.running_var"
    low, high = sorted(files, key=lambda path: float(state(path)[name].min()))[::2]
    beyond = state(va.average_adapters([low, high], tmp_path / "beyond.safetensors", [1.25, -0.25]))
    assert beyond[name].equal((1.25 * state(low)[name].double() - 0.25 * state(high)[name].double()).float())
    with pytest.raises(va.ConfigError, match=rf"^weights = \[20.0, -19.0\]: lie so far beyond .*{name}") as error:
        va.average_adapters(files[:2], tmp_path / "out.safetensors", [20, -19])
    assert "\n" not in str(error.value) and not (tmp_path / "out.safetensors").exists()


def test_every_file_is_looked_at(files: list[Path], tmp_path: Path, backbone: Path) -> None:
    other = left(tmp_path / "other.safetensors", backbone, 2, bottleneck=8)
    fewer = tmp_path / "fewer.safetensors"
    with safe_open(files[1], framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del tensors["head.norm.running_mean"]
    fewer.write_bytes(safetensors_bytes(tensors, metadata))
    for last, said in ((other, "bottleneck = 8, but 4"), (fewer, "other tensors, as an older version wrote them")):
        for order in ([*files[:2], last], [last, *files[:2]]):
            with pytest.raises(va.CheckpointError, match=said.replace("8, but 4", "[48], but [84]")):
                va.average_adapters(order, tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda path, weights: left(path, weights, 2, bottleneck=8), "model.adapter.bottleneck = 8, but 4"),
        (lambda path, weights: left(path, weights, 2, num_frames=8), "data.num_frames = 8, but 4"),
        (lambda path, weights: left(path, weights, 2, names=NAMES[::-1]), "class 0 is 'swim' in the file and 'run' in"),
        (lambda path, weights: left(path, weights, 2, names=NAMES[:2]), "trained for 2 classes, and the first file has 3"),
        (lambda path, weights: left(path, trunk(weights.with_name("o.safetensors"), seed=5), 2), "backbone [0-9a-f]{64}, but"),
    ],
)  # fmt: skip
def test_files_that_are_no_pair(
    files: list[Path], backbone: Path, tmp_path: Path, other: Callable[[Path, Path], Path], said: str
) -> None:
    path = other(tmp_path / "other.safetensors", backbone)
    with pytest.raises(va.CheckpointError, match=rf"^{path}: .*{said}.* in {files[0]}; only adapters") as error:
        va.average_adapters([files[0], path], tmp_path / "out.safetensors")
    assert "\n" not in str(error.value)
