"""The registries of components: a config names a component, and the arguments of its constructor are what it may set.

A file of the package is found by its name. A class from anywhere else registers under a name (`@ADAPTERS.register("mine")`),
or an installed package names it as an entry point of the group `videoadapt.adapters`, `.backbones`, `.decoders`,
`.datasets`, `.samplers`, `.losses` or `.loggers`.
"""

from videoadapt.registry.components import Registry

__all__ = ["ADAPTERS", "BACKBONES", "DATASETS", "DECODERS", "LOGGERS", "LOSSES", "SAMPLERS", "Registry", "name_of"]

BACKBONES = Registry("models.backbones")
ADAPTERS = Registry("models.adapters")
DECODERS = Registry("video.decoders")
DATASETS = Registry("data.datasets")
SAMPLERS = Registry("video.samplers")
LOGGERS = Registry("runs.loggers")
LOSSES = Registry("training.losses")


def name_of(component: object) -> str:
    """Return the name by which a config calls the class of `component`; of a class without one, the class's own."""
    for registry in (BACKBONES, ADAPTERS, DECODERS, DATASETS, SAMPLERS, LOSSES, LOGGERS):
        if (name := registry.name_of(type(component))) is not None:
            return name
    return type(component).__name__
