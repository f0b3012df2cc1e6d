"""Weights as trainers leave them: wrapped, prefixed, several models in a file, Python objects and programs around them."""

import os
import sys
import types
import zipfile
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.weight_files import DATA, refusal, saved, state, toy
from videoadapt.errors import CheckpointError
from videoadapt.models.backbones.vit import sinusoid_positions
from videoadapt.models.loading import LoadReport, load_backbone
from videoadapt.weights.formats import read_weights
from videoadapt.weights.pickles import read_archive

FILE = "videomae_finetune.pth"
CLIP = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def other(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same model with other values."""
    return {name: tensor + 1 for name, tensor in tensors.items()}


def logits(location: str | Path) -> tuple[LoadReport, Tensor]:
    model = toy()
    report = load_backbone(model, read_weights(str(location)))
    with torch.no_grad():
        return report, model(CLIP)


EXPECTED = logits(DATA / FILE)[1]


def split_head(tensors: dict[str, Tensor], backbone: str, head: str) -> dict[str, Tensor]:
    """Backbone and head under names of their own."""
    return {
        name.replace("head.", head, 1) if name.startswith("head.") else backbone + name: tensor
        for name, tensor in tensors.items()
    }


# ---- prefixes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "backbone.", "encoder.", "net.",
     "module.model.backbone.", "model._orig_mod."],
)  # fmt: skip
def test_a_prefix_of_all_names_is_no_part_of_them(tmp_path, prefix):
    report, got = logits(saved(tmp_path, {"state_dict": prefixed(state(FILE), prefix)}))
    assert (report.format, report.loaded, report.unused) == ("VideoMAE fine-tuned", 45, ())
    assert got.equal(EXPECTED)


@pytest.mark.parametrize(
    ("backbone", "head"),
    [("backbone.", "cls_head.fc_cls."), ("model.", "classifier."), ("encoder.", "head."), ("net.module.", "fc.")],
)
def test_a_head_beside_the_model_is_its_head(tmp_path, backbone, head):
    tensors = split_head(state(FILE), backbone, head) | {"loss_fn.weight": torch.ones(5)}
    report, got = logits(saved(tmp_path, {"state_dict": tensors}))
    assert report.unused == ("loss_fn",) and report.notes == (f"head from {head.removesuffix('.')}",)
    assert got.equal(EXPECTED)


def test_a_compiled_part_inside_keeps_its_place(tmp_path):
    tensors = {name.replace("blocks.1.", "blocks.1._orig_mod."): tensor for name, tensor in state(FILE).items()}
    assert logits(saved(tmp_path, tensors))[1].equal(EXPECTED)


def test_our_own_names_are_not_taken_for_a_wrappers(tmp_path):
    model = toy()
    load_backbone(model, read_weights(str(DATA / FILE)))
    report, got = logits(saved(tmp_path, prefixed(model.state_dict(), "module.")))
    assert (report.format, report.notes) == ("videoadapt", ()) and got.equal(EXPECTED)


# ---- MMAction2 -------------------------------------------------------------------------------------------------------


def mmaction(tensors: dict[str, Tensor], positions: Tensor) -> dict[str, Tensor]:
    """mmaction/models/backbones/vit_mae.py of 0f1d96b, in a Recognizer3D with a TimeSformerHead."""
    names = {"patch_embed.proj.": "patch_embed.projection.", "mlp.fc1.": "mlp.layers.0.0.", "mlp.fc2.": "mlp.layers.1."}
    for ours, theirs in names.items():
        tensors = {name.replace(ours, theirs): tensor for name, tensor in tensors.items()}
    return split_head(tensors, "backbone.", "cls_head.fc_cls.") | {"backbone.pos_embed": positions}


def test_mmaction2_saves_a_whole_recognizer(tmp_path):
    tensors = mmaction(state(FILE), sinusoid_positions(32, 48)[None])
    report, got = logits(saved(tmp_path, {"meta": {"epoch": 3, "dataset_meta": {}}, "state_dict": tensors}))
    assert report.unused == ("pos_embed (the sinusoid, computed here)",)
    assert report.loaded == 45 and report.notes == ("head from cls_head.fc_cls",)
    assert got.equal(EXPECTED)
    model = toy(num_classes=7)
    replaced = load_backbone(model, read_weights(saved(tmp_path, tensors))).replaced
    assert replaced == ("head (5 classes in the file, 7 here)",)


def test_learned_positions_of_a_video_are_not_passed_over(tmp_path):
    for wrong in (torch.randn(1, 32, 48), sinusoid_positions(32, 48)[None] * 1.01, torch.zeros(32, 48)):
        said = refusal(saved(tmp_path, {"state_dict": mmaction(state(FILE), wrong)}))
        assert "pos_embed" in said and "\n" not in said


# ---- several models in a file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "beside"),
    [("teacher", "student"), ("target_encoder", "encoder"), ("model", "model_ema"), ("state_dict", "state_dict_ema")],
)
def test_the_documented_one_of_several_is_taken_and_said(tmp_path, good, beside):
    source = state(FILE)
    content = {beside: other(source), "epoch": 3, "opt": {"state": {0: {"m": torch.ones(2)}}}, good: source}
    location = saved(
        tmp_path, content | {"optimizer": {"m": {"x": torch.ones(2)}}, "dino_loss": {"center": torch.ones(1, 4)}}
    )
    report, got = logits(location)
    assert got.equal(EXPECTED)
    assert report.notes == (f"`{good}` taken, beside it {beside} (weights.pth#{beside} takes that)",)
    report, got = logits(f"{location}#{beside}")
    assert not got.equal(EXPECTED) and f"`{beside}` of" in report.notes[0]


def test_several_without_a_known_order_are_listed(tmp_path):
    source = state(FILE)
    location = saved(tmp_path, {"fast": other(source), "slow": source})
    said = refusal(location)
    assert "holds several models: fast, slow; name one of them behind the file, weights.pth#fast" in said
    assert said.startswith(location) and "\n" not in said
    assert logits(f"{location}#slow")[1].equal(EXPECTED)
    assert "several models" in refusal(f"{location}#none")


def test_several_in_one_state_dict_too(tmp_path):
    source = state(FILE)
    flat = prefixed(source, "teacher.backbone.") | prefixed(other(source), "student.backbone.")
    location = saved(tmp_path, {"state_dict": flat})
    report, got = logits(location)
    assert got.equal(EXPECTED) and report.unused == ("student",)
    assert report.notes == (
        "`teacher.backbone` taken, beside it student.backbone (weights.pth#student.backbone takes that)",
    )
    for part in ("student", "student.backbone"):
        assert not logits(f"{location}#{part}")[1].equal(EXPECTED)
    assert "holds no part 'stu'; there are: teacher.backbone, student.backbone" in refusal(f"{location}#stu")


def test_a_file_whose_own_name_has_a_number_sign(tmp_path):
    assert logits(saved(tmp_path, state(FILE), "try #1.pth"))[1].equal(EXPECTED)
    with pytest.raises(CheckpointError, match="no such file"):
        read_weights(str(tmp_path / "nothing.pth#teacher"))


# ---- Python objects --------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(monkeypatch):
    """A module as a trainer's, whose objects say when they are made."""
    made = []

    class Settings(dict):
        def __setstate__(self, state):
            made.append(self)

        def __reduce__(self):
            return Settings, (), {"lr": 1.0}, None, iter({"width": 3}.items())

    module = types.ModuleType("a_trainer")
    Settings.__module__, Settings.__qualname__, module.Settings = "a_trainer", "Settings", Settings
    monkeypatch.setitem(sys.modules, "a_trainer", module)
    return Settings, made


def test_lightnings_pickled_settings_are_left_unread(tmp_path, settings):
    kind, made = settings
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.ones(1), "dirpath": Path("/somewhere")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "hyper_parameters": kind(),
        "state_dict": split_head({name: nn.Parameter(t) for name, t in state(FILE).items()}, "model.", "head."),
    }
    report, got = logits(saved(tmp_path, content, "last.ckpt"))
    assert got.equal(EXPECTED) and not made
    unread = report.notes[0]
    assert unread.startswith("Python objects left unread (") and "a_trainer.Settings" in unread


