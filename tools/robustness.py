"""The command `videoadapt robustness` from a clone: `python tools/robustness.py ...`."""

import sys

from videoadapt.cli.robustness import main

if __name__ == "__main__":
    sys.exit(main())
