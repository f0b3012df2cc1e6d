"""The training loop and what an update is made of."""
