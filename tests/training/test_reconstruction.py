"""Masked pre-training: the reference's numbers, tubes, targets, gradients, files, and runs that go on to the same bits."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.toy_runs import final_weights, records, toy_pretraining, write_config
from videoadapt.cli.train import main
from videoadapt.config.loading import load_config
from videoadapt.config.schema import ModelConfig
from videoadapt.data.datasets.synthetic import Synthetic
from videoadapt.data.splits import Splits
from videoadapt.data.videos import VideoRows
from videoadapt.distributed import choose_device
from videoadapt.errors import ConfigError
from videoadapt.models.autoencoder import DecoderSize, MaskedAutoencoder
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.masking import Mask, draw_tubes, join_tubelets, normalised_target, pick, tubelets
from videoadapt.runs.build import build_autoencoder, build_model
from videoadapt.runs.run import Run, prepare
from videoadapt.training.pictures import reconstruct
from videoadapt.video.transforms import IMAGENET_MEAN, IMAGENET_STD
from videoadapt.weights.formats import to_pretraining

DATA = Path(__file__).parents[1] / "golden"
FACTS = json.loads((DATA / "facts.json").read_text())
DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda"), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"), id="cuda"
    ),
]


def golden_model() -> MaskedAutoencoder:
    keys = ("width", "depth", "num_heads", "patch_px", "tubelet_frames", "mlp_ratio")
    sizes = (FACTS["pretrain"][f"decoder_{key}"] for key in ("width", "heads", "depth"))
    model = MaskedAutoencoder(ViT(**{key: FACTS["dims"][key] for key in keys}), DecoderSize(*sizes))
    golden = torch.load(DATA / "videomae_pretrain.pth", weights_only=True)["model"]
    ours = to_pretraining(model.state_dict())
    assert ours.keys() == golden.keys()
    for name, tensor in ours.items():
        tensor.copy_(golden[name])
    return model


def tokens_of(mask_BN: torch.Tensor) -> Mask:
    order_BN = mask_BN.int().argsort(dim=1, stable=True)
    return Mask(*order_BN.split([int((~mask_BN[0]).sum()), int(mask_BN[0].sum())], dim=1))


@pytest.mark.parametrize("device", DEVICES)
def test_prediction_target_and_loss_of_the_reference(device: torch.device) -> None:
    golden = np.load(DATA / "videomae_pretrain.npz")
    choose_device(device.type)  # float32 without TF32
    model = golden_model().to(device)
    pixels_BCTHW = torch.from_numpy(golden["video01_BCTHW"]).to(device)
    mask = tokens_of(torch.from_numpy(golden["mask_BN"])).to(device)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    prediction = model((pixels_BCTHW - mean) / std, mask)
    target = normalised_target(pick(tubelets(pixels_BCTHW, model.tubelet), mask.predicted_BM))
    np.testing.assert_allclose(prediction.detach().cpu(), golden["prediction"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(target.cpu(), golden["target"], rtol=0, atol=1e-5)
    assert (prediction - target).square().mean().item() == pytest.approx(float(golden["loss"]), abs=1e-5)


@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9])
def test_tubes(ratio: float) -> None:
    grid_THW = (4, 6, 5)
    mask = draw_tubes(50, grid_THW, ratio, torch.Generator().manual_seed(0))
    hidden_BN = torch.zeros(50, 120, dtype=torch.bool).scatter_(1, mask.predicted_BM, True)
    assert hidden_BN.sum(1).tolist() == [4 * int(ratio * 30)] * 50  # as many in every clip
    hidden_BTS = hidden_BN.unflatten(1, (4, 30))
    assert (hidden_BTS == hidden_BTS[:, :1]).all()  # the same patches in all frames
    assert len({tuple(row.tolist()) for row in hidden_BTS[:, 0]}) == 50  # others in each clip
    assert torch.cat(mask[:2], dim=1).sort(dim=1).values.equal(torch.arange(120).expand(50, -1))
    assert all((part.diff(dim=1) > 0).all() for part in mask[:2])
    share_S = hidden_BTS[:, 0].float().mean(0)
    assert (share_S - int(ratio * 30) / 30).abs().max() < 0.3  # no patch is always seen, none always hidden
    again = draw_tubes(50, grid_THW, ratio, torch.Generator().manual_seed(0))
    assert again.predicted_BM.equal(mask.predicted_BM)


def test_a_ratio_that_hides_nothing_or_all_is_refused() -> None:
    for grid_THW, ratio in (((4, 1, 1), 0.9), ((4, 2, 1), 0.1)):
        with pytest.raises(ConfigError, match=r"^tube masking: mask_ratio = 0\.\d: hides 0 of the [12] patches"):
            draw_tubes(1, grid_THW, ratio, torch.Generator())


def test_the_mask_token_starts_as_in_videomae() -> None:
    """Normal with 0.02, cut at one deviation: 0.0108, by the formula for a truncated normal. Ours is not cut."""
    torch.manual_seed(0)
    vit, size = ViT(size="tiny", depth=1, width=32, num_heads=2), DecoderSize(20_000, 1, 0)
    cut, whole = (MaskedAutoencoder(vit, size, mask_token_cut).mask_token for mask_token_cut in (1.0, None))
    density, share = math.exp(-0.5) / math.sqrt(2 * math.pi), math.erf(1 / math.sqrt(2))
    expected = 0.02 * math.sqrt(1 - 2 * density / share)
    assert expected == pytest.approx(0.0108, abs=5e-5)
    assert cut.std().item() == pytest.approx(expected, rel=0.02) and cut.abs().max() <= 0.02  # 20,000 draws: 0.5 %
    assert whole.std().item() == pytest.approx(0.02, rel=0.02) and whole.abs().max() > 0.06


def test_tubelets_and_their_target_by_hand() -> None:
    clip_BCTHW = torch.arange(2 * 3 * 4 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 4, 6)
    cut = tubelets(clip_BCTHW, (2, 2, 3))
    assert cut.shape == (2, 8, 36)
    for token, (t, y, x) in enumerate((t, y, x) for t in (0, 2) for y in (0, 2) for x in (0, 3)):
        expected = clip_BCTHW[:, :, t : t + 2, y : y + 2, x : x + 3].permute(
            0, 2, 3, 4, 1
        )  # time, height, width, channel
        assert cut[:, token].equal(expected.flatten(1))
    assert join_tubelets(cut, (2, 2, 3), (2, 2, 2)).equal(clip_BCTHW)
    # three pixels of three channels: mean 0.4, unbiased variance 0.04; the third channel does not vary
    pixels = torch.tensor([[0.2, 1.0, 0.5], [0.4, 0.0, 0.5], [0.6, 0.5, 0.5]]).view(1, 1, 9)
    target = normalised_target(pixels).view(3, 3)
    scale = 0.2 + 1e-6
    torch.testing.assert_close(target[:, 0], torch.tensor([-0.2, 0, 0.2]) / scale, rtol=0, atol=1e-6)
    torch.testing.assert_close(target[:, 1], torch.tensor([0.5, -0.5, 0]) / (0.5 + 1e-6), rtol=0, atol=1e-6)
    assert not target[:, 2].any()


def test_gradients_reach_every_parameter_and_no_masked_pixel() -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(ViT(width=24, depth=2, num_heads=2, patch_px=8), DecoderSize(16, 2, 2))
    clip_BCTHW = torch.randn(3, 3, 4, 32, 32, requires_grad=True)
    mask = draw_tubes(3, (2, 4, 4), 0.75, torch.Generator().manual_seed(0))
    prediction = model(clip_BCTHW, mask)
    assert prediction.shape == (3, 2 * 12, 2 * 8 * 8 * 3)
    prediction.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    seen = tubelets(clip_BCTHW.grad, model.tubelet).abs().sum(-1)
    assert (seen.gather(1, mask.visible_BV) > 0).all() and not seen.gather(1, mask.predicted_BM).any()


def test_with_every_token_visible_the_encoder_is_the_backbone() -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(ViT(width=24, depth=2, num_heads=2, patch_px=8), DecoderSize(16, 2, 1))
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    everything = Mask(torch.arange(32).expand(2, -1), torch.empty(2, 0, dtype=torch.int64))
    torch.testing.assert_close(
        model.encode(clip_BCTHW, everything), model.backbone.forward_tokens(clip_BCTHW), rtol=0, atol=1e-5
    )


class Perfect(MaskedAutoencoder):
    """Predicts the target itself."""

    def forward(self, clip_BCTHW: torch.Tensor, mask: Mask) -> torch.Tensor:
        mean, std = (torch.tensor(value).view(3, 1, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        return normalised_target(pick(tubelets(clip_BCTHW * std + mean, self.tubelet), mask.predicted_BM))


def test_the_picture_is_in_pixels_and_shows_what_was_hidden(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", toy_pretraining(tmp_path / "out")))
    model = Perfect(ViT(width=24, depth=1, num_heads=2, patch_px=16), DecoderSize(16, 2, 1))
    run = Run(config, Splits(*3 * [VideoRows(tmp_path, ())], []), model, torch.device("cpu"))
    clips_BCTHW = torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    whole, masked, predicted = reconstruct(run, clips_BCTHW, torch.Generator().manual_seed(0))
    assert whole.equal(clips_BCTHW.float() / 255)
    hidden = (masked != whole).any(dim=1)
    assert hidden.float().mean() > 0.48 and (masked.movedim(1, -1)[hidden] == 0.5).all()  # half of the patches
    torch.testing.assert_close(predicted, whole, rtol=0, atol=1e-4)


def test_a_run_resumes_to_the_same_bits_and_its_files_load(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train = {"checkpoint_every_steps": 1, "keep_checkpoints": 9, "accumulate": 2}
    config = write_config(tmp_path / "c.yaml", toy_pretraining(whole, train=train))
    assert main(["--cfg", str(config)]) == 0
    assert (whole / "reconstruction.png").read_bytes().startswith(b"\x89PNG")
    assert [record["step"] for record in records(whole)] == [1, 2, 3, 4, 5, 6]
    shutil.copytree(whole, resumed)
    for path in (resumed / "checkpoints").iterdir():
        if path.stem > "step_00000002":
            path.unlink()
    (resumed / "pretrained.pth").unlink()
    assert main(["--cfg", str(config), "output", str(resumed)]) == 0
    assert (whole / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()
    weights, again = final_weights(whole), final_weights(resumed)
    assert weights.keys() == again.keys() and all(torch.equal(weights[name], again[name]) for name in weights)

    saved, others = (torch.load(folder / "pretrained.pth", weights_only=True)["model"] for folder in (whole, resumed))
    assert all(torch.equal(saved[name], others[name]) for name in saved)
    assert {name.split(".")[0] for name in saved} == {"encoder", "decoder", "encoder_to_decoder", "mask_token"}
    spec = load_config(config).model
    trunks = []
    for name in ("pretrained.pth", "trunk.safetensors"):
        spec = ModelConfig(backbone=spec.backbone, adapter={"name": "linear"}, weights=str(whole / name))
        trunks.append(build_model(spec, 8, 4, 32).backbone)
    clip_BCTHW, kernel = torch.randn(2, 3, 4, 32, 32), "blocks.1.attn.fn.qkv.weight"
    model = MaskedAutoencoder(build_model(spec, 8, 4, 32).backbone, DecoderSize(16, 2, 1))  # any weights
    for name, tensor in to_pretraining(model.state_dict()).items():
        tensor.copy_(saved[name])
    assert trunks[0].forward_tokens(clip_BCTHW).equal(model.backbone.forward_tokens(clip_BCTHW))
    assert trunks[1].state_dict()[kernel].equal(model.backbone.state_dict()[kernel].half().float())
    assert load_file(whole / "trunk.safetensors")[f"backbone.{kernel}"].dtype == torch.float16
    # the average of the weights is what is left, not the last weights
    assert not weights[f"backbone.{kernel}"].equal(trunks[0].state_dict()[kernel])


def test_a_list_with_two_clips_each_and_one_unreadable(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    Synthetic(vocabulary="quickstart", train_per_class=1, val_per_class=0, test_per_class=0).load("train", root)
    rows = (root / "train.csv").read_text().splitlines()
    (root / rows[1].rpartition(" ")[0]).write_bytes(b"no video")
    (root / "mine.csv").write_text("".join(f"{row}99\n" for row in rows))  # labels are read, and not used
    source = {"dataset": {"name": "video_list"}, "root": str(root), "train": str(root / "mine.csv"), "rendered": None}
    data = {**source, "augment": {"crop": "multi_scale", "repeated": 2}, "max_unreadable": 0.2}
    config = toy_pretraining(tmp_path / "out", data=data, train={"epochs": 1, "precision": "bf16"})
    assert main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    losses = [record["loss"] for record in records(tmp_path / "out")]
    assert len(losses) == 2 and all(0.5 < loss < 5 for loss in losses)
    assert "skipped 1 of 8 training videos" in (tmp_path / "out" / "run.log").read_text()
    assert (tmp_path / "out" / "reconstruction.png").is_file()


def test_labelled_clips_can_be_rendered_too(tmp_path: Path) -> None:
    config = toy_pretraining(tmp_path / "out", data={"rendered": {"motions": "trunk", "clips_per_epoch": 12}})
    config["task"] = "train"
    assert main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines()[:2] == ["down", "up"]
    assert (tmp_path / "out" / "adapter.safetensors").is_file()


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (
            "model.adapter.name=linear",
            "model.adapter.name = 'linear': task pretrain trains the whole backbone; allowed: full",
        ),
        ("model.weights=x.pth", "model.weights = x.pth: task pretrain starts from new weights"),
        ("test.enable=true", "test.enable = true: task pretrain has no classes to test"),
        (
            "train.enable=false",
            "train.enable = false: leaves task pretrain nothing to do, as it has no classes to test",
        ),
        ("data.augment.mixup=0.8", "data.augment.mixup = 0.8: the target is the clip itself"),
        ("data.train=list.csv", "data.rendered: takes the place of data.train"),
        ("data.augment.flip=0.5", "data.augment: rendered clips are cut by"),
        ("data.num_frames=16", "data.num_frames = 16: a rendered video is 24 frames long"),
        ("task=train", "data.rendered.motions = any: has no classes to train"),
        ("pretrain.mask_ratio=0.99", "pretrain.mask_ratio = 0.99: input should be less than or equal to 0.95"),
        ("pretrain.decoder_heads=3", "pretrain.decoder_heads = 3: needs to divide decoder_width = 16"),
        ("data.crop_px=16", "pretrain.mask_ratio = 0.5: hides 0 of the 1 patches"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    override: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "c.yaml", toy_pretraining(tmp_path / "out"))
    assert main(["--cfg", str(config), override]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if complaint in line]
    assert len(errors) == 1, errors


@pytest.mark.parametrize("name", ["k400", "ssv2"])
def test_the_published_recipes_build_the_published_decoder(name: str, tmp_path: Path) -> None:
    config = load_config(f"configs/{name}_pretrain.yaml", ["output", str(tmp_path / "out")])
    assert config.optim.betas == (0.9, 0.95) and config.train.batch_size == 2048 and config.model.weights is None
    manifest = json.loads((DATA / "manifests" / "videomae_pretrain_base.json").read_text())
    with torch.device("meta"):
        shapes = {
            key: list(tensor.shape) for key, tensor in to_pretraining(build_autoencoder(config).state_dict()).items()
        }
    assert shapes == manifest
    with pytest.raises(ConfigError, match=r"data\.train"), prepare(config):
        pass
