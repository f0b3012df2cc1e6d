"""Components of installed packages: real distributions on the path, found by their entry points."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins import OPENING, install
from videoadapt.config.loading import COMPONENTS, load_config
from videoadapt.errors import ConfigError
from videoadapt.registry import ADAPTERS, BACKBONES, DATASETS, DECODERS, LOGGERS, SAMPLERS
from videoadapt.registry.components import Registry
from videoadapt.registry.plugins import installed

SAMPLER = f"""
from typing import Annotated
import numpy as np
from annotated_types import Ge
from videoadapt.video.samplers import Sampler

{OPENING}"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path for packages to be installed into; gone afterwards, and forgotten."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path / "site")
    installed.cache_clear()
    yield tmp_path / "site"
    installed.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


def test_an_installed_class_is_found_by_its_name(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "plugin-opening", {"samplers": "opening = plugin_opening:Opening"}, plugin_opening=SAMPLER)
    samplers = Registry("video.samplers")
    assert samplers.names() == ["dense", "opening", "segment"] and "plugin_opening" not in sys.modules
    assert samplers.complete({"name": "opening"}) == {"name": "opening", "skip": 0}
    assert samplers.build({"name": "opening", "skip": 3}).train_indices(9, 2, None).tolist() == [3, 4]
    with pytest.raises(ConfigError, match=r"^Opening: skip = -1: "):
        samplers.build({"name": "opening", "skip": -1})
    monkeypatch.setitem(COMPONENTS, ("data", "sampling"), samplers)
    path = tmp_path / "x.yaml"
    path.write_text("output: o\ndata: {sampling: {name: opening, skip: -1}}\n")
    with pytest.raises(ConfigError, match=r"data\.sampling\.skip = -1: input should be greater than or equal to 0"):
        load_config(path)


def test_its_module_may_register_it_as_well(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samplers = Registry("video.samplers")
    monkeypatch.setattr("videoadapt.registry.SAMPLERS", samplers)
    registering = SAMPLER.replace("class Op", '@SAMPLERS.register("opening_too")\nclass Op')
    code = f"from videoadapt.registry import SAMPLERS{registering}"
    install(site, "plugin-opening", {"samplers": "opening_too = plugin_opening:Opening"}, plugin_opening=code)
    assert samplers.get("opening_too").__module__ == "plugin_opening" and not samplers.from_outside()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("1 / 0", "ZeroDivisionError"),
        ("class Other: pass", "AttributeError: module 'plugin_bad' has no attribute 'Bad'"),
        ("Bad = 3", "is not a class"),
    ],
)
def test_a_broken_plugin_costs_only_itself(site: Path, tmp_path: Path, code: str, said: str) -> None:
    install(site, "plugin-bad", {"adapters": "bad = plugin_bad:Bad"}, plugin_bad=code)
    path = tmp_path / "x.yaml"
    path.write_text("output: o\nmodel: {adapter: {name: bad}}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (problem,) = caught.value.problems
    assert "model.adapter.name = 'bad': plugin_bad:Bad of the package plugin-bad" in problem and said in problem
    assert load_config(path, ["model.adapter={name: lora}"]).model.adapter["name"] == "lora"  # type: ignore[call-overload]
    assert "bad" in ADAPTERS.names()


def test_a_name_taken_twice_is_an_error(site: Path) -> None:
    for name in ("plugin-one", "plugin-two"):
        install(
            site, name, {"samplers": f"both = {name.replace('-', '_')}:Opening"}, **{name.replace("-", "_"): SAMPLER}
        )
    install(site, "plugin-three", {"samplers": "segment = plugin_three:Opening"}, plugin_three=SAMPLER)
    samplers = Registry("video.samplers")
    said = r"samplers: name = '{}': is taken by {} and by {}; uninstall one"
    with pytest.raises(
        ConfigError, match=said.format("both", "the package plugin-(one|two)", "the package plugin-(one|two)")
    ):
        samplers.get("both")
    with pytest.raises(ConfigError, match=said.format("segment", "videoadapt", "the package plugin-three")):
        samplers.get("segment")
    with pytest.raises(ConfigError, match="is taken by"):
        SAMPLERS.get("segment")  # which is imported already
    assert SAMPLERS.get("dense")
    with pytest.raises(ConfigError, match=r"cannot be registered as 'both', which is one of the package plugin-"):
        samplers.register("both")(type("Mine", (), {}))


def test_every_kind_has_its_group(site: Path) -> None:
    for kind, registry in {
        "adapters": ADAPTERS, "backbones": BACKBONES, "datasets": DATASETS, "decoders": DECODERS, "samplers": SAMPLERS,
        "loggers": LOGGERS,
    }.items():  # fmt: skip
        install(site, f"plugin-{kind}", {kind: f"of_{kind} = plugin_{kind}:X"}, **{f"plugin_{kind}": "class X: pass"})
        installed.cache_clear()
        assert f"of_{kind}" in registry.names()
