"""To another process: its function, and the decoders, samplers and loggers that were registered here by name.

A class of a notebook or a script cannot be imported there, so cloudpickle sends what it consists of; a class of a module
is imported there by its name.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import cloudpickle

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.registry import DECODERS, LOGGERS, SAMPLERS
from videoadapt.registry.components import Registry

Function = TypeVar("Function", bound=Callable[..., Any])
_CURE = "define it in a module and import it from there, or read with `workers` 0"
_ELSEWHERE = {registry.kind: registry for registry in (DECODERS, SAMPLERS, LOGGERS)}


def transferable(function: Function) -> Function:
    """Return what pickles as `function` and is `function` again in another process, which then knows the components.

    Raises ConfigError where something in it cannot be sent.
    """
    return cast(Function, _Transfer(function))


class _Transfer:
    def __init__(self, function: Callable[..., Any]):
        plain = function.func if isinstance(function, partial) else function
        self.__module__ = plain.__module__  # a process may import it before it gets to work
        self._components = [
            _sent(registry, name, component)
            for registry in _ELSEWHERE.values()
            for name, component in registry.from_outside().items()
        ]
        try:
            self._function = cloudpickle.dumps(function)
        except Exception as error:  # whatever the pickling of a user's objects raises
            raise ConfigError(f"what reads the videos cannot be sent to another process ({error}); {_CURE}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (self._components, self._function)


def _sent(registry: Registry, name: str, component: type) -> tuple[str, str, bytes | str]:
    """Kind, name and pickled class, or why it cannot be pickled: it may be one that nobody asks for."""
    try:
        return registry.kind, name, cloudpickle.dumps(component)
    except Exception as error:  # noqa: BLE001 - whatever a notebook holds that the class refers to
        return registry.kind, name, f"{error}"


def _receive(components: list[tuple[str, str, bytes | str]], function: bytes) -> Callable[..., Any]:
    for kind, name, sent in components:
        _ELSEWHERE[kind].expect(name, partial(_component, kind, name, sent))
    received: Callable[..., Any] = cloudpickle.loads(function)
    return received


def _component(kind: str, name: str, sent: bytes | str) -> type:
    if isinstance(sent, str):
        raise ArgumentError(kind, f"name = {name!r}: its class cannot be sent to another process ({sent}); {_CURE}")
    component: type = cloudpickle.loads(sent)
    return component
