"""Several methods at once: everything that works for one works for the list, or the list is refused with a reason."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.toy_models import CLIP, build, shake
from tests.toy_runs import assert_same_run, toy_config, write_config
from videoadapt.cli import demo, train
from videoadapt.config.loading import dump_config, load_config
from videoadapt.errors import ConfigError
from videoadapt.models.adapters import build_adapter
from videoadapt.models.classifier import Classifier
from videoadapt.models.parameters import parameter_table
from videoadapt.registry import ADAPTERS
from videoadapt.training.resume import check_may_resume
from videoadapt.weights.formats import plain_name

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
COMBINED = [name for name in ADAPTERS.names() if not ADAPTERS.get(name).alone]
REFUSED = {"lora", "ssf"}
PAIRS = [pair for pair in itertools.combinations(COMBINED, 2) if set(pair) != REFUSED]


def of_the_trunk(model: Classifier) -> set[str]:
    """The trunk's own tensors that train."""
    found = {plain_name(name) for name, p in model.backbone.named_parameters() if p.requires_grad}
    return {name for name in found if ".adapter." not in name}


def added(model: Classifier) -> int:
    return sum(row.num_parameters for row in parameter_table(model) if row.group == "adapter")


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_two_methods_train_the_union_in_either_order(pair: tuple[str, str]) -> None:
    alone = [build({"name": name}) for name in pair]
    for order in (pair, pair[::-1]):
        model = build([{"name": name} for name in order])
        assert of_the_trunk(model) == of_the_trunk(alone[0]) | of_the_trunk(alone[1])
        assert added(model) == added(alone[0]) + added(alone[1])
        shake(model)
        F.cross_entropy(model(CLIP), torch.arange(4)).backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert all(grad is not None and grad.isfinite().all() and grad.any() for grad in gradients.values())


def test_a_later_method_stands_around_an_earlier_one() -> None:
    model = build([{"name": "adaptformer", "bottleneck": 3}, {"name": "adapter_plus", "bottleneck": 5}]).eval()
    shake(model)
    block = model.backbone.blocks[0]
    x = torch.randn(2, 4, 32)
    y = x + block.attn(x)
    z = y + block.mlp.branch.branch(y) + block.mlp.branch.adapter(y)
    torch.testing.assert_close(block(x), z + block.mlp.adapter(z))


def test_vpt_tokens_pass_st_adapter_untouched() -> None:
    model = build([{"name": "st_adapter", "bottleneck": 4}, {"name": "vpt", "num_tokens": 3}]).eval()
    shake(model)
    model(CLIP)  # the grid is that of the last clip
    adapter = model.backbone.blocks[0].branch.attn.adapter
    tokens = torch.randn(2, 3 + 8, 32)
    added_BND = adapter(tokens)
    assert not added_BND[:, :3].any() and added_BND[:, 3:].equal(adapter(tokens[:, 3:]))


def test_merging_all_or_none() -> None:
    spec = [{"name": "bitfit"}, {"name": "lora", "targets": ["q", "fc1"]}]
    model = build(spec).eval()
    shake(model)
    before = model(CLIP)
    build_adapter(spec).merge(model.backbone)
    assert not any("adapter" in name or "branch" in name for name in model.state_dict())
    torch.testing.assert_close(model(CLIP), before, rtol=0, atol=1e-5)
    spec = [{"name": "lora"}, {"name": "adaptformer"}]
    model = build(spec).eval()
    names = list(model.state_dict())
    with pytest.raises(ConfigError, match="adapter adaptformer: cannot be merged"):
        build_adapter(spec).merge(model.backbone)
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ([{"name": "full"}, {"name": "lora"}], "full cannot be combined with other methods, because it trains everything"),
        ([{"name": "lora"}, {"name": "linear"}], "linear cannot be combined with other methods"),
        ([{"name": "lora"}, {"name": "vpt"}, {"name": "lora"}], "model.adapter: lora appears twice"),
        ([{"name": "lora"}, {"name": "ssf"}], "lora and ssf both change the layer"),
        ([{"name": "ssf"}, {"name": "lora"}], "ssf and lora both change the layer"),
        ([{"name": "lora"}, {"name": "adaptformer", "bottleneck": 0}], r"^model\.adapter\.1\.bottleneck = 0"),
        ([{"name": "lora"}, {"name": "vpt"}, {"name": "adaptformer", "blocks": [9]}], r"^model\.adapter\.2\.blocks = \[9\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_says_why(spec: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build(spec)


def test_without_a_config_no_key_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        build_adapter([{"name": "lora", "rank": 0}, {"name": "adaptformer", "dropout": 1.0}])
    assert [problem.split(" = ")[0] for problem in caught.value.problems] == ["LoRA: rank", "AdaptFormer: dropout"]
    with pytest.raises(ConfigError, match=r"^adapters: lora appears twice"):
        build_adapter([{"name": "lora"}, {"name": "lora"}])


def test_a_list_in_the_config_and_on_the_command_line(tmp_path: Path) -> None:
    both = "model.adapter=[{name: adaptformer, bottleneck: 4}, {name: lora}]"
    config = load_config(QUICKSTART, [both, "model.adapter.1.rank", "3"])
    assert [part["name"] for part in config.model.adapter] == ["adaptformer", "lora"]
    assert (config.model.adapter[0]["bottleneck"], config.model.adapter[1]["rank"]) == (4, 3)
    (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "c.yaml") == config
    assert load_config(QUICKSTART, ["model.adapter=[{name: lora}]"]) == load_config(
        QUICKSTART, ["model.adapter={name: lora}"]
    )
    for overrides, complaint in (
        ([both, "model.adapter.2.rank", "3"], "key 2: the list has only the elements 0 to 1"),
        (["model.adapter=[]"], r"model\.adapter = \[\]: names no component"),
        (
            ["model.adapter=[{name: lora, rnk: 1}, {name: vtp}]"],
            r"(?s)adapter\.0\.rnk.*'rank'.*adapter\.1\.name.*'vpt'",
        ),
    ):
        with pytest.raises(ConfigError, match=complaint):
            load_config(QUICKSTART, overrides)


def test_another_list_is_another_run(tmp_path: Path) -> None:
    one, other = (
        load_config(QUICKSTART, [f"model.adapter=[{{name: lora}}, {{name: {name}}}]"]).model_dump(mode="json")
        for name in ("vpt", "bitfit")
    )
    with pytest.raises(ConfigError, match=r"model\.adapter"):
        check_may_resume("strict", one, other, tmp_path)


@pytest.mark.slow
def test_a_run_of_two_methods_resumes_and_leaves_its_file(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = [{"name": "adaptformer", "bottleneck": 4}, {"name": "lora", "rank": 2}, {"name": "attentive_probe"}]
    for folder, epochs in (("whole", [2]), ("parts", [1, 2])):
        for last in epochs:
            config = toy_config(
                tmp_path / folder,
                clips,
                model={"adapter": spec},
                optim={"warmup_epochs": 0, "min_lr_per_256": 0.05},
                train={"epochs": last, "resume": "force"},
            )
            assert train.main(["--cfg", str(write_config(tmp_path / "c.yaml", config))]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    answers = []
    video = str(next(clips.glob("test/*/*.mp4")))
    for source in (["--run", str(tmp_path / "whole")], ["--adapter", str(tmp_path / "parts" / "adapter.safetensors")]):
        capsys.readouterr()
        assert demo.main([video, *source, "--json"]) == 0
        answers.append(capsys.readouterr().out.partition("predictions")[2])
    assert answers[0] == answers[1] != ""
