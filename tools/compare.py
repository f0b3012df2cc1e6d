"""The command `videoadapt compare` from a clone: `python tools/compare.py ...`."""

import sys

from videoadapt.cli.compare import main

if __name__ == "__main__":
    sys.exit(main())
