"""What every registered adapter must do, without a list of them: a new file is tested by being there."""

import copy
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.toy_models import CLIP, TINY, build, shake
from videoadapt.config.schema import Config, DataConfig, HeadConfig, ModelConfig, OptimConfig
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.registry import ADAPTERS
from videoadapt.runs.adapter_file import read_adapter, save_adapter
from videoadapt.runs.build import build_model
from videoadapt.runs.checkpoint import load_checkpoint, save_checkpoint
from videoadapt.training.optimizer import build_optimizer, restore_optimizer

NAMES = ADAPTERS.names()
NORMED = HeadConfig(batch_norm=True)
# Which tensors of the backbone the methods here train, written down by name and not by the code under test.
DECLARED = {
    "adapter_plus": r"\.mlp\.adapter\.(down|up)\.|\.mlp\.adapter\.scale",
    "adaptformer": r"\.mlp\.adapter\.",
    "aim": r"\.(attn|mlp)\.adapter\.",
    "attentive_probe": r"backbone\.pool\.adapter\.",
    "bitfit": r"bias$",
    "full": r"",
    "houlsby": r"\.(attn|mlp)\.adapter\.|\.(attn|mlp)\.branch\.norm\.",
    "linear": r"^$",
    "lora": r"\.attn\.fn\.qkv\.adapter\.",
    "ssf": r"\.adapter\.(scale|shift)",
    "st_adapter": r"\.attn\.adapter\.(down|conv|up)\.",
    "vpt": r"\.adapter\.tokens",
}


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_what_it_declares_and_nothing_else(name: str) -> None:
    model = build({"name": name}, head=NORMED)
    shake(model)
    before = copy.deepcopy(model.state_dict())
    F.cross_entropy(model(CLIP), torch.arange(4)).backward()
    declared = set(trained(model))
    if name in DECLARED:
        pattern = DECLARED[name]
        assert declared == {
            key for key in dict(model.named_parameters()) if not key.startswith("backbone.") or re.search(pattern, key)
        }
    for key, parameter in model.named_parameters():
        if key in declared:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
            if not key.startswith("fc_norm"):  # BatchNorm behind it undoes any change of it
                assert parameter.grad.abs().max() > 1e-6, key
        else:
            assert parameter.grad is None, key
    torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1).step()
    moved = {key for key, tensor in model.state_dict().items() if not tensor.equal(before[key])}
    statistics = {key for key in before if key.startswith("head.norm.")}
    assert moved == declared | statistics


@pytest.mark.parametrize("name", NAMES)
def test_compiled_it_has_the_same_gradients(name: str) -> None:
    torch.compiler.reset()
    plain = build({"name": name}, head=NORMED).train()
    shake(plain)
    compiled = copy.deepcopy(plain)
    compile_blocks(compiled, backend="aot_eager")
    for model in (plain, compiled):
        torch.manual_seed(1)  # what is dropped
        F.cross_entropy(model(CLIP), torch.arange(4)).backward()
    for (key, one), other in zip(trained(plain).items(), trained(compiled).values(), strict=True):
        torch.testing.assert_close(
            other.grad, one.grad, rtol=1e-4, atol=1e-6, msg=key
        )  # another order of the same sums


