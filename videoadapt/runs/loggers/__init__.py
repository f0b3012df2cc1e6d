"""Loggers: where else the numbers of a run are shown, one file each."""

from videoadapt.runs.loggers._base import Beginning, Logger, Record

__all__ = ["Beginning", "Logger", "Record"]
