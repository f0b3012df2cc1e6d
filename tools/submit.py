"""The command `videoadapt submit` from a clone: `python tools/submit.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.submit import main

if __name__ == "__main__":
    leave(main())
