"""Every error that a user can cause. Each message names the key or file, the value, what is allowed, and what to do."""

import difflib
import errno
import operator
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, SupportsIndex

from videoadapt.system import open_files_limit


class VideoAdaptError(Exception):
    """Base of all errors that the front doors print as plain lines, without a traceback."""


class ConfigError(VideoAdaptError):
    """One or more problems in a configuration; `problems` holds one line each."""

    def __init__(self, problems: str | Sequence[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ArgumentError(ConfigError):
    """Arguments that a component does not take: `AdaptFormer: bottleneck = 0: ...`; each of `arguments` begins with its name.

    Where a component is built from a config, `at_key` puts the address in the place of the component's name.
    """

    def __init__(self, component: str, arguments: str | Sequence[str]):
        self.component = component
        self.arguments = [arguments] if isinstance(arguments, str) else list(arguments)
        super().__init__([f"{component}: {argument}" for argument in self.arguments])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.component, self.arguments)


@contextmanager
def at_key(key: str | None) -> Iterator[None]:
    """Name what a component in this block refuses by its key in the config, `model.adapter.bottleneck = 0: ...`.

    None: no config is involved, and the error stays as it is.
    """
    try:
        yield
    except ArgumentError as error:
        if key is None:
            raise
        raise ConfigError([f"{key}.{argument}" for argument in error.arguments]) from error


@contextmanager
def at_file_key(key: str) -> Iterator[None]:
    """Name the weight file that is refused in this block by its key in the config, `model.weights = a.pth: ...`."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{key} = {error}") from error


class NotEnoughMemory(VideoAdaptError):
    """A run needs more memory than its device or its process has."""


class NotPermitted(VideoAdaptError):
    """Something that may well be there, and that this user may not read."""


class DataListError(VideoAdaptError):
    """A list of videos, or a class file, cannot be used as it is."""


class DataFolderError(DataListError):
    """The folder that all lists of a run are made from cannot be used: the same is wrong with each of them."""


class DecodeError(VideoAdaptError):
    """A video file cannot be opened or decoded."""


class CheckpointError(VideoAdaptError):
    """A weight or checkpoint file cannot be loaded exactly."""


class TooManyUnreadable(VideoAdaptError):
    """The test is done and its `results` are written, but more videos than `test.max_unreadable` allows cannot be read."""

    def __init__(self, text: str, results: dict[str, Any]):
        self.results = results
        super().__init__(text, results)

    def __str__(self) -> str:
        return str(self.args[0])


class NotFinite(VideoAdaptError):
    """A loss or a prediction is no number: training has diverged, or the precision is too narrow for the model."""


class Diverged(NotFinite):
    """The loss of update `step`, or the validation after it, is not finite."""

    def __init__(self, step: int, phase: Literal["training", "validation"], problem: str):
        self.step = step
        self.phase = phase
        self.problem = problem
        super().__init__(step, phase, problem)  # all of them, so that the error can be pickled and sent to other ranks

    def __str__(self) -> str:
        return f"step {self.step}: {'validation: ' if self.phase == 'validation' else ''}{self.problem}"


class Interrupted(VideoAdaptError):
    """The user or the scheduler asked to stop, by signal `number`; a training is saved up to `step`."""

    def __init__(self, text: str, number: int, step: int | None = None):
        self.number = number
        self.step = step
        super().__init__(text, number, step)

    def __str__(self) -> str:
        return str(self.args[0])


def check_path(argument: str, value: object) -> None:
    """Raise TypeError unless what was given for `argument` can be a path."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{argument}: expected a path (str or Path), got {type(value).__name__}")


def check_count(argument: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Raise TypeError unless what was given for `argument` is a whole number, ConfigError unless it is `least` to `most`."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        raise TypeError(f"{argument} = {value!r}: expected a whole number")
    number = operator.index(value)
    if number < least or (most is not None and number > most):
        raise ConfigError(f"{argument} = {value}: allowed: {least} {'or more' if most is None else f'to {most}'}")


def counted(number: int, one: str, many: str = "") -> str:
    """A number of things in words: 1 video, 2 videos. `many`: where more than an s tells it from `one`, `videos are`."""
    if number == 1:
        return f"1 {one}"
    return f"{number} {many or one + ('es' if one.endswith('s') else 's')}"


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return `"did you mean 'x'? "` when an allowed name is close to `name`, then the allowed names."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(allowed) or 'nothing'}"


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, or what a user may have of it
_ADVICE = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EFBIG: "raise the limit (ulimit -f), or choose a disk that takes larger files",
    errno.EROFS: "choose another place",
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.ENOTDIR: "a part of its path is a file; choose another place",
    errno.EISDIR: "a file belongs there; choose another name, or move the folder away",
    errno.EEXIST: "a file or a dangling link is in the place of a folder; choose another place",
    errno.ELOOP: "its links lead in a circle; choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def why_not_read(error: OSError, otherwise: str = "move it away") -> str:
    """Why a file that a run left could not be read, and what to do; `otherwise`: where no permission is missing."""
    closed = error.errno in (errno.EACCES, errno.EPERM)
    return f"{error.strerror}; {'give it the permission (chmod a+r)' if closed else otherwise}"


_OF_MEMORY = re.compile(
    r"out of memory|can(no|')t allocate memory|bad_alloc|ALLOC_FAILED|size calculation overflowed", re.I
)


def is_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice: torch says so in RuntimeErrors, for the CPU in ones without a class of their own."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_OF_MEMORY.search(str(error))))


def asked_for(error: BaseException) -> str:
    """How much memory was asked for in vain, in brackets, or what else an error of memory says; "" where it says nothing."""
    said = str(error).strip()
    if amount := re.search(r"tried to allocate (\d+) bytes", said):
        return f" (for another {int(amount[1]) / 1e9:,.3g} GB)"
    if amount := re.search(r"Tried to allocate ([\d.]+ \w+)", said):  # CUDA
        return f" (for another {amount[1]} on the GPU)"
    return f" ({said.splitlines()[0]})" if said else ""


def what_the_system_refuses(error: OSError) -> str:
    """One line on a file that the operating system refuses, and what to do; "" for an error that is about no file."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit = open_files_limit() or 0
        return f"{error.strerror}: this process may open {limit} at a time; raise the limit: ulimit -n {max(1024, 4 * limit)}"
    if error.errno is None:
        return ""
    advice = _ADVICE.get(error.errno)
    if error.filename is None:  # as of a file that was open; only these are of a file whatever raised them
        return f"a file cannot be written: {error.strerror}; {advice}" if error.errno in DISK_FULL else ""
    # of a copy: where to
    name = error.filename2 if error.errno in DISK_FULL and error.filename2 is not None else error.filename
    return f"{name}: {error.strerror}{f'; {advice}' if advice else ''}"
