"""The command `videoadapt robustness` from a clone: `python tools/robustness.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.robustness import main

if __name__ == "__main__":
    leave(main())
