"""Adapters: ways of tuning a backbone, one file each; and what all of them share."""

from videoadapt.models.adapters._base import Adapter, AdapterModule, Parallel, Serial
from videoadapt.models.adapters._combined import build_adapter

__all__ = [
    "Adapter",
    "AdapterModule",
    "Parallel",
    "Serial",
    "build_adapter",
]
