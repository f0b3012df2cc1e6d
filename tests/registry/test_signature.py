"""The signature is the schema: of a yaml, where a number may be text, and of a call, where it may not."""

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, MinLen
from pydantic import ValidationError

from videoadapt.errors import ArgumentError, ConfigError, at_key
from videoadapt.registry import Registry
from videoadapt.registry.refused_keys import explain


def new_registry() -> Registry:
    """One of adapters that knows nothing of the others'."""
    return Registry("models.adapters")


@pytest.fixture
def parts() -> Registry:
    registry = new_registry()

    @registry.register("part")
    class Part:
        def __init__(
            self,
            given: str = "",
            /,
            *,
            size: Annotated[int, Ge(1)] = 3,
            kernel: tuple[int, int] = (1, 1),
            scale: float | Literal["learnable"] = 0.1,
            names: Annotated[list[str], MinLen(1)] | None = None,
            path: Path = Path("x"),
        ):
            if size > kernel[0] * 100:
                raise ConfigError([f"size = {size}: too large for the kernel", "kernel: too small"])
            self.values = (given, size, kernel, scale, names, path)

    return registry


def test_a_config_is_completed_and_may_write_numbers_as_text(parts: Registry) -> None:
    found = parts.complete({"name": "part", "size": "7", "kernel": [3, 1]})
    assert found == {"name": "part", "size": 7, "kernel": [3, 1], "scale": 0.1, "names": None, "path": "x"}
    assert parts.build(found, "g").values == ("g", 7, (3, 1), 0.1, None, Path("x"))  # of the annotated types


def test_all_problems_of_a_config_at_once(parts: Registry) -> None:
    wrong = {"size": 0, "kernel": [1], "scale": "big", "names": [], "pth": 1}
    with pytest.raises(ConfigError) as caught, at_key("model.adapter"):
        parts.complete({"name": "part", **wrong})
    assert caught.value.problems == [
        "model.adapter.size = 0: input should be greater than or equal to 1",
        "model.adapter.kernel.1: a value is required; set it in the yaml, or on the command line",
        "model.adapter.scale = 'big': input should be a valid number, unable to parse string as a number, or input should "
        "be 'learnable'",
        "model.adapter.names = []: list should have at least 1 item after validation, not 0",
        "model.adapter.pth: unknown key; did you mean 'path'? allowed: kernel, name, names, path, scale, size",
    ]


def test_no_number_is_larger_than_torch_takes(parts: Registry) -> None:
    with pytest.raises(ConfigError, match=rf"size = {2**63}: allowed: below 2\*\*63"):
        parts.complete({"name": "part", "size": 2**63, "kernel": [3, 1]})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 0}, "size = 0: input should be greater than or equal to 1"),
        ({"size": "64"}, "size = '64': input should be a valid integer"),
        ({"size": 2.5}, "size = 2.5: input should be a valid integer"),
        ({"size": True}, "size = True: input should be a valid integer"),
        ({"size": int}, "size = \"<class 'int'>\": input should be a valid integer"),
        ({"sice": 3}, "sice: unknown argument; did you mean 'size'? allowed: kernel, names, path, scale, size"),
    ],
)
def test_a_call_is_checked_and_names_no_key(parts: Registry, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parts.get("part")(**given)
    assert caught.value.problems == [f"Part: {said}"]


def test_a_call_may_use_what_python_has(parts: Registry) -> None:
    part = parts.get("part")("g", size=np.int64(4), kernel=(2, 5), scale=1, names=("a",), path=Path("/y"))
    assert part.values == ("g", 4, (2, 5), 1, ["a"], Path("/y"))
    with pytest.raises(TypeError, match="positional"):
        parts.get("part")("g", "h")


def test_the_signature_stays_readable(parts: Registry) -> None:
    assert list(parts.schema("part")) == ["size", "kernel", "scale", "names", "path"]
    assert "size: Annotated[int, Ge(ge=1)] = 3" in str(inspect.signature(parts.get("part"))).replace("typing.", "")


def test_what_a_constructor_refuses_has_the_form_of_a_range(parts: Registry) -> None:
    with pytest.raises(ArgumentError, match=r"^Part: size = 101: too large for the kernel\nPart: kernel: too small$"):
        parts.get("part")(size=101)
    said = r"^a\.b\.size = 101: too large for the kernel\na\.b\.kernel: too small$"
    with pytest.raises(ConfigError, match=said), at_key("a.b"):
        parts.build({"name": "part", "size": 101})


def test_a_subclass_checks_its_own_arguments(parts: Registry) -> None:
    parent: Any = parts.get("part")

    @parts.register("child")
    class Child(parent):  # type: ignore[misc]
        def __init__(self, *, size: Annotated[int, Ge(10)] = 10, extra: int = 0):
            super().__init__(size=size - extra)

    assert Child(extra=2).values[1] == 8
    with pytest.raises(ConfigError, match=r"^Child: size = 9: "):
        Child(size=9)
    with pytest.raises(ConfigError, match=r"^Part: size = -10: "):
        Child(extra=20)


def test_arguments_that_no_yaml_can_set_are_named() -> None:
    registry = new_registry()

    @registry.register("bare")
    class Bare:
        def __init__(self, *, size=3):  # type: ignore[no-untyped-def]
            pass

    @registry.register("odd")
    class Odd:
        def __init__(self, *, rng: np.random.Generator | None = None):
            pass

    with pytest.raises(ConfigError, match=r"Bare: size: needs an annotation, such as `size: int`"):
        registry.complete({"name": "bare"})
    with pytest.raises(ConfigError, match=r"Odd: .* no yaml can hold: .*numpy.*Generator"):
        Odd()


def test_explaining_follows_unions_of_models() -> None:
    from videoadapt.config.schema import Config

    raw = {"output": "o", "data": {"val": {"holdot": 0.1}, "classes": 1.5, "rendered": {"motions": "x"}}}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(raw)
    lines = explain(caught.value, Config)
    assert lines == [
        "data.rendered.motions = 'x': input should be 'quickstart', 'trunk' or 'any'",
        "data.rendered.clips_per_epoch: a value is required; set it in the yaml, or on the command line",
        "data.val.holdout: a value is required; set it in the yaml, or on the command line",
        "data.val.holdot: unknown key; did you mean 'holdout'? allowed: group, holdout",
        "data.classes = 1.5: input should be a valid string, or input should be a valid integer, got a number with a "
        "fractional part",
    ]
