"""A registry: names to component classes, each imported when it is first asked for."""

import importlib
import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

from videoadapt.errors import ArgumentError, ConfigError, did_you_mean
from videoadapt.registry._names import Names
from videoadapt.registry.plugins import installed, load_plugin, package_of
from videoadapt.registry.signature import arguments_of, check_calls, complete

Component = TypeVar("Component", bound=type)


class _Named:
    """A component and the name that a config calls it by; fvcore keeps an object under its `__name__`."""

    def __init__(self, name: str, component: type):
        self.__name__ = name
        self.component = component


class Registry:
    """The components of one kind: files in a folder of the package, classes registered by name, and installed plugins."""

    def __init__(self, folder: str):
        """`folder` is dotted and below the package, such as "models.adapters"; its last part is the `kind`."""
        self.kind = folder.rpartition(".")[2]
        self._package = f"videoadapt.{folder}"
        files = Path(__file__).parents[1].joinpath(*folder.split(".")).glob("*.py")
        self._files = [path.stem for path in files if not path.stem.startswith("_")]
        self._known = Names(self.kind)
        self._later: dict[str, Callable[[], type]] = {}  # names of classes that `expect` promised

    @overload
    def register(self, name: str) -> Callable[[Component], Component]: ...
    @overload
    def register(self, name: Component) -> Component: ...
    def register(self, name: Any) -> Any:
        """Class decorator: `@REGISTRY.register("mine")`, or in a file of the package `@REGISTRY.register`: the file's name.

        From then on calls of the class check their keyword-only arguments. A class that is defined again, as a notebook's
        cell does, takes the place of the first. Raises ConfigError for a name that is taken, or none.
        """
        if isinstance(name, str):
            return partial(self._add, name)
        package, _, file = name.__module__.rpartition(".")
        if package != self._package:
            raise ConfigError(f"{self.kind}: {_origin(name)} needs a name to be registered under, register('a_name')")
        self._put(file, name)
        return name

    def names(self) -> list[str]:
        """Names of all components, without importing any of them."""
        return sorted({*self._files, *installed(self.kind), *self._later, *(name for name, _ in self._known)})

    def get(self, name: str) -> Any:
        """Return the component called `name`, importing it when needed.

        Raises ConfigError for a name that no component has, or two have, and for a plugin that cannot be imported.
        """
        owners = [*["videoadapt"] * (name in self._files), *map(package_of, installed(self.kind).get(name, []))]
        if len(owners) > 1:
            said = f"is taken by {' and by '.join(owners)}; uninstall one, or have it renamed"
            raise ArgumentError(self.kind, f"name = {name!r}: {said}")
        if name in self._later or name not in self._known:
            self._find(name)
        return self._known.get(name).component

    def name_of(self, component: type) -> str | None:
        """Return the name under which this class is registered, or None."""
        return next((name for name, known in self._known if known.component is component), None)

    def schema(self, name: str) -> dict[str, inspect.Parameter]:
        """Keyword-only parameters of the component's constructor: what a config may set."""
        return arguments_of(self.get(name))

    def complete(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return `spec`, a name and arguments, checked and with every default, in plain types as a yaml has them.

        Raises ConfigError with all problems: an unknown name, unknown arguments, wrong types, values out of range.
        """
        component = self.get(spec["name"])
        return {"name": spec["name"], **complete(component, {key: spec[key] for key in spec if key != "name"})}

    def build(self, spec: dict[str, Any], *args: Any) -> Any:
        """Construct `spec["name"]` with positional `args` from the program and keyword arguments from the config."""
        return self.get(spec["name"])(*args, **{key: value for key, value in spec.items() if key != "name"})

    def from_outside(self) -> dict[str, type]:
        """Return the classes that were registered by name, which another process does not find by itself."""
        own = {*self._files, *installed(self.kind)}
        return {name: known.component for name, known in self._known if name not in own}

    def expect(self, name: str, load: Callable[[], type]) -> None:
        """Let `load` give the class called `name`, once it is asked for."""
        self._later[name] = load

    def _add(self, name: str, component: Component) -> Component:
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", name):
            raise ConfigError(
                f"{self.kind}: {name!r} is no name; allowed: a letter, then letters, digits, `_`, `.`, `-`"
            )
        if owner := self._owner(name, component):
            raise ConfigError(
                f"{self.kind}: {_origin(component)} cannot be registered as {name!r}, which is {owner}; choose another name"
            )
        self._put(name, component)
        return component

    def _owner(self, name: str, component: type) -> str:
        """Say what else than this class has the name; "" where nothing has."""
        if name in self._files:
            return "one of videoadapt's own"
        for plugin in installed(self.kind).get(name, []):
            if plugin.module.partition(".")[0] != component.__module__.partition(".")[0]:
                return f"one of {package_of(plugin)}"
        known = _origin(self._known.get(name).component) if name in self._known else _origin(component)
        return "" if known == _origin(component) else known

    def _put(self, name: str, component: type) -> None:
        check_calls(component)
        if name in self._known:
            self._known.get(name).component = component
        else:
            self._known.register(_Named(name, component))

    def _find(self, name: str) -> None:
        """Import what has this name: what was promised, a file, a plugin."""
        if name in self._later:
            self._put(name, self._later[name]())
            del self._later[name]
        elif name in self._files:
            importlib.import_module(f"{self._package}.{name}")
            if name not in self._known:
                raise ConfigError(f"{self._package}.{name}: registers no class; put the registry's decorator above one")
        elif plugins := installed(self.kind).get(name):
            self._put(name, load_plugin(plugins[0], self.kind))
        else:
            raise ArgumentError(self.kind, f"name = {name!r}: {did_you_mean(name, self.names())}")


def _origin(component: type) -> str:
    """Module and name of a class; a script's is `__main__` also in the processes that it starts."""
    return f"{component.__module__.replace('__mp_main__', '__main__')}.{component.__qualname__}"
