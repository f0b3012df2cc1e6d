"""The command `videoadapt report` from a clone: `python tools/report.py ...`."""

import sys

from videoadapt.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
