"""Adapters: ways of tuning a backbone, one file each; and what all of them share."""

from videoadapt.adapters._base import (
    Adapter,
    AdapterModule,
    Parallel,
    ParameterRow,
    Serial,
    freeze,
    hold_frozen_statistics,
    parameter_table,
)
from videoadapt.adapters._combined import build_adapter

__all__ = [
    "Adapter",
    "AdapterModule",
    "Parallel",
    "ParameterRow",
    "Serial",
    "build_adapter",
    "freeze",
    "hold_frozen_statistics",
    "parameter_table",
]
