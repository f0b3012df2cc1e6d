"""What a config may say of the way that the learning rate takes: `optim.schedule`, its name and its arguments.

`training/schedules.py` has the functions themselves.
"""

from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator

from videoadapt.errors import did_you_mean


class _Schedule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cosine(_Schedule):
    """Half a cosine down to the minimum."""

    name: Literal["cosine"] = "cosine"


class Constant(_Schedule):
    """The full rate to the end."""

    name: Literal["constant"] = "constant"


class Step(_Schedule):
    """`factor` times the rate from each milestone on; they are counted from the start of training."""

    name: Literal["step"] = "step"
    milestones_epochs: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)]
    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1


class Polynomial(_Schedule):
    """What is left of the training, to the `power`; 1: a straight line."""

    name: Literal["polynomial"] = "polynomial"
    power: Annotated[float, Gt(0)] = 1.0


class OneCycle(_Schedule):
    """Half a cosine up for a share of the training, `rise`, and half a cosine down for the rest."""

    name: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Interval(ge=0, lt=1)] = 0.3


SCHEDULES: dict[str, type[_Schedule]] = {
    "cosine": Cosine,
    "constant": Constant,
    "step": Step,
    "polynomial": Polynomial,
    "one_cycle": OneCycle,
}


def _checked(value: Any) -> Any:
    """A name alone is a schedule with its defaults. Raises ValueError for an unknown name, or another one's argument."""
    spec = {"name": value} if isinstance(value, str) else value
    if isinstance(spec, _Schedule):
        return spec
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        raise ValueError(f"needs a name, {{name: step, milestones_epochs: [30, 60]}}; allowed: {', '.join(SCHEDULES)}")
    name = spec["name"]
    if name not in SCHEDULES:
        raise ValueError(f"is no schedule; {did_you_mean(name, SCHEDULES)}")
    known = SCHEDULES[name].model_fields
    if unknown := [str(key) for key in spec if key not in known]:
        raise ValueError(f"{name} takes no {unknown[0]!r}; {did_you_mean(unknown[0], set(known) - {'name'})}")
    for key, value in spec.items():  # true would be 1; the section looks for that in values of its own only
        if any(isinstance(number, bool) for number in (value if isinstance(value, list | tuple) else [value])):
            raise ValueError(f"{key} = {value}: a number is expected")
    return spec


ScheduleKey = Annotated[
    Annotated[Cosine | Constant | Step | Polynomial | OneCycle, Discriminator("name")], BeforeValidator(_checked)
]
