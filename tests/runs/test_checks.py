"""What can be known wrong is said before the first step, all at once, by a run, a submission and a sweep alike."""

import getpass
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toy_runs import REPOSITORY, toy_config, write_config
from videoadapt.cli.submit import main as submit
from videoadapt.cli.train import main as train
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.processes.lock import only_process_in
from videoadapt.runs import machine
from videoadapt.runs.build import build_on_meta
from videoadapt.runs.inputs import find_problems, load_inputs
from videoadapt.runs.machine import output_problems
from videoadapt.sweeps.checks import check_cells
from videoadapt.sweeps.plan import Sweep
from videoadapt.video.samplers import Sampler
from videoadapt.video.samplers.segment import Segment
from videoadapt.weights.files import weights_path

ROOT = os.geteuid() == 0  # may write everywhere, so that only trying shows what the kernel refuses
TWO_MISTAKES = ["data.sampling.name=segment", "test.clips=4", "data.augment.rand_augment=foo"]
TWO_LINES = [
    "data.augment.rand_augment: 'foo' is no RandAugment; write it as in 'rand-m7-n4-mstd0.5-inc1'",
    "test.clips = 4: data.sampling segment takes 1 or 2 from a video; choose that, or another data.sampling.name",
]

SHIPPED = weights_path("package:masked_trunk.safetensors")


@pytest.fixture
def path(clips: Path, tmp_path: Path) -> Path:
    return write_config(tmp_path / "c.yaml", toy_config(tmp_path / "out", clips))


