"""`python -m videoadapt ...` is `videoadapt ...`."""

import sys

from videoadapt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
