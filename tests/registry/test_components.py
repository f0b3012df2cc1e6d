"""Who may register what: a class of anyone under a name, a file of the package under its own, and none under another's."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from videoadapt.config.loading import COMPONENTS, load_config
from videoadapt.errors import ConfigError
from videoadapt.models.adapters import Adapter
from videoadapt.models.adapters.linear import Linear
from videoadapt.models.adapters.lora import LoRA
from videoadapt.registry import ADAPTERS, Registry, name_of


@pytest.fixture
def adapters() -> Registry:
    """One of adapters that nobody else sees."""
    return Registry("models.adapters")


def define(module: str, registry: Registry, name: str = "mine") -> type:
    """What a cell of a notebook, or a module, does: a class `Mine` in `module`, registered."""
    made = type("Mine", (), {"__module__": module, "__qualname__": "Mine"})
    return registry.register(name)(made)


def test_a_class_from_anywhere_under_a_name(adapters: Registry) -> None:
    mine = define("__main__", adapters)
    assert adapters.get("mine") is mine and "mine" in adapters.names()
    assert adapters.name_of(mine) == "mine"
    assert isinstance(adapters.build({"name": "mine"}), mine)


def test_a_cell_that_is_run_again_takes_the_place(adapters: Registry) -> None:
    define("__main__", adapters)
    again = define("__mp_main__", adapters)  # or the script, in a process that it started
    assert adapters.get("mine") is again and adapters.names().count("mine") == 1


def test_a_name_that_is_taken_is_refused(adapters: Registry) -> None:
    first = define("one", adapters)
    with pytest.raises(
        ConfigError, match=r"adapters: two\.Mine cannot be registered as 'mine', which is one\.Mine; choose"
    ):
        define("two", adapters)
    with pytest.raises(ConfigError, match=r"cannot be registered as 'lora', which is one of videoadapt's own"):
        define("two", adapters, "lora")
    assert adapters.get("mine") is first and ADAPTERS.get("lora") is LoRA


@pytest.mark.parametrize("name", ["", "my adapter", "1st", "../x"])
def test_a_name_that_a_config_cannot_hold_is_refused(adapters: Registry, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        define("one", adapters, name)


def test_only_a_file_of_the_package_has_its_name_by_itself(adapters: Registry) -> None:
    with pytest.raises(ConfigError, match=r"adapters: .*Here needs a name"):

        @adapters.register
        class Here:
            pass

    assert ADAPTERS.name_of(Linear) == "linear"


def test_unknown_names_are_answered_with_all_that_are_known(adapters: Registry) -> None:
    define("one", adapters)
    with pytest.raises(
        ConfigError, match=r"^adapters: name = 'mime': did you mean 'mine'\? allowed: .*linear.*, mine, "
    ):
        adapters.get("mime")


def test_a_file_without_a_class_is_named(monkeypatch: pytest.MonkeyPatch, adapters: Registry) -> None:
    monkeypatch.setitem(sys.modules, "videoadapt.models.adapters.linear", ModuleType("linear"))
    with pytest.raises(ConfigError, match=r"videoadapt\.models\.adapters\.linear: registers no class"):
        adapters.get("linear")


def test_names_for_messages() -> None:
    class Unknown(Adapter):
        pass

    assert name_of(LoRA()) == "lora" and name_of(Unknown()) == "Unknown"


def test_a_yaml_uses_what_is_registered(tmp_path: Path, adapters: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMPONENTS, ("model", "adapter"), adapters)

    @adapters.register("mine")
    class Mine(Adapter):
        def __init__(self, *, strength: int = 2):
            self.strength = strength

    path = tmp_path / "x.yaml"
    path.write_text("output: o\nmodel: {adapter: {name: mine, strength: 5}}\n")
    assert load_config(path).model.adapter == {"name": "mine", "strength": 5}
    with pytest.raises(ConfigError, match=r"model\.adapter\.strenth: unknown key; did you mean 'strength'"):
        load_config(path, ["model.adapter.strenth", "3"])