def test_values_are_those_of_torch_for_every_type_and_stride(tmp_path, settings):
    base = torch.randn(6, 5)
    tensors = {
        "model": {
            "blocks.0.a": base.t()[1:3], "b": base[2:], "c": base.bfloat16(), "d": base.half(), "e": base.double(),
            "f": torch.arange(3), "g": torch.tensor([True, False]), "h": torch.zeros(0, 3), "i": torch.tensor(2.5),
        },
        "settings": settings[0](),
    }  # fmt: skip
    path = saved(tmp_path, tensors)
    got, unread = read_archive(Path(path))
    assert unread == ("a_trainer.Settings",)
    for name, tensor in tensors["model"].items():
        assert got["model"][name].dtype == tensor.dtype and got["model"][name].equal(tensor), name


class Hidden:
    """Wants to be run, by several ways."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("way", ["system", "exec", "import", "nested", "trainer"])
def test_nothing_in_a_file_is_run(tmp_path, settings, way):
    marker = tmp_path / "it_ran"
    touch = f"open({str(marker)!r}, 'w')"
    hooks = {
        "system": Hidden(os.system, (f"touch {marker}",)),
        "exec": Hidden(exec, (touch,)),
        "import": Hidden(__import__, ("os",)),
        "nested": Hidden(dict, ((("x", Hidden(eval, (touch,))),),)),
        "trainer": Hidden(settings[0], ()),
    }
    location = saved(tmp_path, {"model": state(FILE), "settings": settings[0](), "hook": hooks[way]})
    if way == "trainer":
        assert logits(location)[1].equal(EXPECTED) and not settings[1]
    else:
        assert "could run code" in refusal(location)
    assert not marker.exists()


def test_a_storage_of_another_size_is_damage(tmp_path, settings):
    source = Path(saved(tmp_path, {"model": {"blocks.0.a": torch.ones(4)}, "x": settings[0]()}, "sound.pth"))
    short = tmp_path / "short.pth"
    with zipfile.ZipFile(source) as sound, zipfile.ZipFile(short, "w") as changed:
        for name in sound.namelist():
            content = sound.read(name)
            changed.writestr(name, content[:-4] if "/data/" in name else content)
    with pytest.raises(ValueError, match="storage 0 has not the size"):
        read_archive(short)
    assert f"{short}: damaged or cut short" in refusal(str(short))


def test_an_archive_of_another_kind_is_not_called_damaged(tmp_path):
    np.savez(tmp_path / "features.npz", features=np.ones(3))
    assert "features.npz: an archive without weights of torch" in refusal(str(tmp_path / "features.npz"))


# ---- programs --------------------------------------------------------------------------------------------------------


class Named(nn.Module):
    """Holds tensors under given dotted names, as a module tree."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        for part in dict.fromkeys(name.split(".")[0] for name in tensors):
            inner = {name.partition(".")[2]: t for name, t in tensors.items() if name.split(".")[0] == part}
            if "" in inner:
                self.register_parameter(part, nn.Parameter(inner[""]))
            else:
                self.add_module(part, Named(inner))

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_program_gives_its_tensors_and_is_not_run(tmp_path):
    path = tmp_path / "scripted.pt"
    torch.jit.trace(Named(state(FILE)), torch.zeros(1)).save(str(path))
    report, got = logits(path)
    assert report.loaded == 45 and got.equal(EXPECTED)


@pytest.mark.parametrize("kind", ["program", "settings"])
def test_damage_anywhere_is_one_line(tmp_path, settings, kind):
    tensors = {name: tensor for name, tensor in state(FILE).items() if tensor.ndim == 1}
    path, random = tmp_path / "weights.pt", Random(0)
    if kind == "program":
        torch.jit.trace(Named(tensors), torch.zeros(1)).save(str(path))
    else:
        saved(tmp_path, {"settings": settings[0](), "model": tensors}, path.name)
    whole = path.read_bytes()
    where = whole.index(b"data.pkl")
    for _ in range(150):
        content = bytearray(whole)
        content[where + random.randrange(3000)] = random.randrange(256)
        path.write_bytes(content if random.random() < 0.7 else content[: random.randrange(len(content))])
        with suppress(CheckpointError):  # a change inside a tensor's values cannot be seen
            read_weights(str(path))
    assert not settings[1]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_settings_of_old_files_are_refused_as_before(tmp_path, settings):
    path = tmp_path / "old.pth"
    torch.save({"model": state(FILE), "x": settings[0]()}, path, _use_new_zipfile_serialization=False)
    assert "holds a Python object (a_trainer.Settings)" in refusal(str(path))
