"""The command `videoadapt sweep` from a clone: `python tools/sweep.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.sweep import main

if __name__ == "__main__":
    leave(main())
