"""Several adapters on one backbone: K tasks answered by one pass in which equal work is done once.

Shapes: B clips, T frames, H W pixels, N tokens, D width, K classes of a task.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from videoadapt.config.keys import keys_that_alter
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.inference.answers import Answers
from videoadapt.inference.many import Asking
from videoadapt.inference.passes import in_batches
from videoadapt.models.adapters import AdapterModule, Parallel
from videoadapt.models.backbones.vit import ViT
from videoadapt.models.classifier import Classifier
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.build import build_model
from videoadapt.runs.rates import OtherRates, Rates, seen_at
from videoadapt.runs.statement import value_of


class AdapterBank(nn.Module):
    """The models of K adapter files around one copy of their backbone: normalised clips in, logits of every task out.

    Modules whose tensors are equal bit by bit are one module. Until the first adapter the tasks share everything; behind
    it they have tokens of their own, which pass a shared module together, as one batch.
    """

    def __init__(
        self,
        models: Sequence[Classifier],
        config: Config,
        class_names: Sequence[Sequence[str]],
        rates: Rates | None = None,
        answers: Sequence[Answers] | None = None,
    ):
        """`rates`: of the videos that the first one was trained on; `answers` of the tasks, None: of one label a video."""
        super().__init__()
        self.other_rates = OtherRates(config.data, rates or Rates())
        self.models = nn.ModuleList(models)
        self.config = config  # of the first task; what decides the views is the same in all
        self.class_names = [list(names) for names in class_names]
        self.answers = answers or [Answers(names, "single", config.test.average) for names in self.class_names]
        for backbone in self._backbones():
            _share(models[0].backbone, backbone)
        self.eval().requires_grad_(False)

    def _backbones(self) -> list[ViT]:
        found = [cast(Classifier, model).backbone for model in self.models]
        for backbone in found:
            if not isinstance(backbone, ViT):
                raise ConfigError(f"an adapter bank needs the backbone vit, not {type(backbone).__name__}")
        return cast(list[ViT], found)

    @classmethod
    def from_files(
        cls, paths: Sequence[str | Path], weights: str | Path | None = None, fps_hz: float | None = None
    ) -> "AdapterBank":
        """Read the files and load each around the backbone in `weights` (None: the one they name, if that is on this machine).

        Raises CheckpointError for a file that cannot be read or belongs to another backbone, and ConfigError when the
        files do not ask for the same backbone, the same views of a video and the same precision.
        """
        files = [read_adapter(path) for path in paths]
        first = files[0]
        for file in files[1:]:
            for key in keys_that_alter(Alters.PASS):
                ours, theirs = (value_of(f.config.model_dump(mode="json"), key) for f in (first, file))
                if ours != theirs:
                    raise ConfigError(
                        f"{file.path}: {key} = {theirs!r}, but {ours!r} in {first.path}; adapters that share a pass need "
                        "the same views of a video: use them one by one"
                    )
        models = []
        for file in files:
            config = file.config
            spec = config.model.model_copy(update={"weights": str(weights) if weights else file.own_weights()})
            torch.manual_seed(config.seed)  # what a backbone without weights is made from
            model = build_model(
                spec, len(file.class_names), config.data.num_frames, config.data.crop_px, "weights", True
            )
            file.load_into(model)
            models.append(model)
            _share(models[0].backbone, model.backbone)  # at once, so that never more than two backbones are in memory
        names, average = [file.class_names for file in files], first.config.test.average
        answers = [Answers(file.class_names, file.config.data.labels, average, file.thresholds) for file in files]
        return cls(models, seen_at(first.config, fps_hz), names, first.rates, answers)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the logits of all tasks beside each other, (B, sum of K), for normalised clips."""
        backbones = self._backbones()
        first = backbones[0]
        embedded_BND = first.embed(clips_BCTHW)
        tokens = [embedded_BND if _same_embedding(first, b) else b.embed(clips_BCTHW) for b in backbones]
        for backbone in backbones:
            backbone.grid.thw = first.grid.thw
        for number in range(first.depth):
            tokens = _block(tokens, [backbone.blocks[number] for backbone in backbones])
        heads = [cast(Classifier, model).classify for model in self.models]
        features = [b.pooled(b.of_clips(x_BND)) for b, x_BND in zip(backbones, tokens, strict=True)]
        return torch.cat([head(feature_BD) for head, feature_BD in zip(heads, features, strict=True)], dim=1)

    def split(self, logits: Tensor) -> list[Tensor]:
        """Cut (..., sum of K) into one (..., K) a task."""
        return list(logits.split([len(names) for names in self.class_names], dim=-1))


