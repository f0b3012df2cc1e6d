"""A constructor's keyword-only arguments are the schema: of a yaml, which is completed, and of a call in Python.

Ranges stand in the annotations: `bottleneck: Annotated[int, Ge(1)] = 64`.
"""

import inspect
from collections.abc import Iterator, Mapping
from functools import cache, wraps
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from videoadapt.errors import ArgumentError, ConfigError
from videoadapt.registry.refused_keys import explain


def arguments_of(component: type) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a class's constructor. Raises ConfigError for one without an annotation."""
    try:
        parameters = inspect.signature(component.__init__, eval_str=True).parameters  # type: ignore[misc]
    except NameError as error:
        raise ConfigError(
            f"{component.__qualname__}: an annotation of its constructor has no meaning: {error}"
        ) from error
    found = {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    bare = [name for name, p in found.items() if p.annotation is inspect.Parameter.empty]
    if bare:
        raise ConfigError(f"{component.__qualname__}: {', '.join(bare)}: needs an annotation, such as `{bare[0]}: int`")
    return found


def complete(component: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a config gives, checked and with every default, in plain types as a yaml has them.

    Numbers may be written as text. Raises ArgumentError with all problems.
    """
    schema = _schema_of(component)
    fields = schema.model_fields
    booleans = [
        name for name, value in given.items() if name in fields and is_no_number(value, fields[name].annotation)
    ]
    if booleans:
        raise ArgumentError(component.__name__, [f"{name} = {given[name]}: a number is expected" for name in booleans])
    try:
        found = schema.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        raise ArgumentError(component.__name__, explain(error, schema, also=["name"])) from error
    large = [name for name, value in found.items() if isinstance(value, int) and abs(value) >= 2**63]
    if large:
        raise ArgumentError(component.__name__, [f"{name} = {found[name]}: allowed: below 2**63" for name in large])
    return found


def is_no_number(value: Any, annotation: Any) -> bool:
    """Whether true or false stands for a number: it would be taken for 1 or 0, `lr_per_256: true` for a rate of 1.0."""
    kinds = list(_kinds(annotation))
    return _holds_boolean(value) and bool not in kinds and Any not in kinds and (int in kinds or float in kinds)


def _kinds(annotation: Any) -> Iterator[Any]:
    """The annotation and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _holds_boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_boolean, value)))


def check_calls(component: type) -> None:
    """Have the class's constructor check its keyword-only arguments, whoever calls it; once is enough.

    It raises ArgumentError with all their problems, and in the same form a ConfigError of the constructor itself.
    """
    original = component.__init__  # type: ignore[misc]
    keywords = [p for p in inspect.signature(original).parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if hasattr(original, "checks_arguments") or not keywords:
        return

    @wraps(original)
    def checking(self: Any, *args: Any, **given: Any) -> None:
        arguments = _checked(component, given)
        try:
            original(self, *args, **arguments)
        except ArgumentError:  # of a base class, or of a component inside this one
            raise
        except ConfigError as error:
            raise ArgumentError(component.__name__, error.problems) from error

    checking.checks_arguments = True  # type: ignore[attr-defined]
    component.__init__ = checking  # type: ignore[misc]


def _checked(component: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call, checked, in the types that the annotations name.

    They are read as JSON, strictly: a list stands for a tuple, as it does in a config, but no text for a number.
    """
    schema = _schema_of(component)
    try:
        found = schema.model_validate_json(to_json(dict(given), fallback=_plain), strict=True)
    except ValidationError as error:
        raise ArgumentError(component.__name__, explain(error, schema, word="argument")) from error
    return {name: getattr(found, name) for name in given}


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's; anything else as the text that an error then shows."""
    return value.item() if hasattr(value, "item") else repr(value)


@cache
def _schema_of(component: type) -> type[BaseModel]:
    empty = inspect.Parameter.empty
    fields: dict[str, Any] = {
        name: (p.annotation, ... if p.default is empty else p.default) for name, p in arguments_of(component).items()
    }
    try:
        return create_model(
            component.__name__,
            __config__=ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=()),
            **fields,
        )
    except PydanticUserError as error:
        raise ConfigError(
            f"{component.__qualname__}: its keyword-only arguments are what a config sets, and one has a type that no yaml "
            f"can hold: {error.message.splitlines()[0]}"
        ) from error
