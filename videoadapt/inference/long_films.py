"""Files that one answer says little about: films much longer than the clips which it is made from, and single pictures."""

from videoadapt import logger
from videoadapt.config.schema import Config
from videoadapt.errors import counted
from videoadapt.log import duration
from videoadapt.runs.build_data import build_sampler
from videoadapt.video.decoders import reads_pictures

MUCH_LONGER = 10  # times what the clips of an answer show


def clip_sec(config: Config, fps_hz: float) -> float | None:
    """How long a clip of this run is, of a film of this rate; None where clips are taken from whole videos."""
    sampler = build_sampler(config.data)
    span_frames = sampler.clip_span(config.data.num_frames)
    return None if span_frames is None else span_frames / (sampler.fps_hz or fps_hz)


class OtherLengths:
    """Says of a long film that one answer is not what a user wants, and what is; and of one frame that nothing moves in it."""

    def __init__(self, config: Config):
        self._config = config

    def note(self, name: object, fps_hz: float | None, num_frames: int | None) -> None:
        """Look at one more film, of which an answer is made; None where its rate is not known."""
        clip_frames = self._config.data.num_frames
        if num_frames == 1 and clip_frames > 1 and not reads_pictures(self._config.data.decoder):
            logger.warning(
                "%s: is a single frame, and the model looks for motion in clips of %d frames", name, clip_frames
            )
        if not fps_hz or not num_frames or not (one_sec := clip_sec(self._config, fps_hz)):
            return
        film_sec, num_clips = num_frames / fps_hz, self._config.test.clips
        if film_sec > MUCH_LONGER * num_clips * one_sec:
            logger.warning(
                "%s: lasts %s, and its one answer is from %s of %.3g s; videoadapt segment says what happens when in it "
                "(in Python, Predictor.timeline)",
                name, duration(film_sec), counted(num_clips, "clip"), one_sec,
            )  # fmt: skip
