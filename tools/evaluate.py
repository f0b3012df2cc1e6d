"""The command `videoadapt evaluate` from a clone: `python tools/evaluate.py ...`."""

import sys

from videoadapt.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
