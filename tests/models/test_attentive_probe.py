"""The attentive probe is V-JEPA's; one of an older version, with a projection more, keeps its answers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.toy_models import CLIP, build, shake
from videoadapt.errors import CheckpointError
from videoadapt.models.adapters.attentive_probe import AttentivePool
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import load_trainable_state, trainable_state
from videoadapt.training.classification import Classification
from videoadapt.training.mixup import Mixup
from videoadapt.training.updater import Updater

PROBE = {"name": "attentive_probe"}


@pytest.mark.slow  # importing transformers takes seconds
def test_it_equals_the_pooler_of_v_jepa_2_in_transformers() -> None:
    vjepa2 = pytest.importorskip("transformers.models.vjepa2", reason="compared with transformers' own V-JEPA 2")
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

    torch.manual_seed(0)
    pool = AttentivePool(32, 4, 4.0).double()
    shake(pool)
    config = vjepa2.VJEPA2Config(
        hidden_size=32, num_attention_heads=4, num_pooler_layers=0, layer_norm_eps=1e-5, attn_implementation="sdpa"
    )
    theirs = VJEPA2AttentivePooler(config).double().eval()
    theirs.load_state_dict(in_their_names(pool))
    x = torch.randn(3, 7, 32, dtype=torch.float64)
    torch.testing.assert_close(pool(x), theirs(x), rtol=0, atol=1e-12)  # float64: rounding alone


def in_their_names(pool: Any) -> dict[str, Tensor]:
    layer = "cross_attention_layer"
    names = {"tokens_norm": "layer_norm1", "norm": "layer_norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    names["attention.q"] = "cross_attn.q_proj"
    found = {"query_tokens": pool.query}
    for kind in ("weight", "bias"):
        found |= {f"{layer}.{new}.{kind}": pool.get_parameter(f"{old}.{kind}") for old, new in names.items()}
        keys, values = pool.attention.kv.get_parameter(kind).chunk(2)
        found |= {f"{layer}.cross_attn.k_proj.{kind}": keys, f"{layer}.cross_attn.v_proj.{kind}": values}
    return found


def with_projection() -> tuple[Classifier, dict[str, Tensor]]:
    """A model as an older version built and trained it, and its state."""
    model = build(PROBE).eval()
    pool: Any = model.backbone.get_submodule("pool.adapter")
    pool.attention.proj = nn.Linear(32, 32)
    shake(model)
    return model, {name: tensor.clone() for name, tensor in trainable_state(model).items()}


def test_a_probe_of_an_older_version_keeps_its_projection(tmp_path: Path) -> None:
    old, state = with_projection()
    assert sum("attention.proj" in name for name in state) == 2
    new = build(PROBE).eval()
    load_trainable_state(new, state, tmp_path / "step_00000001.pt")
    new.backbone.load_state_dict(old.backbone.state_dict())  # the frozen trunk was moved as well
    torch.testing.assert_close(new(CLIP), old(CLIP), rtol=0, atol=0)


def test_a_new_probe_does_not_train_on_from_an_older_one(tmp_path: Path) -> None:
    _, state = with_projection()
    model = build(PROBE)
    mixup = Mixup(mixup_alpha=0, cutmix_alpha=0, label_smoothing=0, num_classes=5)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    updater = Updater(model, Classification(mixup), torch.optim.SGD(trained), lambda step: 0.1)
    with pytest.raises(
        CheckpointError, match=r"a.pt: holds what only an older version trains \(.*attention\.proj\.bias"
    ):
        updater.restore({**updater.state(), "model": state}, tmp_path / "a.pt")
