"""The command `videoadapt export` from a clone: `python tools/export.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.export import main

if __name__ == "__main__":
    leave(main())
