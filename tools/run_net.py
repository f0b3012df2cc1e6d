"""The command `videoadapt train` from a clone: `python tools/run_net.py ...`."""

import sys

from videoadapt.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