@pytest.mark.parametrize("name", NAMES)
def test_it_predicts_what_it_trained(name: str) -> None:
    """A training may take another way to the same numbers, where nothing is dropped."""
    whole = {key: 0.0 for key in ("dropout", "drop_path") if key in ADAPTERS.schema(name)}
    model = build({"name": name, **whole}, head=HeadConfig(batch_norm=False))
    shake(model)
    with torch.no_grad():
        trained_on, predicted = model.train()(CLIP), model.eval()(CLIP)
    torch.testing.assert_close(predicted, trained_on, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_as_the_trunk_where_it_says_so(name: str) -> None:
    adapted, linear = build({"name": name}).eval(), build({"name": "linear"}).eval()
    with torch.no_grad():
        for model in (adapted, linear):
            model.head.linear.weight.copy_(torch.linspace(-1, 1, 32 * 5).view(5, 32).sin())
        linear.backbone.load_state_dict(
            {
                re.sub(r"\.?branch(?=\.)", "", key): tensor
                for key, tensor in adapted.backbone.state_dict().items()
                if ".adapter." not in key
            }
        )
        difference = (adapted(CLIP) - linear(CLIP)).abs().max()
    assert (difference < 1e-6) == ADAPTERS.get(name).starts_unchanged, difference


@pytest.mark.parametrize("name", NAMES)
def test_it_takes_other_clips_in_both_modes(name: str) -> None:
    """Clip by clip the same answer as in a batch, for more frames and for pictures that are not square."""
    torch.manual_seed(0)
    head = HeadConfig(batch_norm=False)
    model = build_model(
        ModelConfig(backbone={"name": "vit", "size": "tiny"}, adapter={"name": name}, head=head), 5, 8, 64
    )
    shake(model)
    for shape in ((8, 32, 32), (4, 16, 40)):
        clips = torch.randn(2, 3, *shape)
        assert model.train()(clips).isfinite().all()
        together = model.eval()(clips)
        torch.testing.assert_close(together, torch.cat([model(clip[None]) for clip in clips]), rtol=0, atol=1e-4)
    assert not together[0].allclose(together[1], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_on_from_a_checkpoint_to_the_same_bits(name: str, tmp_path: Path) -> None:
    def begin() -> tuple[Classifier, torch.optim.Optimizer]:
        model = build({"name": name}, head=NORMED)
        return model, build_optimizer(model, model.backbone, OptimConfig(name="adamw"))

    def step(model: Classifier, optimizer: torch.optim.Optimizer, number: int) -> None:
        torch.manual_seed(number)
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        optimizer.zero_grad()
        F.cross_entropy(model(CLIP + number), torch.arange(4)).backward()
        optimizer.step()

    model, optimizer = begin()
    step(model, optimizer, 0)
    save_checkpoint(tmp_path / "c.pt", {"model": trainable_state(model), "optimizer": optimizer.state_dict()})
    step(model, optimizer, 1)
    again, its_optimizer = begin()
    state = load_checkpoint(tmp_path / "c.pt")
    load_trainable_state(again, state["model"], tmp_path / "c.pt")
    restore_optimizer(its_optimizer, state["optimizer"], tmp_path / "c.pt")
    step(again, its_optimizer, 1)
    state, expected = again.state_dict(), model.state_dict()
    assert all(tensor.equal(expected[key]) for key, tensor in state.items())
    assert any(not tensor.equal(begin()[0].state_dict()[key]) for key, tensor in state.items())


@pytest.mark.parametrize("name", NAMES)
def test_its_file_brings_it_back(name: str, tmp_path: Path) -> None:
    spec = ModelConfig(backbone=TINY, adapter={"name": name}, head=NORMED)
    config = Config(output=tmp_path, model=spec, data=DataConfig(num_frames=4, crop_px=16))
    model = build({"name": name}, head=NORMED)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_adapter(model, config, list("abcde"), tmp_path / "a.safetensors")
    file = read_adapter(tmp_path / "a.safetensors")
    torch.manual_seed(0)
    again = build_model(file.config.model, 5, 4, 16)
    assert not logits(again).equal(logits(model))
    file.load_into(again)
    assert logits(again).equal(logits(model))


def logits(model: Classifier) -> Tensor:
    with torch.no_grad():
        return model.eval()(CLIP)


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_says_how_much_of_vit_b_it_trains(name: str) -> None:
    """With a bottleneck of 64, where it has one."""
    spec = {"name": name} | ({"bottleneck": 64} if "bottleneck" in ADAPTERS.schema(name) else {})
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone={"name": "vit"}, adapter=spec, head=NORMED), 5, 8, 224)
    count = sum(parameter.numel() for parameter in model.backbone.parameters() if parameter.requires_grad)
    assert count == 0 or f"{count:,}" in (ADAPTERS.get(name).__doc__ or ""), f"{count:,}"
