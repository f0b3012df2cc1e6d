"""The command `videoadapt models` from a clone: `python tools/models.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.models import main

if __name__ == "__main__":
    leave(main())
