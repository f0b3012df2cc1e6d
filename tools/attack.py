"""The command `videoadapt attack` from a clone: `python tools/attack.py ...`."""

import sys

from videoadapt.cli.attack import main

if __name__ == "__main__":
    sys.exit(main())
