"""Measurements behind the claims of README and docs."""
