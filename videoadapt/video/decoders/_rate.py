"""How many frames a second a video has, by its time stamps."""

from collections.abc import Sequence
from fractions import Fraction

MATROSKA_SEC = Fraction(1, 1000)  # to which it rounds; finer stamps are rounded too, for one rate in every container


def mean_rate_hz(pts: Sequence[int], time_base: Fraction, stated: Fraction) -> float:
    """Return the mean rate of frames with these time stamps, ascending and in units of `time_base` seconds.

    It is the `stated` rate where that agrees with the stamps, which are rounded, or where there are fewer than two: a
    header may state the rate that most frames have (Matroska), or count how long the last one stays (mp4).
    """
    if len(pts) < 2:
        return float(stated)
    first_sec, last_sec = (_rounded(stamp * time_base) for stamp in (pts[0], pts[-1]))
    span_sec, steps = last_sec - first_sec, len(pts) - 1
    if not span_sec or abs(span_sec - steps / stated) <= MATROSKA_SEC:
        return float(stated)
    return float(steps / span_sec)


def _rounded(seconds: Fraction) -> Fraction:
    return round(seconds / MATROSKA_SEC) * MATROSKA_SEC
