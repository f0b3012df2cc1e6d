"""The command `videoadapt prepare` from a clone: `python tools/prepare_data.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.prepare import main

if __name__ == "__main__":
    leave(main())
