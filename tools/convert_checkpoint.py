"""The command `videoadapt convert` from a clone: `python tools/convert_checkpoint.py ...`."""

import sys

from videoadapt.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
