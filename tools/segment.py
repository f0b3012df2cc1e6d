"""The command `videoadapt segment` from a clone: `python tools/segment.py ...`."""

import sys

from videoadapt.cli.segment import main

if __name__ == "__main__":
    sys.exit(main())
