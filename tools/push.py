"""The command `videoadapt push` from a clone: `python tools/push.py ...`."""

import sys

from videoadapt.cli.push import main

if __name__ == "__main__":
    sys.exit(main())
