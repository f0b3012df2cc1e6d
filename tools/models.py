"""The command `videoadapt models` from a clone: `python tools/models.py ...`."""

import sys

from videoadapt.cli.models import main

if __name__ == "__main__":
    sys.exit(main())
