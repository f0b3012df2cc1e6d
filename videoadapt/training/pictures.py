"""reconstruction.png: what masked pre-training sees of a clip, and what it predicts for the rest.

Shapes: B clips, C channels, T frames, H W pixels; N tokens, M of them masked, P values of a tubelet.
"""

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from videoadapt import distributed, logger
from videoadapt.data.batches import TrainItem
from videoadapt.data.reading import ReadClips
from videoadapt.models.compiling import compiled_only_if
from videoadapt.models.masking import draw_tubes, join_tubelets, pick, statistics, tubelets
from videoadapt.processes.slots import Read
from videoadapt.runs.build_data import build_clip_reader, build_renderer
from videoadapt.runs.drawing import save_png
from videoadapt.runs.forward import autocast
from videoadapt.runs.run import Run
from videoadapt.runs.seeds import hash_seed
from videoadapt.training.reconstruction import autoencoder_of
from videoadapt.video.transforms import normalise

_SHOWN_CLIPS, _SHOWN_FRAMES, _DPI = 4, 8, 150


def reconstruct(run: Run, clips_BCTHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the clips, the clips with masked tubelets in grey, and with their prediction: float (B, C, T, H, W) in [0, 1].

    `clips_BCTHW` is uint8; the masks are drawn from `generator`. The model predicts normalised tubelets, so a prediction is
    brought back to pixels with the mean and the scale of the tubelet that it stands for.
    """
    model = autoencoder_of(run)
    grid_THW = model.backbone.grid_THW(*clips_BCTHW.shape[2:])
    mask = draw_tubes(len(clips_BCTHW), grid_THW, run.config.pretrain.mask_ratio, generator).to(run.device)
    clips_BCTHW = clips_BCTHW.to(run.device)
    model.eval()
    # compiling for this number of clips would take longer than the picture
    with torch.no_grad(), autocast(run.config.train.precision, run.device), compiled_only_if(False, model):
        prediction_BMP = model(normalise(clips_BCTHW, [None] * len(clips_BCTHW)), mask).float()
    patches_BNP = tubelets(clips_BCTHW, model.tubelet).float() / 255
    mean, scale = statistics(pick(patches_BNP, mask.predicted_BM))
    pixels_BMP = (prediction_BMP.unflatten(2, (-1, 3)) * scale + mean).flatten(2)
    index_BMP = mask.predicted_BM[..., None].expand_as(pixels_BMP)
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
    shown = reconstruct(run, clips_BCTHW, generator)
    save_png(run.folder / "reconstruction.png", lambda: _figure(*shown), cropped=True)


def _shown_clips(run: Run, generator: torch.Generator) -> Tensor | None:
    """A few clips as training sees them, uint8 (B, C, T, H, W); None when none of a list's can be read."""
    config, videos = run.config, run.splits.train
    if config.data.rendered is not None:
        return build_renderer(config.data, run.device)(_SHOWN_CLIPS, generator)[0]
    read = ReadClips(build_clip_reader(config.data), config.seed)
    rows = range(0, len(videos), max(1, len(videos) // _SHOWN_CLIPS))[:_SHOWN_CLIPS]
    results = [read(TrainItem(0, row, videos[row])) for row in rows]
    clips = [result.pixels[0] for result in results if isinstance(result, Read)]
    return torch.stack(clips) if clips else None


def _figure(clips_BCTHW: Tensor, masked_BCTHW: Tensor, predicted_BCTHW: Tensor) -> Figure:
    """Each clip as three rows of its frames: original, masked and predicted, as `reconstruct` gives them."""
    every = -(-clips_BCTHW.shape[2] // _SHOWN_FRAMES)
    shown_BRTHWC = torch.stack((clips_BCTHW, masked_BCTHW, predicted_BCTHW), dim=1)[:, :, :, ::every].movedim(2, -1)
    num_clips, _, num_frames, height, width, _ = shown_BRTHWC.shape
    edged = F.pad(shown_BRTHWC, (0, 0, 0, 2, 0, 2), value=1.0).flatten(0, 1)  # two white pixels around each frame
    figure = Figure(figsize=(1.3 * num_frames + 0.8, 1.3 * 3 * num_clips + 0.3), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.imshow(edged.transpose(1, 2).flatten(2, 3).flatten(0, 1).numpy(), interpolation="nearest")
    names = ["input", "masked", "predicted"] * num_clips
    axes.set_yticks([(row + 0.5) * (height + 2) for row in range(3 * num_clips)], names)
    axes.set_xticks(
        [(column + 0.5) * (width + 2) for column in range(num_frames)],
        [f"frame {every * column}" for column in range(num_frames)],
    )
    axes.tick_params(length=0, labelsize=8, labelbottom=False, labeltop=True)
    axes.spines[:].set_visible(False)
    return figure
