"""The command `videoadapt inspect` from a clone: `python tools/inspect_run.py ...`."""

import sys

from videoadapt.cli.inspect import main

if __name__ == "__main__":
    sys.exit(main())
