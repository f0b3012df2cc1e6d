"""What a key of a config alters: the marks that the schema gives its keys."""

from enum import Flag, auto


class Alters(Flag):
    """What another value of a key alters, said at each key of a config, or at the section that it stands in."""

    NOTHING = 0  # where and how the run works
    SCORES = auto()  # what the test gives
    UPDATES = auto()  # what training computes, and with it the test: a run does not resume with another value
    PREDICTION = auto()  # the answer about a video: a statement (runs/statement.py) keeps it
    FUNCTION = auto()  # the function that trained tensors are part of: they are never used with another value
    PASS = auto()  # the one pass in which an adapter bank answers for several adapters: it is the same in all


NOTHING, SCORES, UPDATES, PREDICTION, PASS = (
    Alters.NOTHING,
    Alters.SCORES,
    Alters.UPDATES,
    Alters.PREDICTION,
    Alters.PASS,
)
FUNCTION = Alters.PREDICTION | Alters.FUNCTION
