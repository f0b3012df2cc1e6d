"""The command `videoadapt segment` from a clone: `python tools/segment.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.segment import main

if __name__ == "__main__":
    leave(main())
