"""Registries that find a component by the name of its file.

`ADAPTERS.get("lora")` imports `videoadapt/models/adapters/lora.py` and nothing else, and returns the class registered there.
Adding a component is adding a file: there is no list to edit.
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

from fvcore.common.registry import Registry as _FvcoreRegistry

from videoadapt.errors import ConfigError, did_you_mean


class Registry(_FvcoreRegistry):  # type: ignore[misc]
    """fvcore's registry over one folder of the package: the registered name is the name of the file."""

    def __init__(self, room: str):
        super().__init__(room.rpartition(".")[2])
        self._package = f"videoadapt.{room}"
        self._folder = Path(__file__).parent / room.replace(".", "/")

    def register(self, component: Any = None) -> Any:
        """Class decorator: register `component` under the name of the file that defines it."""
        self._do_register(component.__module__.rsplit(".", 1)[-1], component)
        return component

    def names(self) -> list[str]:
        """Names of all components, read off the folder without importing any of them."""
        return sorted(path.stem for path in self._folder.glob("*.py") if not path.stem.startswith("_"))

    def get(self, name: str) -> Any:
        """Return the component called `name`, importing its file when needed. Raises ConfigError for an unknown name."""
        if name not in self.names():
            raise ConfigError(f"{self._name}: no component '{name}'; {did_you_mean(name, self.names())}")
        if name not in self:
            importlib.import_module(f"{self._package}.{name}")
        return super().get(name)

    def schema(self, name: str) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters of the component's constructor: what a config may set."""
        parameters = inspect.signature(self.get(name).__init__, eval_str=True).parameters
        return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def build(self, spec: dict[str, Any], *args: Any) -> Any:
        """Construct `spec["name"]` with positional `args` from the program and keyword arguments from the config."""
        return self.get(spec["name"])(*args, **{key: value for key, value in spec.items() if key != "name"})


BACKBONES = Registry("models.backbones")
ADAPTERS = Registry("models.adapters")
DECODERS = Registry("video.decoders")
DATASETS = Registry("data.datasets")
SAMPLERS = Registry("video.samplers")
