"""The command `videoadapt inspect` from a clone: `python tools/inspect_run.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.inspect import main

if __name__ == "__main__":
    leave(main())
