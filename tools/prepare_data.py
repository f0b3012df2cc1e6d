"""The command `videoadapt prepare` from a clone: `python tools/prepare_data.py ...`."""

import sys

from videoadapt.cli.prepare import main

if __name__ == "__main__":
    sys.exit(main())
