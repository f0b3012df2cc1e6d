"""The command `videoadapt evaluate` from a clone: `python tools/evaluate.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.evaluate import main

if __name__ == "__main__":
    leave(main())
