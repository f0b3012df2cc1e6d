"""Samplers: which frames of a video make a clip, one file each."""

from videoadapt.video.samplers._base import Draws, Indices, Sampler

__all__ = ["Draws", "Indices", "Sampler"]