def asking_tasks(bank: AdapterBank, device: torch.device) -> Asking:
    """The tasks of a bank, to be asked about videos, each of which is decoded once for all of them."""

    def logits(views_VCTHW: Tensor) -> Tensor:
        return in_batches(bank, bank.config, device, views_VCTHW[None])

    return Asking(bank.config, device, bank.other_rates, bank.answers, logits)


def _block(tokens: list[Tensor], blocks: list[nn.Module]) -> list[Tensor]:
    """Each task's block on its tokens; a block that an adapter wraps as a whole works alone."""
    found = dict(enumerate(tokens))
    plain = [task for task, block in enumerate(blocks) if hasattr(block, "attn")]
    for task in found.keys() - set(plain):
        found[task] = blocks[task](found[task])
    for name in ("attn", "mlp"):
        summed = _residual([found[task] for task in plain], [getattr(blocks[task], name) for task in plain])
        found |= zip(plain, summed, strict=True)
    return [found[task] for task in range(len(tokens))]


def _residual(tokens: list[Tensor], branches: list[nn.Module]) -> list[Tensor]:
    """Return x + branch(x) for every task. Equal inputs stay one tensor, and each module is called once, on all its inputs."""
    inner = [branch.branch if isinstance(branch, Parallel) else branch for branch in branches]
    inputs: dict[int, dict[int, Tensor]] = {}
    for module, x_BND in zip(inner, tokens, strict=True):
        inputs.setdefault(id(module), {})[id(x_BND)] = x_BND
    outputs: dict[tuple[int, int], Tensor] = {}
    for module in {id(module): module for module in inner}.values():
        found = inputs[id(module)]
        parts = module(torch.cat(list(found.values()))).split(len(tokens[0]))
        outputs |= {(id(module), key): part for key, part in zip(found, parts, strict=True)}
    sums: dict[tuple[int, int], Tensor] = {}
    for branch, module, x_BND in zip(branches, inner, tokens, strict=True):
        key = (id(branch), id(x_BND))
        if key not in sums:
            h_BND = outputs[id(module), id(x_BND)]
            sums[key] = x_BND + (branch.join(x_BND, h_BND) if isinstance(branch, Parallel) else h_BND)
    return [sums[id(branch), id(x_BND)] for branch, x_BND in zip(branches, tokens, strict=True)]


def _share(first: nn.Module, other: nn.Module) -> None:
    """Replace every module of `other` by that of `first` in the same place of the backbone where all tensors are equal."""
    ours = {name.replace("branch.", ""): module for name, module in first.named_modules()}
    places = [("", other)]
    while places:
        prefix, parent = places.pop()
        for name, module in parent.named_children():
            plain = prefix + ("" if name == "branch" else f"{name}.")
            candidate = ours.get(plain.removesuffix("."))
            if not hasattr(module, "branch"):
                candidate = getattr(candidate, "branch", candidate)
            if candidate is not None and candidate is not module and _same(candidate, module):
                setattr(parent, name, candidate)
            else:
                places.append((plain, module))


def _same_embedding(one: ViT, other: ViT) -> bool:
    ours, theirs = one.space_positions, other.space_positions
    equal = ours is theirs if ours is None or theirs is None else torch.equal(ours, theirs)
    return one.patch_embed is other.patch_embed and equal


def _same(one: nn.Module, other: nn.Module) -> bool:
    """True for the same layers with the same numbers; adapters may differ in more, such as their scale."""
    ours, theirs = one.state_dict(), other.state_dict()
    return (
        type(one) is type(other)
        and not any(isinstance(module, AdapterModule) for module in other.modules())
        and str(one) == str(other)
        and ours.keys() == theirs.keys()
        and bool(ours)
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )
