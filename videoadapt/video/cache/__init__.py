"""Decoded frames kept for the next epoch and the next run."""
