"""The command `videoadapt sweep` from a clone: `python tools/sweep.py ...`."""

import sys

from videoadapt.cli.sweep import main

if __name__ == "__main__":
    sys.exit(main())
