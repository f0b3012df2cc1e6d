"""Samplers: which frames of a video make a clip, one file each."""

from videoadapt.video.samplers._base import Indices, Sampler

__all__ = ["Indices", "Sampler"]
