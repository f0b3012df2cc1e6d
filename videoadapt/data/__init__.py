"""Lists of videos to batches, over processes and ranks."""
