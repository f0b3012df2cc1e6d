"""The command `videoadapt unknown` from a clone: `python tools/unknown.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.unknown import main

if __name__ == "__main__":
    leave(main())
