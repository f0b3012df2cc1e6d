"""The command `videoadapt submit` from a clone: `python tools/submit.py ...`."""

import sys

from videoadapt.cli.submit import main

if __name__ == "__main__":
    sys.exit(main())
