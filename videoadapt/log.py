"""The one logger of the package. It writes nowhere of its own until `terminal.setup_logging`, as is right for a library."""

import logging

logger = logging.getLogger("videoadapt")
