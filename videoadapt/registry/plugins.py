"""Components of installed packages: the entry points of the groups `videoadapt.adapters`, `.backbones` and so on."""

from collections import defaultdict
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isclass

from videoadapt.errors import ArgumentError


@cache  # a file of every installed package is read for it
def installed(kind: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points for components of this kind by their names; nothing is imported."""
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for plugin in entry_points(group=f"videoadapt.{kind}"):
        found[plugin.name].append(plugin)
    return dict(found)


def load_plugin(plugin: EntryPoint, kind: str) -> type:
    """Import the class of a plugin. Raises ConfigError, naming its package, when that fails."""
    where = f"name = {plugin.name!r}: {plugin.value} of {package_of(plugin)}"
    try:
        component = plugin.load()
    except Exception as error:  # whatever code of others raises; it continues with the name of its package
        raise ArgumentError(
            kind, f"{where} cannot be imported ({type(error).__name__}: {error}); repair or uninstall that package"
        ) from error
    if not isclass(component):
        raise ArgumentError(kind, f"{where} is not a class; repair or uninstall that package")
    return component


def package_of(plugin: EntryPoint) -> str:
    """Return what a person uninstalls to be rid of a plugin."""
    return f"the package {plugin.dist.name if plugin.dist else plugin.module}"
