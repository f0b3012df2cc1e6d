"""The command `videoadapt attack` from a clone: `python tools/attack.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.attack import main

if __name__ == "__main__":
    leave(main())
