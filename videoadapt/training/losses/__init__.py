"""Losses, one file each; and what all of them share."""

from videoadapt.training.losses._base import BinaryLoss, Loss

__all__ = ["BinaryLoss", "Loss"]
