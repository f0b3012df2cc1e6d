"""The command `videoadapt train` from a clone: `python tools/run_net.py ...`."""

from videoadapt.cli._command import leave
from videoadapt.cli.train import main

if __name__ == "__main__":
    leave(main())
