"""A model that was opened, of a run, an adapter file, an ONNX file or a config: what it makes of the views of videos.

Shapes: N clips and J crops of each, together V views of a video, T frames, H W pixels, D width, K classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.distributed import choose_device
from videoadapt.errors import ConfigError
from videoadapt.inference.answers import Answers
from videoadapt.inference.known import Rejection, load_rejection
from videoadapt.inference.many import Asking
from videoadapt.inference.onnx_model import OnnxModel
from videoadapt.inference.passes import Passes
from videoadapt.inference.videos import AskedReader
from videoadapt.models.classifier import Classifier
from videoadapt.runs.adapter_file import open_adapter
from videoadapt.runs.build import build_seeded_model, open_run
from videoadapt.runs.folder import facts_of
from videoadapt.runs.rates import OtherRates, Rates, rates_in, seen_at
from videoadapt.runs.resolution import resolved
from videoadapt.video.decoders import reads_folders, reads_pictures


class OpenedModel:
    """A model with all that answering needs: how its config looks at videos, what its classes are called, its thresholds."""

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
        self._read = AskedReader(config, self.other_rates)
        self._sees_pictures = _sees_pictures(config)
        self._passes, self._compiled = Passes(model, config, device, compile), compile
        self.folder: Path | None = None  # of the run, where it is one's

    @classmethod
    def from_run(
        cls,
        folder: str | Path,
        device: str | torch.device = "auto",
        compile: bool = False,
        fps_hz: float | None = None,
    ) -> Self:
        """Open a run folder. `fps_hz`: see videos at this rate (`data.sampling.fps_hz`); None: as the run does.

        Raises CheckpointError when it holds no config or no checkpoint, and ConfigError for a rate that cannot be.
        """
        device, folder = choose_device(device), Path(folder)
        with _seeds_of_its_own(device):
            config, class_names, model = open_run(folder, device)
        facts = facts_of(folder)
        rates, thresholds = rates_in(facts), facts.get("thresholds")
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
    ) -> Self:
        """An adapter file around the backbone in `weights` (None: the one that it names, if that is on this machine).

        `fps_hz` as of `from_run`. Raises CheckpointError when either cannot be read, or the backbone is not the adapter's.
        """
        device = choose_device(device)
        with _seeds_of_its_own(device):
            adapter, config, model = open_adapter(path, weights)
        config, model = seen_at(config, fps_hz), model.to(device)
        return cls(config, adapter.class_names, model, device, compile, adapter.rates, adapter.thresholds)

    @classmethod
    def from_onnx(cls, path: str | Path, fps_hz: float | None = None) -> Self:
        """An ONNX file that `videoadapt export` wrote, computed by onnxruntime on the CPU; it has no features.

        `fps_hz` as of `from_run`. Raises CheckpointError for any other file.
        """
        model = OnnxModel(path)
        said, device = model.about, torch.device("cpu")
        return cls(seen_at(said.config, fps_hz), said.class_names, model, device, False, said.rates, said.thresholds)

    @classmethod
    def from_config(cls, path: str | Path, device: str | torch.device = "auto") -> Self:
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
        return f"<{type(self).__name__}: {model.backbone['name']}, {names}, {len(self.class_names)} classes, on {self.device}>"

    def __getstate__(self) -> dict[str, Any]:
        """For pickle. Raises ConfigError for a compiled model, whose code is of this process."""
        if self._compiled:
            raise ConfigError(
                "compile = True: a compiled model cannot be pickled; load it without, or in the other process"
            )
        return self.__dict__

    @property
    def classifier(self) -> Classifier:
        """The model's modules. Raises ConfigError for an ONNX file, which shows none."""
        return self._passes.classifier

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
            return self._passes.logits_and_features(views_VCTHW[None])

        return replace(self.asking, logits=logits_and_features, is_unknown=rejection.is_unknown)

    def _rejection(self, rate: float) -> Rejection:
        self._check_head()
        return load_rejection(self.folder, rate, self.config, self.class_names, self.classifier)

    @torch.no_grad()
    def logits_and_feature(self, views_NJCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of each view (V, K) and the mean of their features (D,), from one pass."""
        both = self._passes.logits_and_features(views_NJCTHW)
        classes = len(self.class_names)
        return both[:, :classes], both[:, classes:].mean(dim=0)

    @torch.no_grad()
    def mean_feature(self, views_NJCTHW: Tensor) -> Tensor:
        """Mean over the views of the pooled feature that the head sees: uint8 (N, J, 3, T, H, W) -> (D,)."""
        return self._passes.features(views_NJCTHW).mean(dim=0)

    def _check_head(self) -> None:
        if not self.class_names:
            raise ConfigError("this model has no trained head: it was made from a config, and gives features only")

    def _view_logits(self, views_NJCTHW: Tensor) -> Tensor:
        self._check_head()
        return self._passes.logits(views_NJCTHW)


def _sees_pictures(config: Config) -> bool:
    """Whether a video is one picture to the decoder."""
    decoder = config.data.decoder
    return reads_pictures(decoder) and not reads_folders(decoder)


@contextmanager
def _seeds_of_its_own(device: torch.device) -> Iterator[None]:
    """Building a model sets seeds; the generators of the program around it stay as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
