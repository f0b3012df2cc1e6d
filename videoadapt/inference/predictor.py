"""A trained model asked about videos: what it sees in them, and the numbers behind that.

Shapes: N clips and J crops of each, together V views of a video, T frames, H W pixels, D width, K classes.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from videoadapt.errors import ConfigError, check_count
from videoadapt.evaluation.predictions import average_views
from videoadapt.inference.answers import Prediction, unknown
from videoadapt.inference.explaining.explanation import Explanation, explained
from videoadapt.inference.many import Answered
from videoadapt.inference.onnx_model import OnnxModel
from videoadapt.inference.opened_model import OpenedModel
from videoadapt.inference.videos import PartOfVideo, VideoInput, as_video, as_videos, shows_the_part
from videoadapt.inference.windows import Slide, Timeline, mean_features, probabilities, slide
from videoadapt.video.decoders import reads_folders

Answer = TypeVar("Answer")


class Predictor(OpenedModel):
    """A trained model, ready for any video: a file, or frames in memory, uint8 (N, H, W, 3), RGB.

    Frames are taken for a whole video: clips and crops are chosen from them as testing chooses them from a file. Several
    videos, in a list or whatever can be looped over, give a list of answers in the same order. `fps_hz`: how many of the frames
    in memory make a second, which a model needs to know that looks at videos by time.

    Raises DecodeError naming a file that cannot be read; of several, every one that is missing is named before the first
    is decoded. Raises TypeError or ConfigError for what is no video.
    """

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, video: VideoInput, top: int = 5, *, reject: float | None = None, **part: Unpack[PartOfVideo]
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self, video: Iterable[VideoInput], top: int = 5, *, reject: float | None = None, **part: Unpack[PartOfVideo]
    ) -> list[list[Prediction]]: ...
    @shows_the_part
    @torch.no_grad()
    def predict(
        self,
        video: VideoInput | Iterable[VideoInput],
        top: int = 5,
        *,
        reject: float | None = None,
        **part: Unpack[PartOfVideo],
    ) -> list[Prediction] | list[list[Prediction]]:
        """The `top` most probable classes of a video, best first, by the test views of the run.

        `start_sec` and `end_sec`: of this part of it alone, which the name of a file can say as well: film.mp4#t=1.5,4.

        `reject`: put "unknown" (label -1, without a probability) first where the video scores lower than all but this share of
        the known videos, which `videoadapt unknown RUN` has measured. Raises ConfigError where it has not.
        """
        check_count("top", top)
        if reject is not None:
            rejection = self._rejection(reject)

        def best(views_NJCTHW: Tensor) -> list[Prediction]:
            if reject is None:
                return self.answers.best(self._view_logits(views_NJCTHW), top)
            logits_VK, feature_D = self.logits_and_feature(views_NJCTHW)
            first = [unknown()] if rejection.is_unknown(logits_VK.numpy(), feature_D.numpy()) else []
            return [*first, *self.answers.best(logits_VK, top)]

        answers = self._answer(video, part, best)
        return answers

    def predict_each(
        self, videos: Iterable[str | os.PathLike[str]], top: int = 5, *, reject: float | None = None
    ) -> Iterator[Answered]:
        """Yield what is said of each video file, in order, of those that cannot be read why: for many videos.

        They are read ahead in other processes and share passes, so that probabilities differ in their last bits from those
        of `predict`. `reject` as there; `unknown` of an answer then says it. Raises TypeError for one name in place of several,
        whose letters would be names.
        """
        if isinstance(videos, str):
            raise TypeError(f"videos = {videos!r}: expected a list of files; `predict` takes one")
        check_count("top", top)
        self._check_head()
        yield from self.asking_with(reject).each([Path(video) for video in videos], top)
        self.other_rates.say()

    @shows_the_part
    def explain(
        self,
        video: VideoInput,
        label: int | str | None = None,
        *,
        method: str = "grad_cam",
        **part: Unpack[PartOfVideo],
    ) -> Explanation:
        """Where and when the model looked in a video for a class, by name or number; None: for the most probable one.

        `method`: "grad_cam", for every model, "relevance" or "rollout", along the attention of transformers (docs/explaining.md
        says which are to be trusted). Raises ConfigError for no such class or method, or where the model has no such map.
        """
        self._check_head()
        asked = as_video(video, pictures=self._sees_pictures, **part)
        if isinstance(self.model, OnnxModel):
            raise ConfigError(
                f"{self.model.path}: where it looked cannot be seen in an ONNX file; explain the run, or its adapter"
            )
        found = explained(self.asking, self.model, asked, label, method)
        self.other_rates.say()
        return found

    @overload
    def logits(self, video: VideoInput, **part: Unpack[PartOfVideo]) -> Tensor: ...  # type: ignore[overload-overlap]
    @overload
    def logits(self, video: Iterable[VideoInput], **part: Unpack[PartOfVideo]) -> list[Tensor]: ...
    @shows_the_part
    @torch.no_grad()
    def logits(self, video: VideoInput | Iterable[VideoInput], **part: Unpack[PartOfVideo]) -> Tensor | list[Tensor]:
        """The mean over the test views of the logits of a video: float32 (K,), on the CPU.

        Their softmax, or with several labels their sigmoids, are the probabilities of `predict`, unless the run averages those
        (`test.average probs`).
        """
        return self._answer(video, part, lambda views: average_views(self._view_logits(views), "logits"))

    @overload
    def features(self, video: VideoInput, **part: Unpack[PartOfVideo]) -> Tensor: ...  # type: ignore[overload-overlap]
    @overload
    def features(self, video: Iterable[VideoInput], **part: Unpack[PartOfVideo]) -> list[Tensor]: ...
    @shows_the_part
    @torch.no_grad()
    def features(self, video: VideoInput | Iterable[VideoInput], **part: Unpack[PartOfVideo]) -> Tensor | list[Tensor]:
        """The mean over the test views of what the head sees of a video: float32 (D,), on the CPU."""
        return self._answer(video, part, self.mean_feature)

    @shows_the_part
    @torch.no_grad()
    def timeline(
        self,
        video: VideoInput,
        *,
        every_sec: float | None = None,
        window_sec: float | None = None,
        crops: int | None = None,
        **part: Unpack[PartOfVideo],
    ) -> Timeline:
        """The probabilities of all classes in windows over a long film, which is decoded once, in order.

        Windows are `window_sec` long and `every_sec` apart; None: as long as the clips of the training, and half of that. Each
        is seen as that part of the film, with one clip and `crops` of it; None: as many as the run's test.
        Raises DecodeError naming the file, and ConfigError where windows have no length: of a run on whole videos, say one.
        """
        values_of = probabilities(self.answers, self._view_logits)
        asked = as_video(video, **part)
        found = slide(asked, self.config, Slide(every_sec, window_sec, crops), self.other_rates, values_of)
        self.other_rates.say()
        return found

    @torch.no_grad()
    def film_features(
        self,
        video: VideoInput,
        *,
        every_sec: float,
        window_sec: float | None = None,
        crops: int | None = None,
        fps_hz: float | None = None,
    ) -> Timeline:
        """What the head sees in windows at a fixed distance, float32 (W, D) in `values`; windows and errors as of `timeline`.

        No window is nearer to the one before than the others, so that the last moments of a film may be in none.
        """
        how = Slide(every_sec, window_sec, crops, to_the_end=False)
        features_of = mean_features(self._passes.features)
        found = slide(as_video(video, fps_hz=fps_hz), self.config, how, self.other_rates, features_of)
        self.other_rates.say()
        return found

    def _answer(
        self,
        video: VideoInput | Iterable[VideoInput],
        part: PartOfVideo,
        answer: Callable[[Tensor], Answer],
    ) -> Answer | list[Answer]:
        """What `answer` makes of the views of a video, or of each of several; of a part of each, where one is asked for."""
        if isinstance(video, str | os.PathLike | np.ndarray | Tensor) or not isinstance(video, Iterable):
            asked = as_video(video, pictures=self._sees_pictures, **part)
            answers: Answer | list[Answer] = answer(self._read(asked)[0])
        else:
            folders = reads_folders(self.config.data.decoder)
            several = as_videos(video, folders, pictures=self._sees_pictures, **part)
            answers = [answer(self._read(one)[0]) for one in several]
        self.other_rates.say()
        return answers
