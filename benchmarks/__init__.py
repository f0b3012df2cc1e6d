"""Measurements behind the claims of README and docs."""

import videoadapt  # noqa: F401 - before torch, which reads what it sets
