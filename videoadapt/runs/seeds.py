"""Random numbers that are a function of where they are used: the same in every process, and after every interruption."""

import numpy as np


def hash_seed(*parts: int) -> int:
    """A 63-bit seed from whole numbers, the same on every machine."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