def problems(path: Path, *overrides: str, ranks: int = 1, here: bool = True) -> list[str]:
    return find_problems(load_config(path, overrides), ranks, here=here)[1]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.sampling.name=segment", "test.clips=4"], TWO_LINES[1]),
        (["data.augment.rand_augment=foo"], TWO_LINES[0]),
        (["data.augment.rand_augment= "], "data.augment.rand_augment: ' ' is no RandAugment"),
        (
            ["optim.warmup_epochs=2.5"],
            "optim.warmup_epochs = 2.5: is longer than the training (train.epochs = 2), so the learning rate would never reach "
            "its peak; allowed: 0 to 2",
        ),
        (["optim.min_lr_per_256=0.06"], "optim.min_lr_per_256 = 0.06: is above optim.lr_per_256 = 0.05"),
        (["optim.warmup_lr_per_256=1"], "optim.warmup_lr_per_256 = 1: is above optim.lr_per_256 = 0.05"),
        (["optim.options={rho: 0.8}"], "optim.options.rho: adamw takes no such option; allowed: amsgrad, eps, foreach, fused"),
        (["optim.options.betas=[0.9, 0.95]"], "optim.options.betas: has a key of its own; set optim.betas"),
        (["optim.options.maximize=true"], "optim.options.maximize: adamw takes no such option; allowed: amsgrad, eps, foreach"),
        (["optim.options.foreach=1"], "optim.options.foreach = 1: expected true or false"),
        (["optim.options.eps=true"], "optim.options.eps = True: expected a number"),
        (["optim.options.amsgrad=1"], "optim.options.amsgrad = 1: expected true or false"),
        (
            ["optim.name=sgd", "optim.warmup_epochs=1", "optim.options.momentum=0.8"],
            "optim.options.momentum: has a key of its own; set optim.momentum",
        ),
        (["optim.options.eps=-1"], "optim.options = {'eps': -1}: adamw refuses it: Invalid epsilon value: -1"),
        (
            ["optim={name: sgd, warmup_epochs: 1, momentum: 0, options: {nesterov: true}}"],
            "optim.options = {'nesterov': True}: sgd refuses it: Nesterov momentum requires a momentum and zero dampening",
        ),
        (["train.stop_early={patience_epochs: 1}"], "train.stop_early: goes by a validation, and data.val is null; set"),
        (
            ["train.stop_early={patience_epochs: 2}", "data.val=test"],
            "train.stop_early.patience_epochs = 2: is as long as the training (train.epochs = 2), which it could not end",
        ),
        (
            ["optim.schedule=one_cycle"],
            "optim.warmup_epochs = 1: optim.schedule one_cycle has a warm-up of its own (rise: 0.3, a share of the training); "
            "set it to 0",
        ),
        (
            ["optim.schedule=constant", "optim.min_lr_per_256=0.01"],
            "optim.min_lr_per_256 = 0.01: optim.schedule constant never falls; set it to 0",
        ),
        (
            ["optim.schedule={name: step, milestones_epochs: [1, 2]}"],
            "optim.schedule.milestones_epochs = [1.0, 2.0]: 2 is not between the end of the warm-up (optim.warmup_epochs = 1) "
            "and that of the training (train.epochs = 2)",
        ),
        (["train.batch_size=9", "train.accumulate=2"], "train.batch_size = 9: not divisible by 1 rank x train.accumulate 2"),
        (["train.batch_size=49"], "train.batch_size = 49: data.train has only 48 videos, so there is no full batch"),
        (
            ["data.val={holdout: 0.5}", "train.batch_size=48"],
            "train.batch_size = 48: data.train has only 24 videos after data.val.holdout, so there is no full batch",
        ),
        (["train.batch_size=1"], "train.batch_size = 1: leaves one clip for a forward pass, and BatchNorm in the head needs"),
        (
            ["train.batch_size=1", "model.head.batch_norm=false", "data.augment.mixup=0.8"],
            "train.batch_size = 1: leaves one clip for a forward pass, which data.augment.mixup would mix with itself",
        ),
        (["train.enable=false", "test.enable=false"], "train.enable and test.enable are both false: leaves nothing to do"),
        (["train.enable=false"], "holds no checkpoint to test, and model.weights = None has no head for 8 classes"),
        (["model.weights=none.pth"], "model.weights = none.pth: there is no such file"),
        (["model.weights=package:masked_trunk.safetensors"], f"model.weights = {SHIPPED} (videoadapt): does not fit the model"),
        (["data.crop_px=60"], "data.crop_px = 60: height and width need to be a multiple of"),
        (["train.shard=true", "train.precision=fp16"], "train.shard = true: does not go with train.precision = fp16"),
        (
            ["model.backbone={name: timm, model: resnet18}", "model.adapter.name=full", "train.shard=true"],
            "train.shard = true: needs the blocks of backbone vit; model.backbone.name = 'timm' has none",
        ),
        (
            ["model.backbone={name: timm, model: resnet18}", "model.adapter.name=full", "train.activation_checkpointing=true"],
            "train.activation_checkpointing = true: needs the blocks of backbone vit, or of a transformer of timm that takes "
            "adapters; model.backbone.name = 'timm' has none",
        ),
        (
            ["model.backbone={name: timm, model: resnet18}", "model.adapter.name=full", "optim.layer_decay=0.5"],
            "optim.layer_decay = 0.5: needs a backbone that is a plain chain of blocks, which model.backbone.name = timm is",
        ),
        (["data.val={holdout: 0.5, group: (}"], "data.val.group = '(': is no regular expression"),
        (["data.val={holdout: 0.5, group: none}"], "data.val.group = 'none': finds nothing in"),
        (["data.cache=/etc/passwd/x"], "data.cache = /etc/passwd/x: /etc/passwd is a file; choose another folder"),
        (["data.root=/etc/passwd"], "data.root = /etc/passwd: "),
        (["data.rendered={motions: trunk, clips_per_epoch: 8}", "data.train=null", "data.num_frames=26"],
         "data.num_frames = 26: a rendered video is 24 frames long"),
        (["data.rendered={motions: trunk, clips_per_epoch: 8}", "data.train=null", "data.jpeg_quality=95"],
         "data.jpeg_quality = 95: clips of data.rendered are seen as they are, not through JPEG; set it to null"),
        (["data.rendered={motions: trunk, clips_per_epoch: 8}", "data.train=null", "data.jpeg_decoding=device"],
         "data.jpeg_decoding = device: clips of data.rendered are seen as they are, not through JPEG; set it to processor"),
        (["data.rendered={motions: trunk, clips_per_epoch: 8}", "data.train=null", "data.short_side_px=64"],
         "data.short_side_px = 64: clips of data.rendered are never made smaller; set it to null"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_key(overrides: list[str], line: str, path: Path) -> None:
    found = problems(path, *overrides)
    assert len(found) == 1 and line in found[0], found
    assert not (path.parent / "out").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["optim.warmup_epochs=2"],
        ["optim.schedule=one_cycle", "optim.warmup_epochs=0", "optim.min_lr_per_256=0.01"],
        ["optim.schedule={name: step, milestones_epochs: [1, 1.5]}"],
        ["optim.name=rmsprop", "optim.warmup_epochs=1", "optim.options={momentum: 0.9, centered: true, alpha: 0.9}"],
        ["optim.name=nadam", "optim.warmup_epochs=1", "optim.options.decoupled_weight_decay=true"],
        ["train.stop_early={patience_epochs: 1, metric: loss}", "data.val=test"],
        ["optim.min_lr_per_256=0.05", "optim.warmup_lr_per_256=0.05"],
        ["data.sampling.name=segment", "data.val=test", "test.clips=2"],
        ["data.sampling.name=segment", "test.clips=4", "test.enable=false"],
        ["train.enable=false", "test.enable=false", "train.enable=true"],
        ["train.batch_size=2", "data.augment.mixup=0.8"],
        ["train.batch_size=1", "data.augment.repeated=2"],
    ],
)
def test_what_is_just_right_passes(overrides: list[str], path: Path) -> None:
    assert problems(path, *overrides) == []


