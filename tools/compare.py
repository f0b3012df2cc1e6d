"""The command `videoadapt compare` from a clone: `python tools/compare.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.compare import main

if __name__ == "__main__":
    leave(main())
