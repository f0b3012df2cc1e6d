"""`task: pretrain`: the objective, the picture, and the files that a finished run leaves.

Shapes: B clips, C channels, T frames, H W pixels; N tokens, M of them masked, P values of a tubelet.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from videoadapt import distributed
from videoadapt.atomic import write_atomically
from videoadapt.autoencoder import MaskedAutoencoder
from videoadapt.clips import TrainClips, TrainItem
from videoadapt.formats import to_pretraining
from videoadapt.log import logger
from videoadapt.masking import draw_tubes, join_tubelets, normalised_target, pick, statistics, tubelets
from videoadapt.rendered import draw_clips, motion_names
from videoadapt.report import plot_reconstructions
from videoadapt.run import Run, autocast, find_checkpoint, load_result
from videoadapt.seeds import hash_seed
from videoadapt.structures import ClipBatch
from videoadapt.transforms import normalise
from videoadapt.weight_files import write_tensors
from videoadapt.weights import save_trunk

_SHOWN_CLIPS = 4


class Reconstruction:
    """Mean squared error on the masked tubelets, whose pixels are normalised one by one (VideoMAE, section 3.1)."""

    def __init__(self, run: Run):
        self._run = run

    def __call__(self, model: nn.Module, batch: ClipBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the sum of `loss` over the clips."""
        run, autoencoder = self._run, _autoencoder(self._run)
        clips_BCTHW = batch.clips_BCTHW.to(run.device, non_blocking=True)
        grid_THW = autoencoder.backbone.grid_THW(*clips_BCTHW.shape[2:])
        mask = draw_tubes(len(clips_BCTHW), grid_THW, run.config.pretrain.mask_ratio, generator).to(run.device)
        with autocast(run.config, run.device):
            prediction_BMP = model(normalise(clips_BCTHW, batch.erase), mask)
        target_BMP = normalised_target(pick(tubelets(clips_BCTHW, autoencoder.tubelet), mask.masked_BM).float() / 255)
        return {"loss": (prediction_BMP.float() - target_BMP).square().mean(dim=(1, 2)).sum()}


def reconstruct(run: Run, clips_BCTHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return clips, clips with the masked tubelets grey, and with them predicted: float (B, C, T, H, W) in [0, 1].

    A prediction is brought back to pixels with mean and scale of the tubelet that it stands for.
    """
    model = _autoencoder(run)
    grid_THW = model.backbone.grid_THW(*clips_BCTHW.shape[2:])
    mask = draw_tubes(len(clips_BCTHW), grid_THW, run.config.pretrain.mask_ratio, generator).to(run.device)
    clips_BCTHW = clips_BCTHW.to(run.device)
    model.eval()
    # compiling for this number of clips would take longer than the picture
    eager = torch.compiler.set_stance("force_eager") if run.config.train.compile else nullcontext()
    with torch.no_grad(), autocast(run.config, run.device), eager:
        prediction_BMP = model(normalise(clips_BCTHW, [None] * len(clips_BCTHW)), mask).float()
    patches_BNP = tubelets(clips_BCTHW, model.tubelet).float() / 255
    mean, scale = statistics(pick(patches_BNP, mask.masked_BM))
    pixels_BMP = (prediction_BMP.unflatten(2, (-1, 3)) * scale + mean).flatten(2)
    index_BMP = mask.masked_BM[..., None].expand_as(pixels_BMP)
    shown = [patches_BNP, patches_BNP.scatter(1, index_BMP, 0.5), patches_BNP.scatter(1, index_BMP, pixels_BMP)]
    whole, masked, predicted = (join_tubelets(x_BNP, model.tubelet, grid_THW).clamp(0, 1).cpu() for x_BNP in shown)
    return whole, masked, predicted


def draw_reconstructions(run: Run) -> None:
    """Draw the same few training clips, always with the same masks, as reconstruction.png."""
    if not distributed.is_main():
        return
    generator = torch.Generator().manual_seed(hash_seed(run.config.seed, 3))
    clips_BCTHW = _shown_clips(run, generator)
    if clips_BCTHW is None:
        logger.warning("reconstruction.png: not drawn, none of %d training videos can be read", _SHOWN_CLIPS)
        return
    plot_reconstructions(*reconstruct(run, clips_BCTHW, generator), run.folder / "reconstruction.png")


def leave_trunk(run: Run) -> None:
    """Load what a finished run made, and leave it in its folder: for `model.weights`, and to go on pre-training elsewhere.

    `pretrained.pth` is VideoMAE's own format, with the decoder; `trunk.safetensors` the backbone alone in float16.
    """
    path, model = find_checkpoint(run.folder), _autoencoder(run)
    assert path is not None, "a finished run has a checkpoint"
    load_result(model, path)
    if not distributed.is_main():
        return
    tensors = to_pretraining(model.state_dict())
    pretrained, trunk = run.folder / "pretrained.pth", run.folder / "trunk.safetensors"
    write_atomically(pretrained, lambda partial: write_tensors(partial, tensors, {}, as_torch=True))
    save_trunk(model.backbone, trunk, {"seed": str(run.config.seed)}, half=True)
    for file in (pretrained, trunk):
        logger.info("model.weights: %s (%.2f MB)", file, file.stat().st_size / 1e6)


def _autoencoder(run: Run) -> MaskedAutoencoder:
    assert isinstance(run.model, MaskedAutoencoder), "task pretrain builds an autoencoder"
    return run.model


def _shown_clips(run: Run, generator: torch.Generator) -> Tensor | None:
    """A few clips as training sees them, uint8 (B, C, T, H, W); None when none of a list's can be read."""
    config, videos = run.config, run.splits.train
    if config.data.rendered is not None:
        return draw_clips(motion_names(config.data), _SHOWN_CLIPS, config.data, generator, run.device)[0]
    read = TrainClips(config.data, config.seed)
    rows = range(0, len(videos), max(1, len(videos) // _SHOWN_CLIPS))[:_SHOWN_CLIPS]
    samples = [read(TrainItem(0, row, videos[row]))[0] for row in rows]
    clips = [clips_RCTHW[0] for clips_RCTHW in samples if clips_RCTHW is not None]
    return torch.stack(clips) if clips else None