def test_each_rank_needs_two_clips_unless_they_share_statistics(path: Path) -> None:
    assert "leaves one clip" in problems(path, ranks=8)[0] and problems(path, ranks=4) == []
    assert problems(path, "model.head.sync=true", ranks=8) == []
    assert problems(path, ranks=3) == ["train.batch_size = 8: not divisible by 3 ranks x train.accumulate 1"]


def test_all_problems_come_in_one_error(path: Path) -> None:
    wrong = [*TWO_MISTAKES, "optim.warmup_epochs=3", "train.batch_size=49", "data.crop_px=33", "model.weights=none.pth"]
    with pytest.raises(ConfigError) as caught:
        load_inputs(load_config(path, wrong))
    keys = [line.partition(" ")[0].rstrip(":") for line in caught.value.problems]
    assert keys == [
        "data.augment.rand_augment", "test.clips", "optim.warmup_epochs", "model.weights", "data.crop_px", "train.batch_size",
    ]  # fmt: skip


def test_a_run_a_submission_and_a_sweep_say_the_same(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["--cfg", str(path), *TWO_MISTAKES]) == 2
    assert submit(["--cfg", str(path), *TWO_MISTAKES, "--dry-run"]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("error: ") for line in shown] == 2 * TWO_LINES
    set_for_all = "{data.sampling.name: segment, test.clips: 4}"
    sweep = path.with_name("s.yaml")
    sweep.write_text(
        f"base: {path}\noutput: {path.parent / 'sweep'}\nset: {set_for_all}\nseeds: [0, 1]\n"
        "axes:\n  augment:\n    wrong: {data.augment.rand_augment: foo}\n    right: {data.augment.flip: 0.5}\n"
    )
    with pytest.raises(ConfigError) as caught:
        check_cells(Sweep(sweep))
    assert sorted(caught.value.problems) == [
        f"augment wrong, seed 0 and 1 more cell: {TWO_LINES[0]}",
        f"augment wrong, seed 0 and 3 more cells: {TWO_LINES[1]}",
    ]
    assert not (path.parent / "out").exists() and not (path.parent / "sweep").exists()


def test_a_sampler_says_what_it_gives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Sampler.num_test_clips is None
    monkeypatch.setattr(Segment, "num_test_clips", (2,))
    segment = ["data.sampling.name=segment", "data.val=test"]
    assert problems(path, *segment) == [
        "train.validate_clips = 1: data.sampling segment takes 2 from a video; choose that, or set data.val to null"
    ]
    assert problems(path, *segment, "train.validate_clips=2") == []


def test_a_model_is_checked_without_its_numbers(path: Path) -> None:
    trunk = REPOSITORY / "configs" / "quickstart.yaml"
    config = load_config(trunk, ["data.root", str(path.parent), "output", str(path.parent / "out")])
    state = torch.get_rng_state()
    model = build_on_meta(config, 8)
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert torch.get_rng_state().equal(state)
    assert torch.zeros(2).fill_(1).sum() == 2  # outside of the check, values are set as ever


@pytest.mark.parametrize("model", ["mvit_base_16x4", "slow_r50", "slowfast_r50", "x3d_xs"])
def test_every_kind_of_comparison_network_is_checked_so(model: str, path: Path) -> None:
    backbone = {"name": "pytorchvideo", "model": model, "num_frames": 8, "crop_px": 64}
    overrides = {
        "model.backbone": backbone,
        "model.adapter": {"name": "full"},
        "data.num_frames": 8,
        "data.crop_px": 64,
    }
    built = build_on_meta(load_config(path, overrides), 8)
    assert all(tensor.is_meta for tensor in [*built.parameters(), *built.buffers()])


def link(folder: Path) -> Path:
    (folder / "link").symlink_to("nowhere")
    return folder / "link"


def file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (file, "{0}/file is a file; choose another folder"),
        (lambda folder: file(folder) / "deeper" / "still", "{0}/file is a file; choose another folder"),
        (link, "{0}/link is a link to nowhere, which is not there; remove the link, or choose another folder"),
        (lambda folder: link(folder) / "deeper", "{0}/link is a link to nowhere, which is not there; remove the link"),
        (lambda folder: folder / ("x" * 256), "File name too long; choose another folder"),
        (lambda folder: folder / "a\0b", "embedded null byte; choose another folder"),
    ],
)
def test_an_output_that_cannot_be(make: Any, reason: str, tmp_path: Path) -> None:
    (found,) = output_problems(make(tmp_path))
    assert found.startswith("output = ") and reason.format(tmp_path) in found


