"""How many frames a second a video has, and when each is shown, by time stamps."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from av.video.stream import VideoStream

from videoadapt.video.times import Times

_DELAYED = 17  # frames that a decoder may hold back until the end: sixteen of H.264, and one
MATROSKA_SEC = Fraction(1, 1000)  # to which it rounds; finer stamps are rounded too, for one rate in every container


def stated_rate(stream: VideoStream) -> Fraction | None:
    """Return the mean rate that a file states, frames a second; what FFmpeg guesses from time stamps where it states none.

    Of a bare DV file FFmpeg 8 states the ticks a second, 60,000, as its rate; only at a frame for each tick would that be one.
    """
    mean, guessed, tick_sec = stream.average_rate, stream.guessed_rate, stream.time_base
    if mean and guessed and tick_sec and mean * tick_sec == 1:
        return guessed
    return mean or guessed


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


def evenly_spaced(stamps: Sequence[int | None]) -> bool:
    """Whether all these time stamps, sorted, are known and the same distance apart, as frames of a constant rate are."""
    known = sorted(stamp for stamp in stamps if stamp is not None)
    return len(known) == len(stamps) and len({later - one for one, later in pairwise(known)}) == 1


def times_of_decoded(
    stamps: Sequence[tuple[int | None, int | None]], last: int, time_base: Fraction, fps_hz: float
) -> Times:
    """When each of the frames of a whole video is shown, by the (pts, dts) with which they come out of a decoder.

    As FFmpeg: by the times of decoding where those of presentation do not ascend (B-frames in avi), and at the stated
    rate where neither do. The frames at the end of a stream have no times of decoding, and follow at the last distance.
    """
    for number in (0, 1):
        known = [stamp for pair in stamps if (stamp := pair[number]) is not None]
        missing = len(stamps) - len(known)
        if missing <= (_DELAYED if number else 0) < len(known) and all(a < b for a, b in pairwise(known)):
            step = known[-1] - known[-2] if missing else 0
            return Times.of_stamps(
                [*known, *(known[-1] + step * k for k in range(1, missing + 1))], last, time_base, fps_hz
            )
    return Times.evenly(len(stamps), fps_hz)


def _rounded(seconds: Fraction) -> Fraction:
    return round(seconds / MATROSKA_SEC) * MATROSKA_SEC
