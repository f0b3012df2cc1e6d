"""Decoders: one file each. `open_video` is the door, `open_kept` the one to frames that were decoded before."""

from videoadapt.decoders._base import Decoder, open_video
from videoadapt.decoders._kept import KeptFrames, open_kept

__all__ = ["Decoder", "KeptFrames", "open_kept", "open_video"]