def documented_names() -> list[str]:
    """What the page of the house says that a run writes; not what is named by a step, a list, or another command."""
    page = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    table = page.partition("## A run's folder\n")[2].partition("\n### ")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])]
    names = [re.sub("(?<=/).+", "", name) for name in named if not name.startswith(("unknown.", "jobs/", "code/"))]
    return list(dict.fromkeys(names))


def test_the_page_names_what_a_run_writes() -> None:
    assert {".lock", "outcome.json", "rates.json", "robustness.json", "checkpoints/"} <= set(documented_names())


@pytest.mark.parametrize("name", documented_names())
def test_an_output_with_something_else_in_a_files_place(name: str, tmp_path: Path) -> None:
    is_folder, name = name.endswith("/"), name.removesuffix("/")
    (tmp_path / name).touch() if is_folder else (tmp_path / name).mkdir()
    kind = "folder" if is_folder else "regular file"
    assert output_problems(tmp_path) == [
        f"output = {tmp_path}: its {name} is no {kind}; move it away, or choose another folder"
    ]


def test_code_that_another_may_have_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    raw = toy_config(tmp_path / "out", tmp_path, train={"compile": True})
    config = load_config(write_config(tmp_path / "c.yaml", raw))
    assert not [line for line in machine.machine_problems(config) if "torchinductor" in line]
    place = tmp_path / f"torchinductor_{getpass.getuser()}"
    place.symlink_to(tmp_path)
    expected = f"train.compile = true: {place} is a link, not a folder; remove it, or name another folder"
    assert [line for line in machine.machine_problems(config) if line.startswith(expected)]
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert not [line for line in machine.machine_problems(config) if "torchinductor" in line]


def test_an_output_whose_lock_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"out: its \.lock is a link"), only_process_in(tmp_path / "out"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_an_output_on_a_read_only_disk(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert output_problems(small_disk / "new") == [
        f"output = {small_disk}/new: {small_disk} lies on a file system that is mounted read-only; choose another folder"
    ]


def test_an_output_that_this_user_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.log").touch()
    (tmp_path / "run.log").chmod(0o444)
    tmp_path.chmod(0o555)

    def access(path: Any, mode: int) -> bool:
        return bool(os.stat(path).st_mode & 0o200) or mode == os.F_OK

    monkeypatch.setattr(machine.os, "access", access)  # root may do everything
    assert output_problems(tmp_path / "new") == [
        f"output = {tmp_path}/new: this user may not write in {tmp_path}; choose another folder"
    ]
    tmp_path.chmod(0o755)
    assert output_problems(tmp_path / "new") == []
    assert output_problems(tmp_path) == [
        f"output = {tmp_path}: this user may not write to its run.log; choose another folder"
    ]


def test_an_output_that_nothing_but_trying_shows(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["--cfg", str(path), "output=/proc/run"]) == 2
    why = "cannot be made: No such file or directory" if ROOT else "this user may not write in /proc"
    assert f"output = /proc/run: {why}" in capsys.readouterr().err


def test_the_cache_of_the_tests_is_tried_before_training(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rendered = ["data.rendered={motions: quickstart, clips_per_epoch: 8}", "data.train=null", "data.cache=/proc/frames"]
    assert train(["--cfg", str(path), *rendered]) == 2
    why = "cannot be used" if ROOT else "this user may not write in /proc"
    assert f"data.cache = /proc/frames: {why}" in capsys.readouterr().err
    assert not list((path.parent / "out").glob("checkpoints/*"))


def test_compiling_needs_a_compiler(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = ["train.compile=true"]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert problems(path, *compiled) == [
        "train.compile = true: there is no compiler g++ or clang++ on this machine; install one, or set train.compile false"
    ]
    assert problems(path, *compiled, here=False) == []  # the job's node may have one
    (tmp_path / "mine").touch()
    (tmp_path / "mine").chmod(0o755)
    monkeypatch.setenv("CXX", "mine -O2")
    assert problems(path, *compiled) == []


@pytest.mark.parametrize("name", sorted(path.name for path in (REPOSITORY / "configs").glob("*.yaml")))
def test_shipped_settings_have_no_problem(name: str) -> None:
    from videoadapt.runs.checks import setting_problems

    config: Config = load_config(REPOSITORY / "configs" / name)
    assert setting_problems(config) == []
