"""The command `videoadapt export` from a clone: `python tools/export.py ...`."""

import sys

from videoadapt.cli.export import main

if __name__ == "__main__":
    sys.exit(main())
