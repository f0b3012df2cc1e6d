"""The command `videoadapt report` from a clone: `python tools/report.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.report import main

if __name__ == "__main__":
    leave(main())
