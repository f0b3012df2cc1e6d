"""The command `videoadapt features` from a clone: `python tools/extract_features.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.features import main

if __name__ == "__main__":
    leave(main())
