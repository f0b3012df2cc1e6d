"""How every command begins and ends: called by which words, and which exit code and line say how it went."""

import atexit
import functools
import getpass
import os
import select
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, ParamSpec

from videoadapt.system import user_number
from videoadapt.terminal import (
    ctrl_c_noted,
    forget,
    no_commands_to_the_terminal,
    open_closed_streams,
    stop_if_pressed,
)

EXIT_ERROR, EXIT_UNREADABLE, EXIT_INTERRUPTED, EXIT_NO_READER = 2, 3, 130, 141

Arguments = ParamSpec("Arguments")

SCRIPTS = {  # of a clone, in tools/
    "train": "run_net.py",
    "test": "run_net.py",
    "demo": "demo.py",
    "segment": "segment.py",
    "evaluate": "evaluate.py",
    "sweep": "sweep.py",
    "submit": "submit.py",
    "report": "report.py",
    "inspect": "inspect_run.py",
    "robustness": "robustness.py",
    "unknown": "unknown.py",
    "compare": "compare.py",
    "attack": "attack.py",
    "prepare": "prepare_data.py",
    "export": "export.py",
    "features": "extract_features.py",
    "convert": "convert_checkpoint.py",
    "models": "models.py",
    "push": "push.py",
}


def command(stopped: str) -> Callable[[Callable[Arguments, int]], Callable[Arguments, int]]:
    """Decorate a command's `main`: what a user can change is one line of error and exit code 2, never a traceback.

    Ctrl-C gives `stopped` and 130, a reader of its output that went away (`| head`) 141. SystemExit of argparse passes.
    """

    def decorate(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
        """The same command with one way to end."""

        @functools.wraps(main)
        def guarded(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
            name_user()
            open_closed_streams()
            if hasattr(sys.stdout, "reconfigure"):
                # a terminal may lack the letters of a name, and a name may be no text
                sys.stdout.reconfigure(errors="backslashreplace")
            try:
                with no_commands_to_the_terminal(), ctrl_c_noted() as pressed:
                    return _run(lambda: main(*args, **kwargs), stopped, pressed)
            except BrokenPipeError:
                if not _reader_is_gone():
                    raise
                return EXIT_NO_READER

        return guarded

    return decorate


def _run(main: Callable[[], int], stopped: str, pressed: Sequence[int]) -> int:
    from videoadapt.errors import Interrupted, VideoAdaptError, is_of_memory, what_the_system_refuses
    from videoadapt.processes.signals import Ended

    try:
        try:
            code = main()
            if code != EXIT_INTERRUPTED:  # of a command that `videoadapt COMMAND` called: it has said all
                stop_if_pressed()
            return code
        except Exception as error:
            if pressed and not isinstance(error, Interrupted):
                raise KeyboardInterrupt from error
            raise
        finally:
            sys.stdout.flush()  # here, and not when Python ends: nobody could answer for it there
    except Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        return EXIT_INTERRUPTED
    except Ended as end:
        sys.stderr.write(f"{end}: {stopped}\n")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        # Python notes a KeyboardInterrupt that passes an exec, and would end by the signal; the next exec clears it
        exec("")
        sys.stderr.write(f"{stopped}\n")
        return EXIT_INTERRUPTED
    except VideoAdaptError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_ERROR
    except OSError as error:
        if not (said := what_the_system_refuses(error)) and not is_of_memory(error):
            raise
        sys.stderr.write(f"error: {said}\n" if said else _without_memory(error))
        return EXIT_ERROR
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        sys.stderr.write(_without_memory(error))
        return EXIT_ERROR
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "videoadapt"):
            raise
        sys.stderr.write(f"error: this needs the package {package}, which is not installed: pip install {package}\n")
        return EXIT_ERROR


def leave(code: int) -> NoReturn:
    """End the program with the exit code of its command, as `sys.exit` does.

    An interrupted one ends before Python takes its modules apart: an import of native code that was cut short may abort there.
    """
    if code == EXIT_INTERRUPTED:
        _interrupted.append(code)
    sys.exit(code)


_interrupted: list[int] = []


@atexit.register  # before libraries are imported that want something done at the end, so that this comes after it
def _end_if_interrupted() -> None:
    if _interrupted:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # of a full disk, or closed
                stream.flush()
        os._exit(_interrupted[0])


def _without_memory(error: Exception) -> str:
    from videoadapt.errors import asked_for

    said = f"error: memory does not suffice{asked_for(error)}; use fewer processes, smaller batches, or more memory"
    return f"{said}\n"


def name_user() -> None:
    """A user without a name, as `docker run --user 1234` makes one, goes by the number: torch trains for a name only."""
    try:
        getpass.getuser()
    except (KeyError, ImportError, OSError):  # of Windows; the last one from Python 3.13 on
        os.environ["USER"] = str(user_number())


def _reader_is_gone() -> bool:
    """Whether the pipe that broke is our output, and no worker's; then what is still to be written goes nowhere."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # a notebook's, or a test's: no pipe
        return False
    if hasattr(select, "poll"):  # not on Windows, whose workers' pipes say another error
        state = select.poll()
        state.register(output, 0)  # errors are reported unasked
        if not state.poll(0):
            return False
    forget(output)
    return True


def words_for(name: str) -> list[str]:
    """The words that call the command `name` in the way in which this one was called.

    A script of a clone gives its neighbour, `python -m videoadapt` the same, everything else the installed command.
    """
    started = Path(sys.argv[0])
    if started.parent.name == "tools" and started.name in SCRIPTS.values():
        return [_python(), str(started.with_name(SCRIPTS[name]))]
    if started.parts[-2:] == ("videoadapt", "__main__.py"):
        return [_python(), "-m", "videoadapt", name]
    found = shutil.which("videoadapt")
    if started.stem == "videoadapt" and started.is_file() and (found is None or not os.path.samefile(found, started)):
        return [_short(started), name]
    return ["videoadapt", name]


def program(name: str) -> str:
    """The same words as one text, for usage lines and messages."""
    return " ".join(words_for(name))


def _python() -> str:
    return _short(Path(sys.executable)) if Path(sys.prefix).is_relative_to(os.getcwd()) else "python"


def _short(path: Path) -> str:
    """Relative to the folder where we are, when it is below."""
    return os.path.relpath(path) if path.is_relative_to(os.getcwd()) else str(path)
