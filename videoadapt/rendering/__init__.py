"""Procedural motions: as files, and as clips made on the device."""
