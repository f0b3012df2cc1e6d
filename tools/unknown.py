"""The command `videoadapt unknown` from a clone: `python tools/unknown.py ...`."""

import sys

from videoadapt.cli.unknown import main

if __name__ == "__main__":
    sys.exit(main())
