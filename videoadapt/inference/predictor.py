"""A trained model asked about videos: what it sees in them, and the numbers behind that.

Shapes: N clips and J crops of each, together V views of a video, T frames, H W pixels, D width, K classes.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.distributed import choose_device
from videoadapt.errors import ConfigError, check_count
from videoadapt.evaluation.predictions import average_views
from videoadapt.inference.adapter_bank import AdapterBank
from videoadapt.inference.answers import Answers, Prediction, unknown
from videoadapt.inference.explaining.explanation import Explanation, explained
from videoadapt.inference.known import Rejection, load_rejection
from videoadapt.inference.many import Answered, Asking
from videoadapt.inference.onnx_model import OnnxModel
from videoadapt.inference.videos import VideoInput, as_video, as_videos, part_asked, view_reader
from videoadapt.inference.windows import Slide, Timeline, mean_features, probabilities, slide
from videoadapt.models.classifier import Classifier
from videoadapt.models.compiling import compile_blocks, filled_up
from videoadapt.models.memory import hold_matrices_in
from videoadapt.runs.adapter_file import open_adapter
from videoadapt.runs.build import build_seeded_model, open_run
from videoadapt.runs.folder import thresholds_of
from videoadapt.runs.forward import HALF_PRECISION, forward
from videoadapt.runs.rates import OtherRates, Rates, seen_at, trained_rates
from videoadapt.runs.resolution import resolved
from videoadapt.video.decoders import reads_folders, reads_pictures
from videoadapt.video.part import Part

Answer = TypeVar("Answer")


class Predictor:
    """A trained model, ready for any video: a file, or frames in memory, uint8 (N, H, W, 3), RGB.

    Frames are taken for a whole video: clips and crops are chosen from them as testing chooses them from a file. Several
    videos, in a list or whatever can be looped over, give a list of answers in the same order. `fps_hz`: how many of the frames
    in memory make a second, which a model needs to know that looks at videos by time.

    Raises DecodeError naming a file that cannot be read; of several, every one that is missing is named before the first
    is decoded. Raises TypeError or ConfigError for what is no video.
    """

    def __init__(
        self,
        config: Config,
        class_names: Sequence[str],
        model: Classifier | OnnxModel,
        device: torch.device,
        compile: bool = False,
        rates: Rates | None = None,
        thresholds: Sequence[float] | None = None,
    ):
        """`compile`: let torch.compile make the passes faster, for many videos; the first then takes up to a minute.

        `rates`: of the videos that the model was trained on; a warning says once that others are far from them. `thresholds`
        of the classes, where a video has several labels; None: 0.5 each.
        """
        self.answers = Answers(list(class_names), config.data.labels, config.test.average, thresholds)
        self.config = config
        self.class_names = list(class_names)
        self.model = model
        self.device = device
        self.other_rates = OtherRates(config.data, rates or Rates())
        self._read = view_reader(config, self.other_rates)
        self._compiled, self._sees_pictures = compile, _sees_pictures(config)
        self._largest = 0  # pass so far
        self.folder: Path | None = None  # of the run, where it is one's
        if isinstance(model, OnnxModel):
            return
        if half := HALF_PRECISION.get(config.train.precision):
            hold_matrices_in(model.backbone, half)
        if compile:
            compile_blocks(model)

    @classmethod
    def from_run(
        cls,
        folder: str | Path,
        device: str | torch.device = "auto",
        compile: bool = False,
        fps_hz: float | None = None,
    ) -> "Predictor":
        """Open a run folder. `fps_hz`: see videos at this rate (`data.sampling.fps_hz`); None: as the run does.

        Raises CheckpointError when it holds no config or no checkpoint, and ConfigError for a rate that cannot be.
        """
        device, folder = choose_device(device), Path(folder)
        with _seeds_of_its_own(device):
            config, class_names, model = open_run(folder, device)
        rates, thresholds = trained_rates(folder), thresholds_of(folder)
        found = cls(seen_at(config, fps_hz), class_names, model, device, compile, rates, thresholds)
        found.folder = folder
        return found

    @classmethod
    def from_adapter(
        cls,
        path: str | Path,
        weights: str | Path | None = None,
        device: str | torch.device = "auto",
        compile: bool = False,
        fps_hz: float | None = None,
    ) -> "Predictor":
        """An adapter file around the backbone in `weights` (None: the one that it names, if that is on this machine).

        `fps_hz` as of `from_run`. Raises CheckpointError when either cannot be read, or the backbone is not the adapter's.
        """
        device = choose_device(device)
        with _seeds_of_its_own(device):
            adapter, config, model = open_adapter(path, weights)
        config, model = seen_at(config, fps_hz), model.to(device)
        return cls(config, adapter.class_names, model, device, compile, adapter.rates, adapter.thresholds)

    @classmethod
    def from_onnx(cls, path: str | Path, fps_hz: float | None = None) -> "Predictor":
        """An ONNX file that `videoadapt export` wrote, computed by onnxruntime on the CPU; it has no features.

        `fps_hz` as of `from_run`. Raises CheckpointError for any other file.
        """
        model = OnnxModel(path)
        said, device = model.about, torch.device("cpu")
        return cls(seen_at(said.config, fps_hz), said.class_names, model, device, False, said.rates, said.thresholds)

    @classmethod
    def from_config(cls, path: str | Path, device: str | torch.device = "auto") -> "Predictor":
        """The model of a config as it is before training: the backbone with `model.weights`, for features only."""
        device = choose_device(device)
        config = resolved(load_config(path), device)
        with _seeds_of_its_own(device):
            model = build_seeded_model(config, classes=2)  # the head is not used
        return cls(config, [], model.to(device).eval(), device)

    def __repr__(self) -> str:
        model = self.config.model
        methods = model.adapter if isinstance(model.adapter, list) else [model.adapter]
        names = " + ".join(method["name"] for method in methods)
        return f"<Predictor: {model.backbone['name']}, {names}, {len(self.class_names)} classes, on {self.device}>"

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        video: VideoInput,
        top: int = 5,
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
        reject: float | None = None,
    ) -> list[Prediction]: ...
    @overload
    def predict(
        self,
        video: Iterable[VideoInput],
        top: int = 5,
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
        reject: float | None = None,
    ) -> list[list[Prediction]]: ...
    @torch.no_grad()
    def predict(
        self,
        video: VideoInput | Iterable[VideoInput],
        top: int = 5,
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
        reject: float | None = None,
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

        answers = self._answer(video, fps_hz, part_asked(start_sec, end_sec), best)
        return answers

    def predict_each(
        self, videos: Iterable[str | os.PathLike[str]], top: int = 5, *, reject: float | None = None
    ) -> Iterator[Answered]:
        """Yield what is said of each video file, in order, of those that cannot be read why: for many videos.

        They are read ahead in other processes and share passes, so that probabilities differ in their last bits from those
        of `predict`. `reject` as there; `unknown` of an answer then says it.
        """
        check_count("top", top)
        self._check_head()
        yield from self.asking_with(reject).each([Path(video) for video in videos], top)
        self.other_rates.say()

    def explain(
        self,
        video: VideoInput,
        label: int | str | None = None,
        *,
        method: str = "grad_cam",
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> Explanation:
        """Where and when the model looked in a video for a class, by name or number; None: for the most probable one.

        `method`: "grad_cam", for every model, "relevance" or "rollout", along the attention of transformers (docs/explaining.md
        says which are to be trusted). Raises ConfigError for no such class or method, or where the model has no such map.
        """
        self._check_head()
        asked = as_video(video, fps_hz, part_asked(start_sec, end_sec), pictures=self._sees_pictures)
        if isinstance(self.model, OnnxModel):
            raise ConfigError(
                f"{self.model.path}: where it looked cannot be seen in an ONNX file; explain the run, or its adapter"
            )
        found = explained(self.asking, self.model, asked, label, method)
        self.other_rates.say()
        return found

    @property
    def classifier(self) -> Classifier:
        """The model's modules. Raises ConfigError for an ONNX file, which shows none."""
        if isinstance(self.model, OnnxModel):
            raise ConfigError(
                f"{self.model.path}: an ONNX file gives logits only; ask the run, or its adapter file, for what is inside"
            )
        return self.model

    @property
    def asking(self) -> Asking:
        """This model, to be asked about many videos at once."""

        def logits(views_VCTHW: Tensor) -> Tensor:
            return self._view_logits(views_VCTHW[None])

        return Asking(self.config, self.device, self.other_rates, [self.answers], logits)

    def asking_with(self, reject: float | None) -> Asking:
        """The same, which says as well what is unknown. Raises ConfigError as `predict` does."""
        if reject is None:
            return self.asking
        rejection = self._rejection(reject)

        def logits_and_features(views_VCTHW: Tensor) -> Tensor:
            return self._in_batches(self.classifier.logits_and_features, views_VCTHW[None])

        return replace(self.asking, logits=logits_and_features, is_unknown=rejection.is_unknown)

    def _rejection(self, rate: float) -> Rejection:
        self._check_head()
        return load_rejection(self.folder, rate, self.config, self.class_names, self.classifier)

    @torch.no_grad()
    def logits_and_feature(self, views_NJCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of each view (V, K) and the mean of their features (D,), from one pass."""
        both = self._in_batches(self.classifier.logits_and_features, views_NJCTHW)
        classes = len(self.class_names)
        return both[:, :classes], both[:, classes:].mean(dim=0)

    @overload
    def logits(  # type: ignore[overload-overlap]
        self,
        video: VideoInput,
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> Tensor: ...
    @overload
    def logits(
        self,
        video: Iterable[VideoInput],
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> list[Tensor]: ...
    @torch.no_grad()
    def logits(
        self,
        video: VideoInput | Iterable[VideoInput],
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> Tensor | list[Tensor]:
        """The mean over the test views of the logits of a video: float32 (K,), on the CPU.

        Their softmax, or with several labels their sigmoids, are the probabilities of `predict`, unless the run averages those
        (`test.average probs`).
        """
        part = part_asked(start_sec, end_sec)
        return self._answer(video, fps_hz, part, lambda views: average_views(self._view_logits(views), "logits"))

    @overload
    def features(  # type: ignore[overload-overlap]
        self,
        video: VideoInput,
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> Tensor: ...
    @overload
    def features(
        self,
        video: Iterable[VideoInput],
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> list[Tensor]: ...
    @torch.no_grad()
    def features(
        self,
        video: VideoInput | Iterable[VideoInput],
        *,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> Tensor | list[Tensor]:
        """The mean over the test views of what the head sees of a video: float32 (D,), on the CPU."""
        return self._answer(video, fps_hz, part_asked(start_sec, end_sec), self.mean_feature)

    @torch.no_grad()
    def timeline(
        self,
        video: VideoInput,
        *,
        every_sec: float | None = None,
        window_sec: float | None = None,
        crops: int | None = None,
        fps_hz: float | None = None,
        start_sec: float | None = None,
        end_sec: float | None = None,
    ) -> Timeline:
        """The probabilities of all classes in windows over a long film, which is decoded once, in order.

        Windows are `window_sec` long and `every_sec` apart; None: as long as the clips of the training, and half of that. Each
        is seen as that part of the film, with one clip and `crops` of it; None: as many as the run's test.
        Raises DecodeError naming the file, and ConfigError where windows have no length: of a run on whole videos, say one.
        """
        values_of = probabilities(self.answers, self._view_logits)
        asked = as_video(video, fps_hz, part_asked(start_sec, end_sec))
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
        features_of = mean_features(lambda views: self._in_batches(self.model.features, views))
        found = slide(as_video(video, fps_hz), self.config, how, self.other_rates, features_of)
        self.other_rates.say()
        return found

    @torch.no_grad()
    def mean_feature(self, views_NJCTHW: Tensor) -> Tensor:
        """Mean over the views of the pooled feature that the head sees: uint8 (N, J, 3, T, H, W) -> (D,)."""
        return self._in_batches(self.model.features, views_NJCTHW).mean(dim=0)

    def _check_head(self) -> None:
        if not self.class_names:
            raise ConfigError("this model has no trained head: it was made from a config, and gives features only")

    def _view_logits(self, views_NJCTHW: Tensor) -> Tensor:
        self._check_head()
        return self._in_batches(self.model, views_NJCTHW)

    def _in_batches(self, function: Callable[[Tensor], Tensor], views_NJCTHW: Tensor) -> Tensor:
        views = views_NJCTHW.shape[0] * views_NJCTHW.shape[1]
        self._largest = max(self._largest, min(self.config.test.batch_size, views))
        called = filled_up(function, self._largest) if self._compiled else function
        if isinstance(self.model, OnnxModel):  # which normalises pixels itself
            parts = views_NJCTHW.flatten(0, 1).split(self.config.test.batch_size)
            return torch.cat([called(part) for part in parts])
        return _in_batches(called, self.config, self.device, views_NJCTHW)

    def _answer(
        self,
        video: VideoInput | Iterable[VideoInput],
        fps_hz: float | None,
        part: Part | None,
        answer: Callable[[Tensor], Answer],
    ) -> Answer | list[Answer]:
        """What `answer` makes of the views of a video, or of each of several; of a part of each, where one is asked for."""
        if isinstance(video, str | os.PathLike | np.ndarray | Tensor) or not isinstance(video, Iterable):
            answers: Answer | list[Answer] = answer(
                self._read(as_video(video, fps_hz, part, pictures=self._sees_pictures))[0]
            )
        else:
            folders = reads_folders(self.config.data.decoder)
            several = as_videos(video, fps_hz, part, folders, pictures=self._sees_pictures)
            answers = [answer(self._read(one)[0]) for one in several]
        self.other_rates.say()
        return answers


def asking_tasks(bank: AdapterBank, device: torch.device) -> Asking:
    """The tasks of a bank, to be asked about videos, each of which is decoded once for all of them."""

    def logits(views_VCTHW: Tensor) -> Tensor:
        return _in_batches(bank, bank.config, device, views_VCTHW[None])

    return Asking(bank.config, device, bank.other_rates, bank.answers, logits)


def _sees_pictures(config: Config) -> bool:
    """Whether a video is one picture to the decoder."""
    decoder = config.data.decoder
    return reads_pictures(decoder) and not reads_folders(decoder)


@contextmanager
def _seeds_of_its_own(device: torch.device) -> Iterator[None]:
    """Building a model sets seeds; the generators of the program around it stay as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _in_batches(
    function: Callable[[Tensor], Tensor], config: Config, device: torch.device, views_NJCTHW: Tensor
) -> Tensor:
    """What `function` makes of each view, (V, ...), on the CPU."""
    parts = views_NJCTHW.flatten(0, 1).split(config.test.batch_size)
    return torch.cat([forward(function, part, config.train.precision, device).cpu() for part in parts])
