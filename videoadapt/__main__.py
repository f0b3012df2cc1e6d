"""`python -m videoadapt ...` is `videoadapt ...`."""

from typing import NoReturn

from videoadapt.cli._command import leave
from videoadapt.cli.main import main


def program() -> NoReturn:
    """Run the command that the program's arguments name, and end with its exit code."""
    leave(main())


if __name__ == "__main__":
    program()
