"""The pictures of a folder in the order of their numbers: one name for all but the number, and no number missing."""

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from videoadapt.errors import DecodeError
from videoadapt.video.decoders._lru import Memory, identity

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
BEGINNINGS = (0, 1)  # numbers of a first frame
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*\.\w+)", re.S)


class Numbered(NamedTuple):
    """Frame i of a folder is the file `template.format(first + i)`."""

    template: str
    first: int
    num_frames: int

    def name(self, frame: int) -> str:
        """The file of a frame."""
        return self.template.format(self.first + frame)


_memory: Memory[Numbered] = Memory(100_000)  # folders


def parts_of(template: str) -> tuple[str, str]:
    """What stands before and behind the number. Raises ValueError for what is no template."""
    try:
        fields = list(string.Formatter().parse(template))
        (place,) = (place for place, (_, name, *_) in enumerate(fields, 1) if name is not None)
        before, after = ("".join(text for text, *_ in some) for some in (fields[:place], fields[place:]))
        number = template.format(12).removeprefix(before).removesuffix(after)
        if "/" not in template and re.fullmatch(r"0*12", number):
            return before, after
    except (ValueError, IndexError, KeyError):
        pass
    raise ValueError("expected the name of a frame with its number in braces, such as img_{:05d}.jpg")


def find_frames(folder: Path, template: str | None, first: int | None) -> Numbered:
    """List a folder. `template`: of these names only; `first`: from this number on, and not from 0 or 1.

    Raises DecodeError for pictures of several names, a gap, another beginning, and a folder without pictures.
    """
    key = identity(folder), template, first
    if (known := _memory.get(key)) is None:
        try:
            names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise DecodeError(f"{folder}: {error.strerror}") from error
        known = _in_order(folder, names, template, first)
        _memory.put(key, known, 1)
    return known


def _in_order(folder: Path, names: Sequence[str], template: str | None, first: int | None) -> Numbered:
    template = template or _template_of(folder, names)
    before, after = parts_of(template)
    found = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    called = {match[0]: int(match[1]) for match in map(found.fullmatch, names) if match}
    called = {name: number for name, number in called.items() if number >= (first or 0)}
    numbers = sorted(called.values())
    if not numbers:
        raise DecodeError(f"{folder}: holds no frames that are called {template}; set data.decoder.template")
    if other := next((name for name, number in called.items() if template.format(number) != name), None):
        said = f"is not called {template.format(called[other])}, as the other frames would have it"
        raise DecodeError(f"{folder}: {other} {said}; rename it, or take it out")
    allowed = BEGINNINGS if first is None else (first,)
    if numbers[0] not in allowed:
        raise DecodeError(
            f"{folder}: the first frame is {template.format(numbers[0])}; allowed: number {' or '.join(map(str, allowed))}; "
            "extract the frames again, or set data.decoder.first"
        )
    if numbers[-1] - numbers[0] >= len(numbers):
        missing = next(n for n, number in enumerate(numbers, numbers[0]) if n != number)
        raise DecodeError(
            f"{folder}: {template.format(missing)} is missing, one of {numbers[-1] - numbers[0] + 1 - len(numbers)} numbers "
            f"up to {template.format(numbers[-1])}; extract the frames again"
        )
    return Numbered(template, numbers[0], len(numbers))


def _template_of(folder: Path, names: Sequence[str]) -> str:
    """What all pictures of a folder are called."""
    pictures = sorted(name for name in names if name.lower().endswith(SUFFIXES))
    found = [_NUMBERED.fullmatch(name) for name in pictures]
    if unnumbered := [name for name, match in zip(pictures, found, strict=True) if not match]:
        raise DecodeError(f"{folder}: {unnumbered[0]} has no number; take it out, or set data.decoder.template")
    kinds = {(match[1], match[3]): match[0] for match in reversed(found) if match}
    if not kinds:
        raise DecodeError(f"{folder}: holds no frames; allowed: {', '.join(SUFFIXES)}")
    if len(kinds) > 1:
        one, other = sorted(kinds.values())[:2]
        raise DecodeError(
            f"{folder}: holds pictures of several names, such as {one} and {other}; take the others out, or say which are the "
            "frames: data.decoder.template 'img_{:05d}.jpg'"
        )
    ((before, after),) = kinds
    digits = min(len(match[2]) for match in found if match)
    return f"{_literal(before)}{{:0{digits}d}}{_literal(after)}"


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
