"""OpenAI's CLIP is a TorchScript archive: its tensors are read without torch.jit.load, and nothing in it is run."""

import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.models.timm_models import Family, build_small
from tests.toy_models import shake
from videoadapt.errors import CheckpointError
from videoadapt.models.loading import load_backbone
from videoadapt.weights.formats import read_weights

WIDTH = 32
IMAGE = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """openai/CLIP, model.py: ResidualAttentionBlock."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, 2)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(WIDTH, 4 * WIDTH))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x_NBD: Tensor) -> Tensor:
        h_NBD = self.ln_1(x_NBD)
        x_NBD = x_NBD + self.attn(h_NBD, h_NBD, h_NBD, need_weights=False)[0]
        return x_NBD + self.mlp(self.ln_2(x_NBD))


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(Block(), Block())

    def forward(self, x_NBD: Tensor) -> Tensor:
        return self.resblocks(x_NBD)


class Visual(nn.Module):
    """openai/CLIP, model.py: VisionTransformer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 8, 8, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(17, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Blocks()
        self.proj = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, image: Tensor) -> Tensor:
        x_BND = self.conv1(image).flatten(2).transpose(1, 2)
        x_BND = torch.cat([self.class_embedding + torch.zeros_like(x_BND[:, :1]), x_BND], 1) + self.positional_embedding
        x_BND = self.transformer(self.ln_pre(x_BND).transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x_BND[:, 0]) @ self.proj


class CLIP(nn.Module):
    """With a text encoder beside it, and the three numbers that OpenAI's archives hold as tensors."""

    def __init__(self, numbers: bool = True) -> None:
        super().__init__()
        self.visual, self.transformer = Visual(), Blocks()
        self.positional_embedding = nn.Parameter(torch.randn(7, WIDTH))
        self.text_projection, self.logit_scale = nn.Parameter(torch.randn(WIDTH, 8)), nn.Parameter(torch.ones(()))
        self.token_embedding, self.ln_final = nn.Embedding(9, WIDTH), nn.LayerNorm(WIDTH)
        for name in ("input_resolution", "context_length", "vocab_size") if numbers else ():
            self.register_buffer(name, torch.tensor(32))

    def forward(self, image: Tensor) -> Tensor:
        return self.visual(image)


pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CLIP]:
    torch.manual_seed(2)
    model = CLIP().eval()
    shake(model)
    path = tmp_path_factory.mktemp("clip") / "ViT-B-16.pt"
    with torch.no_grad():
        torch.jit.trace(model, IMAGE).save(str(path))
    return path, model


def counterpart(monkeypatch, name: str = "vit_base_patch16_clip_quickgelu_224"):
    arguments = {
        "embed_dim": WIDTH,
        "depth": 2,
        "num_heads": 2,
        "patch_size": 8,
        "norm_layer": partial(nn.LayerNorm, eps=1e-5),
    }
    return build_small(monkeypatch, Family(name, 32, arguments), {"name": "linear"})


def test_an_archive_gives_the_features_of_its_program(archive, monkeypatch):
    path, theirs = archive
    monkeypatch.setattr(torch.jit, "load", None)
    monkeypatch.setattr(torch._C, "import_ir_module", None)
    model = counterpart(monkeypatch)
    report = load_backbone(model, read_weights(str(path), names="timm"))
    assert report.format == "OpenAI CLIP" and report.loaded == 31 and report.new == ("head",)
    assert {"proj", "transformer", "token_embedding", "text_projection", "input_resolution"} <= set(report.unused)
    with torch.no_grad():
        got, expected = (
            model.double().backbone(IMAGE[:, :, None].double()) @ theirs.visual.proj.double(),
            theirs.double()(IMAGE.double()),
        )
    theirs.float()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_half_precision_and_plain_state_dicts(archive, monkeypatch, tmp_path):
    _, theirs = archive
    half = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in theirs.state_dict().items()
    }
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in half.items()}}, tmp_path / "clip.pt")
    model = counterpart(monkeypatch)
    assert load_backbone(model, read_weights(str(tmp_path / "clip.pt"), names="timm")).format == "OpenAI CLIP"
    assert model.backbone.net.patch_embed.proj.weight.equal(theirs.visual.conv1.weight.half().float())


def test_the_activation_is_openais_own(archive, monkeypatch):
    model = counterpart(monkeypatch, "vit_base_patch16_clip_224")
    with pytest.raises(
        CheckpointError, match=r"quick_gelu, the model computes gelu: set the backbone's model to .*_quickgelu_224"
    ):
        load_backbone(model, read_weights(str(archive[0]), names="timm"))


def test_openclip_says_it_in_its_config_or_not_at_all(archive, monkeypatch, tmp_path):
    tensors = {name: t for name, t in archive[1].state_dict().items() if t.ndim or name == "logit_scale"}
    torch.save(tensors, tmp_path / "open_clip_pytorch_model.bin")
    notes = load_backbone(counterpart(monkeypatch), read_weights(str(tmp_path), names="timm")).notes
    assert "the activation is not in the file" in notes[0]
    for quick in ("true", "false"):
        (tmp_path / "open_clip_config.json").write_text(f'{{"model_cfg": {{"quick_gelu": {quick}}}}}')
        weights = read_weights(str(tmp_path), names="timm")
        assert (weights.format, weights.activation) == ("OpenCLIP", "quick_gelu" if quick == "true" else "gelu")


def test_clips_resnets_are_named(tmp_path):
    names = ("visual.conv1.weight", "visual.layer1.0.conv1.weight", "transformer.resblocks.0.ln_1.weight")
    torch.save({name: torch.zeros(4, 3, 3, 3) for name in names}, tmp_path / "RN50.pt")
    with pytest.raises(CheckpointError, match="the image encoder of this CLIP is no ViT"):
        read_weights(str(tmp_path / "RN50.pt"), names="timm")


def test_a_function_in_an_archive_is_refused_and_not_run(archive, tmp_path):
    marker, path = tmp_path / "it_ran", tmp_path / "changed.pt"
    call = (
        b"\x80\x02cposix\nsystem\n(X"
        + len(f"touch {marker}").to_bytes(4, "little")
        + f"touch {marker}".encode()
        + b"tR."
    )
    with zipfile.ZipFile(archive[0]) as sound, zipfile.ZipFile(path, "w") as changed:
        for name in sound.namelist():
            changed.writestr(name, call if name.endswith("/data.pkl") else sound.read(name))
    with pytest.raises(CheckpointError, match=r"holds a Python object \(posix\.system\), which could run code"):
        read_weights(str(path))
    assert not marker.exists()
