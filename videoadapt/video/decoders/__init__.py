"""Decoders: one file each. `open_video` is the door."""

from videoadapt.video.decoders._base import Decoder, open_video, reads_folders, reads_pictures

__all__ = ["Decoder", "open_video", "reads_folders", "reads_pictures"]
