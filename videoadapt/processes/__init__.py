"""Processes, signals and locks, with nothing of videos in them."""
