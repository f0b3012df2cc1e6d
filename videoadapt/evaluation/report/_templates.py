"""Pages from templates: everything that is put in is escaped, unless it is one of our own pictures."""

import time
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from videoadapt import __version__
from videoadapt.runs.lettering import in_a_sentence


def render(template: str, /, **values: Any) -> str:
    """The page of a template, in which a value that is missing is an error."""
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("videoadapt.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": _percent,
        "interval": lambda of: "" if of is None else f"{of[0]:.2f} to {of[1]:.2f} %",
        "count": lambda value: f"{value:,}",
        "duration": _duration,
        "energy": lambda joules: f"{joules / 3.6e6:.3f} kWh" if joules >= 36_000 else f"{joules:,.0f} J",
        "moment": lambda sec: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(sec)),
        "shown": in_a_sentence,
    }
    return made


def _percent(value: float | None, digits: int = 2) -> str:
    return "none" if value is None else f"{value:.{digits}f} %"


def _duration(sec: float) -> str:
    if sec < 60:
        return f"{sec:.1f} s"
    minutes, rest = divmod(round(sec), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
