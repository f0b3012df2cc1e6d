"""Keyword arguments of one call find the component that they belong to."""

from typing import Any

import pytest

from videoadapt.errors import ConfigError
from videoadapt.models.arguments import model_components


@pytest.mark.parametrize(
    ("call", "backbone", "adapters"),
    [
        (("vit", "linear", {}), {"name": "vit"}, [{"name": "linear"}]),
        (
            ("vit", "adaptformer", {"size": "tiny", "bottleneck": 8, "depth": 2}),
            {"name": "vit", "size": "tiny", "depth": 2},
            [{"name": "adaptformer", "bottleneck": 8}],
        ),
        (
            ({"name": "vit", "size": "base"}, ["adaptformer", {"name": "lora", "rank": 2}], {"bottleneck": 8}),
            {"name": "vit", "size": "base"},
            [{"name": "adaptformer", "bottleneck": 8}, {"name": "lora", "rank": 2}],
        ),
    ],
)
def test_where_arguments_go(
    call: tuple[Any, Any, Any], backbone: dict[str, Any], adapters: list[dict[str, Any]]
) -> None:
    before = repr(call)
    assert model_components(*call) == (backbone, adapters)
    assert repr(call) == before  # what the caller handed over is not changed


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("vot", "linear", {}), r"^backbone = 'vot': did you mean 'vit'\? allowed: .*timm"),
        (("vit", "adaptfromer", {}), r"^adapter = 'adaptfromer': did you mean 'adaptformer'\? "),
        (("vit", {"bottleneck": 4}, {}), r"^adapter = \{'bottleneck': 4\}: expected a name, or a mapping with a `name`"),
        (("vit", [], {}), r"^adapter = \[\]: "),
        (("vit", "adaptformer", {"botleneck": 4}), r"^botleneck: no argument of vit or adaptformer; did you mean 'bott"),
        (("vit", ["houlsby", "st_adapter"], {"bottleneck": 4}), r"^bottleneck: houlsby and st_adapter take it; .*\"st_adapter"),
        (({"name": "vit", "depth": 3}, "linear", {"depth": 2}), r"^depth: given twice to vit"),
        (("vit", "linear", {"wdith": 1, "rank": 2}), r"(?s)^wdith: no argument .*\nrank: no argument "),
    ],
)  # fmt: skip
def test_arguments_that_find_no_place(call: tuple[Any, Any, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        model_components(*call)
