"""The command `videoadapt features` from a clone: `python tools/extract_features.py ...`."""

import sys

from videoadapt.cli.features import main

if __name__ == "__main__":
    sys.exit(main())
