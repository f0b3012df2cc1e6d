"""Which adapter fits which of timm's families, as docs/image_models.md says: each is built and trained for a step."""

import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from tests.models.timm_models import FAMILIES, build_small, clip_for, in_the_page, small_net
from videoadapt.errors import ConfigError
from videoadapt.models.adapters import build_adapter
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.registry import ADAPTERS

CELLS = [(family, name) for family in FAMILIES for name in ADAPTERS.names()]


def test_the_page_has_every_family_and_every_adapter() -> None:
    assert sorted(in_the_page()) == sorted(CELLS)


@pytest.mark.parametrize(("family", "name"), CELLS, ids=[f"{family}-{name}" for family, name in CELLS])
def test_it_works_or_is_refused_as_the_page_says(family: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = in_the_page()[family, name]
    try:
        model = build_small(monkeypatch, FAMILIES[family], {"name": name})
    except ConfigError as error:
        assert said == "no" and re.search(rf"adapter {name}: backbone timm|model\.adapter\.\w+ = ", str(error))
        return
    starts_as_it_says(model, family, name)
    trains_all_of_it(model, family)
    state = {key: tensor.clone() for key, tensor in trainable_state(model).items()}
    again = build_small(monkeypatch, FAMILIES[family], {"name": name})
    load_trainable_state(again, state, Path("state"))
    with torch.no_grad():
        torch.testing.assert_close(again(clip_for(FAMILIES[family])), model(clip_for(FAMILIES[family])))
    try:
        build_adapter({"name": name}).merge(model.backbone)
    except ConfigError:
        assert said == "yes"
    else:
        assert said == "merges"
        assert set(model.backbone.state_dict()) == bare(family).keys


class Bare(NamedTuple):
    """timm's own network: its features of the clips, and the keys that its tensors have in our backbone."""

    features_BD: Tensor
    keys: set[str]


@functools.cache
@torch.no_grad()
def bare(family: str) -> Bare:
    """One for all adapters: every `small_net` of a family is the same."""
    net = small_net(FAMILIES[family])
    frames = clip_for(FAMILIES[family]).transpose(1, 2).flatten(0, 1)
    return Bare(net(frames).unflatten(0, (2, -1)).mean(1), {f"net.{key}" for key in net.state_dict()})


@torch.no_grad()
def starts_as_it_says(model: Classifier, family: str, name: str) -> None:
    found_BD = model.backbone(clip_for(FAMILIES[family]))
    assert found_BD.allclose(bare(family).features_BD, rtol=0, atol=1e-6) == ADAPTERS.get(name).starts_unchanged


def trains_all_of_it(model: Classifier, family: str) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # no gradient is zero only because a factor starts at zero
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.train()(clip_for(FAMILIES[family])).square().sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), key
        else:
            assert parameter.grad is None, key
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    model.eval()
