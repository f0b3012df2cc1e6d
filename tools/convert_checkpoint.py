"""The command `videoadapt convert` from a clone: `python tools/convert_checkpoint.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.convert import main

if __name__ == "__main__":
    leave(main())
