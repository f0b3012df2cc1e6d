"""What a run says when memory does not suffice: which keys make it need less."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from videoadapt.errors import NotEnoughMemory, asked_for, is_of_memory
from videoadapt.log import note_in_file

BUILDING = ("building the model", "choose a smaller model.backbone")
TRAINING = (
    "training",
    "raise train.accumulate, which cuts a batch into as many parts, lower train.batch_size, or choose a smaller model",
)
TESTING = ("testing", "lower test.batch_size, or choose a smaller model")
VALIDATION = ("validation", TESTING[1])


@contextmanager
def memory_explained(doing: str, advice: str) -> Iterator[None]:
    """Turn an error of memory in the block into a NotEnoughMemory that says what to change; its cause goes to run.log."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        note_in_file("".join(traceback.format_exception(error)))
        raise NotEnoughMemory(f"{doing}: memory does not suffice{asked_for(error)}; {advice}") from error
