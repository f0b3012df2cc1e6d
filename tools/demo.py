"""The command `videoadapt demo` from a clone: `python tools/demo.py ...`."""

import sys

from videoadapt.cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
