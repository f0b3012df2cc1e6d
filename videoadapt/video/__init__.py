"""One video file to the pixels of a clip: no lists, no config, one process."""
