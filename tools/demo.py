"""The command `videoadapt demo` from a clone: `python tools/demo.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.demo import main

if __name__ == "__main__":
    leave(main())
