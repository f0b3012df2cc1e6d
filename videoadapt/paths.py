"""Paths as people give them: `~` at their beginning, whether something is there, and what this user may do with it.

`os.path.exists` says no to both, and so a file that is closed to a user would be called missing.
"""

import os
import stat
from pathlib import Path

from videoadapt.errors import NotPermitted, VideoAdaptError
from videoadapt.system import WINDOWS, user_name, user_number


def with_home(path: str) -> str:
    """`~/x` below this user's home folder, `~name/x` below another's, as a shell has them; any other path as it is.

    Raises ValueError for a user whom this machine does not know.
    """
    found = os.path.expanduser(path)
    if path.startswith("~") and found == path:
        name = path[1:].partition("/")[0]
        raise ValueError(
            f"~{name} is the home folder of a user, and there is no {name or 'home folder'} here; a file that is called so is "
            "given by its whole path"
        )
    return found


def started_from() -> str:
    """Where relative paths start, for people."""
    return f"in {os.getcwd()}, where the command was started"


def exists(path: str | Path) -> bool:
    """Whether anything is there, links followed; no for a name that no file can have. Raises NotPermitted."""
    return _status(path) is not None


def is_file(path: str | Path) -> bool:
    """Whether a regular file is there, as `exists` looks."""
    found = _status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there, as `exists` looks."""
    found = _status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """What fits `pattern` in a folder, sorted; [] without the folder. Raises NotPermitted, where `glob` finds nothing."""
    if not is_folder(folder):
        return []
    check_permitted(folder)
    return sorted(folder.glob(pattern))


def files_below(folder: Path, pattern: str) -> list[Path]:
    """What fits `pattern` in a folder and all below it, sorted. Raises NotPermitted for the first that is closed."""
    walk = os.walk(folder, onerror=refuse_closed)
    found = (Path(place, name) for place, folders, files in walk for name in (*folders, *files))
    return sorted(path for path in found if path.match(pattern))


def why_unreadable(path: Path) -> str:
    """Say what keeps a file from being read, whatever is in it, and what to do; "" when nothing does."""
    try:
        status = path.stat()
    except PermissionError:
        return _closed(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which is not there; copy the file itself, or fix the link"
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISDIR(status.st_mode):
        return "is a folder; name a file"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if not os.access(path, os.R_OK):
        return _unreadable()
    return "" if status.st_size else "is empty (0 bytes); copy it again"


def why_endless(path: str | Path) -> str:
    """Say why reading a file may never end, and what to do; "" for a file, and for what is not there.

    A pipe is waited for, and a device such as /dev/zero goes on. What the shell hands over, `<(...)` and /dev/stdin, ends.
    """
    handed_over = str(path) == "/dev/stdin" or str(path).startswith(("/dev/fd/", "/proc/self/fd/"))
    try:
        mode = stat.S_IFREG if handed_over else os.stat(path).st_mode
    except (OSError, ValueError):  # what opens it says so; ValueError: a null byte in the name
        return ""
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "is no regular file; name a file"


def check_regular(path: str | Path) -> None:
    """Raise VideoAdaptError for a pipe or a device where a run has a file: what opens it may never come back."""
    if why_endless(path):
        raise VideoAdaptError(f"{path}: cannot be read: is no regular file; move it away")


def why_no_folder(path: Path) -> str:
    """Say what keeps a folder from being listed; "" when nothing does."""
    try:
        if not is_folder(path):
            return "is a file; name a folder" if exists(path) else "No such folder"
        check_permitted(path)
    except NotPermitted as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def why_foreign(place: Path, others_may_not: int = 0o077) -> str:
    """Say why a folder in a place where every user may write is not this user's own; "" if it is, or is not there yet.

    `others_may_not`: bits of the mode that must not be set. What is in such a folder can be trusted: where its place is
    sticky, as /dev/shm and /tmp are, nobody else can put another one there.
    """
    try:
        status, parent = os.lstat(place), os.stat(place.parent)
    except FileNotFoundError:
        return ""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode):
        return f"{place} is {'a link' if stat.S_ISLNK(status.st_mode) else 'a file'}, not a folder"
    if WINDOWS:  # whose permissions are others, and whose temporary folder is the user's own
        return ""
    if status.st_uid != user_number():
        return f"{place} belongs to user {status.st_uid}, not to you ({user_number()})"
    if mode & others_may_not:
        return f"{place} is open to other users (its mode is {mode:o})"
    if parent.st_mode & 0o002 and not parent.st_mode & stat.S_ISVTX:
        return f"{place} can be replaced by anybody, for {place.parent} is not sticky (chmod +t)"
    return ""


def why_unwritable(folder: Path) -> str:
    """Say what keeps files from being written in a folder that is there or would be made, and what to do; "" if nothing."""
    path = Path(os.path.abspath(folder))
    try:
        for place in (path, *path.parents):
            try:
                os.lstat(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            break
        if not os.path.exists(place):
            return f"{place} is a link to {os.readlink(place)}, which is not there; remove the link, or choose another folder"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        return f"{getattr(error, 'strerror', None) or error}; choose another folder"
    if not place.is_dir():
        return f"{place} is a file; choose another folder"
    if hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY:
        return f"{place} lies on a file system that is mounted read-only; choose another folder"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"this user may not write in {place}; choose another folder"
    return ""


def check_permitted(path: Path) -> None:
    """Raise NotPermitted where a file or folder is there and this user may not read it."""
    if exists(path) and not os.access(path, os.R_OK):
        raise NotPermitted(f"{path}: {_unreadable()}")


def refuse_closed(error: OSError) -> None:
    """For `onerror` of `os.walk`, which else passes over a folder that is closed. Raises NotPermitted."""
    if isinstance(error, PermissionError):
        raise NotPermitted(f"{error.filename}: {_unreadable()}") from error


def _unreadable() -> str:
    return f"may not be read by {user_name()}; give it the permission (chmod a+r; a folder: a+rx)"


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except PermissionError as error:
        raise NotPermitted(f"{path}: {_closed(Path(path))}") from error
    except (OSError, ValueError):  # nothing is there; ValueError: a null byte in the name
        return None


def _closed(path: Path) -> str:
    """Why nothing can be known of a path: the folder on the way to it that this user may not enter."""
    way = list(Path(os.path.abspath(path)).parents)[::-1]
    closed = next((folder for folder in way if not os.access(folder, os.X_OK)), path.parent)
    return f"may not be looked for by {user_name()}, for {closed} is closed to it; give that folder the permission (chmod a+x)"
