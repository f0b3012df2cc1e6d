"""`_CHOOSE_` of a yaml: several configs, of which the first is taken that this machine and the weights on it can run.

A config asks for a GPU with `device: cuda`, and for weights with `model.weights`. The last one is taken where none of those
before it can be.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videoadapt.config.shipped import find_beside, find_config
from videoadapt.config.yaml_files import merge, read_yaml
from videoadapt.distributed import choose_device
from videoadapt.errors import ConfigError
from videoadapt.paths import exists, is_file
from videoadapt.weights.files import weights_path

KEY = "_CHOOSE_"


def with_choice(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """The mapping of the yaml at `path`, over the config that its `_CHOOSE_` leads to; itself where it has none.

    `chosen` then says which, and why none before it. What a run in `output` was made from stays the choice.
    Raises ConfigError.
    """
    if KEY not in raw:
        return raw
    names = raw.pop(KEY)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{KEY} = {names}: expected a list of configs, the preferred one first")
    configs = {name: read_yaml(find_beside(find_config(path).resolve(), name)) for name in names}
    if (before := _before(raw)) in configs:
        return merge(configs[before], {**raw, "chosen": f"{before}: as before in {raw.get('output')}"})
    passed = []
    for name in names[:-1]:
        if not (reason := _why_not(configs[name], raw)):
            break
        passed.append(f"{name} needs {reason}")
    else:
        name = names[-1]
    return merge(configs[name], {**raw, "chosen": f"{name}: {'; '.join(passed) or 'all that it needs is here'}"})


def _why_not(config: dict[str, Any], raw: Mapping[str, Any]) -> str:
    """What this machine lacks for a config, with the values that go over it; "" where nothing."""
    if config.get("device") == "cuda" and choose_device(raw.get("device") or "auto").type != "cuda":
        return (
            "a GPU, and none is here"
            if raw.get("device") in (None, "auto")
            else f"a GPU, and device is {raw['device']}"
        )
    model = merge(config.get("model", {}), raw.get("model", {}))
    weights = model.get("weights") if isinstance(model, dict) else None
    if isinstance(weights, str) and not exists(weights_path(weights)):
        return f"{weights}, which is not there"
    return ""


def _before(raw: Mapping[str, Any]) -> str:
    """Which config the run in `output` was made from; "" where there is none."""
    path = Path(str(raw.get("output", ""))) / "config.yaml"
    said = read_yaml(path).get("chosen") if is_file(path) else None
    return str(said or "").partition(":")[0]
