"""How many frames a second the videos had that a model was trained on, and those that are far from it.

A fact that lies beside the statement in checkpoints, adapter files, results and exports. It refuses nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from videoadapt import distributed, logger
from videoadapt.config.schema import Config, DataConfig
from videoadapt.errors import at_key
from videoadapt.registry import SAMPLERS
from videoadapt.runs.build_data import build_sampler
from videoadapt.runs.folder import facts_of

FAR = 1.5  # times faster or slower
_RARE = 0.05  # of the clips: a rate that fewer have, at either end, is none that a model has learned


class Rates:
    """The number of clips that were made from videos of each rate, which is rounded to two digits: 29.97 counts as 30."""

    def __init__(self, clips: Mapping[float, int] | None = None):
        self._clips = Counter(clips or {})

    def note(self, rates_hz: Iterable[float]) -> None:
        """Count the rate of each clip's video."""
        self._clips.update(float(f"{rate_hz:.2g}") for rate_hz in rates_hz)

    def of_all_ranks(self) -> "Rates":
        """The clips of all ranks together; every rank calls it."""
        return Rates(sum(distributed.all_gather_objects(self._clips), Counter()))

    def __add__(self, other: "Rates") -> "Rates":
        """The clips of both."""
        return Rates(self._clips + other._clips)

    def __bool__(self) -> bool:
        return bool(self._clips)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as json and checkpoints hold them; empty without clips."""
        if not self:
            return {}
        known = sorted(self._clips)
        clips = {f"{rate_hz:g}": self._clips[rate_hz] for rate_hz in known}
        return {"lowest_hz": known[0], "median_hz": self.quantile(0.5), "highest_hz": known[-1], "clips": clips}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Rates":
        """What `as_dict` gave; of an older version, which notes none, empty. Raises ValueError for anything else."""
        try:
            return cls({float(rate_hz): int(count) for rate_hz, count in values.get("clips", {}).items()})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"rates are not counts of clips: {error}") from error

    def quantile(self, share: float) -> float:
        """The rate that this share of the clips, between 0 and 1, do not exceed."""
        known = sorted(self._clips)
        upto = accumulate(self._clips[rate_hz] for rate_hz in known)
        total = self._clips.total()
        return next(rate_hz for rate_hz, count in zip(known, upto, strict=True) if count >= share * total)

    def are_far_from(self, rate_hz: float) -> bool:
        """Whether this rate is more than FAR times off what all but a few clips had; never where nothing is known."""
        return bool(self) and not self.quantile(_RARE) / FAR <= rate_hz <= self.quantile(1 - _RARE) * FAR

    def __str__(self) -> str:
        low, high = (min(self._clips), max(self._clips)) if self else (0.0, 0.0)
        return f"{low:g}" if low == high else f"{low:g} to {high:g} (half of them up to {self.quantile(0.5):g})"


BY_KEY = "set data.sampling.fps_hz {0:g} to see them as it did"  # where the config is the user's
BY_OPTION = "to see them as it did: --fps-hz {0:g} of demo and segment, in Python va.load(..., fps_hz={0:g})"


class OtherRates:
    """The videos, of those noted, that are far from the training's rates, where that makes their clips other than its."""

    def __init__(self, data: DataConfig, trained: Rates):
        sampler = build_sampler(data)
        self._matters = sampler.counts_frames and sampler.fps_hz is None
        self._can_go_by_time = "fps_hz" in SAMPLERS.schema(data.sampling["name"])
        self._trained, self._far = trained, Rates()
        self.num_far = self._num_videos = 0
        self._said = False

    def note(self, rate_hz: float | None) -> None:
        """Look at the rate of one more video; None where it is not known."""
        self._num_videos += 1
        if rate_hz is not None and self._is_far(rate_hz):
            self.num_far += 1
            self._far.note([rate_hz])

    def _is_far(self, rate_hz: float) -> bool:
        return self._matters and self._trained.are_far_from(rate_hz)

    def of_one(self, rate_hz: float | None) -> str:
        """What is to be said of one video alone, a sentence; "" where its rate is near the training's, or does not matter."""
        if rate_hz is None or not self._is_far(rate_hz):
            return ""
        cure = f"; with --fps-hz {self._trained.quantile(0.5):g} it would not" if self._can_go_by_time else ""
        return (
            f"The film has {rate_hz:.3g} frames a second, and the training's had {self._trained}. The model counts frames, so "
            f"that the film looks slower or faster to it than those did{cure}."
        )

    def say(self, cure: str = BY_OPTION) -> None:
        """Warn of them, if there are any: once, with their number and what to do (`cure`: of a sampler that can go by time)."""
        if not self.num_far or self._said:
            return
        self._said = True
        if not self._can_go_by_time:
            cure = "use a sampler that goes by time"
        logger.warning(
            "%d of %d videos have %s frames a second, and the training's had %s: data.sampling counts frames, so that they "
            "look slower or faster than those did; %s",
            self.num_far, self._num_videos, self._far, self._trained, cure.format(self._trained.quantile(0.5)),
        )  # fmt: skip


def seen_at(config: Config, fps_hz: float | None) -> Config:
    """The config with `data.sampling.fps_hz` set, or as it is. Raises ConfigError for a rate, or a sampler, that cannot be."""
    if fps_hz is None:
        return config
    sampling = {**config.data.sampling, "fps_hz": fps_hz}
    if "stride_sec" in sampling:
        sampling["stride_sec"] = None
    with at_key("data.sampling"):
        sampling = SAMPLERS.complete(sampling)
    return config.model_copy(update={"data": config.data.model_copy(update={"sampling": sampling})})


def trained_rates(run: Path) -> Rates:
    """What the checkpoint says that this run is judged by; empty without one."""
    return rates_in(facts_of(run))


def rates_in(facts: Mapping[str, Any]) -> Rates:
    """What a checkpoint says."""
    return Rates.read(facts.get("rates", {}))
