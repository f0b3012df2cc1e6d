"""The command `videoadapt push` from a clone: `python tools/push.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.push import main

if __name__ == "__main__":
    leave(main())
