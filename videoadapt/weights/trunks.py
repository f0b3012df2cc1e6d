"""Published trunks under short names. An accuracy stands here only with where it was published; none is ours."""

from typing import NamedTuple

from videoadapt.weights.normalisation import CLIP, HALF, IMAGENET, Normalisation


class Trunk(NamedTuple):
    """Where a trunk is published, and what is known of it; "" where its page is to be asked."""

    stands_for: str
    backbone: str  # what `model.backbone` is for it
    parameters_m: int  # of the trunk, in millions
    trained_on: str
    licence: str = ""
    accuracy: str = ""  # with its source


_NC = "CC BY-NC 4.0"
_APACHE = "Apache 2.0"
_VIDEOMAE, _MAE, _DINOV2 = "arXiv 2203.12602", "arXiv 2111.06377", "arXiv 2304.07193"


def _vit(size: str) -> str:
    return f"{{name: vit, size: {size}}}"


def _timm(model: str, pixels: Normalisation = IMAGENET) -> str:
    seen = "" if pixels == IMAGENET else f", mean: {list(pixels.mean)}, std: {list(pixels.std)}"
    return f"{{name: timm, model: {model}{seen}}}"


TRUNKS: dict[str, Trunk] = {
    "videomae-base": Trunk(
        "hf:MCG-NJU/videomae-base", _vit("base"), 86, f"Kinetics-400, masked video ({_VIDEOMAE})", _NC
    ),
    "videomae-large": Trunk(
        "hf:MCG-NJU/videomae-large", _vit("large"), 304, f"Kinetics-400, masked video ({_VIDEOMAE})", _NC
    ),
    "videomae-base-ssv2": Trunk(
        "hf:MCG-NJU/videomae-base-ssv2", _vit("base"), 86, f"Something-Something V2, masked video ({_VIDEOMAE})", _NC
    ),
    "videomae-base-kinetics": Trunk(
        "hf:MCG-NJU/videomae-base-finetuned-kinetics",
        _vit("base"),
        86,
        f"Kinetics-400, masked video, then its labels ({_VIDEOMAE})",
        _NC,
        "80.9 % Kinetics-400 (its model card)",
    ),
    "vjepa2-large": Trunk(
        "hf:facebook/vjepa2-vitl-fpc64-256",
        "{name: vjepa2, size: large}",
        304,
        "22 million videos and images, their features predicted (arXiv 2506.09985)",
    ),
    "mae-base": Trunk(
        "timm:vit_base_patch16_224.mae",
        _timm("vit_base_patch16_224"),
        86,
        f"ImageNet-1k, masked images ({_MAE})",
        _NC,
        f"83.6 % ImageNet-1k, fine-tuned ({_MAE}, table 3)",
    ),
    "mae-large": Trunk(
        "timm:vit_large_patch16_224.mae",
        _timm("vit_large_patch16_224"),
        303,
        f"ImageNet-1k, masked images ({_MAE})",
        _NC,
        f"85.9 % ImageNet-1k, fine-tuned ({_MAE}, table 3)",
    ),
    "dinov2-small": Trunk(
        "timm:vit_small_patch14_dinov2.lvd142m",
        _timm("vit_small_patch14_dinov2"),
        22,
        f"LVD-142M, self-supervised images ({_DINOV2})",
        _APACHE,
        f"81.1 % ImageNet-1k, linear ({_DINOV2})",
    ),
    "dinov2-base": Trunk(
        "timm:vit_base_patch14_dinov2.lvd142m",
        _timm("vit_base_patch14_dinov2"),
        87,
        f"LVD-142M, self-supervised images ({_DINOV2})",
        _APACHE,
        f"84.5 % ImageNet-1k, linear ({_DINOV2})",
    ),
    "dinov2-large": Trunk(
        "timm:vit_large_patch14_dinov2.lvd142m",
        _timm("vit_large_patch14_dinov2"),
        304,
        f"LVD-142M, self-supervised images ({_DINOV2})",
        _APACHE,
        f"86.3 % ImageNet-1k, linear ({_DINOV2})",
    ),
    "clip-base": Trunk(
        "timm:vit_base_patch16_clip_quickgelu_224.openai",
        _timm("vit_base_patch16_clip_quickgelu_224", CLIP),
        86,
        "400 million pairs of images and texts (arXiv 2103.00020)",
    ),
    "clip-base-laion": Trunk(
        "timm:vit_base_patch16_clip_224.laion2b",
        _timm("vit_base_patch16_clip_224", CLIP),
        86,
        "LAION-2B, pairs of images and texts (arXiv 2212.07143)",
    ),
    "siglip-base": Trunk(
        "timm:vit_base_patch16_siglip_224.webli",
        _timm("vit_base_patch16_siglip_224", HALF),
        93,
        "WebLI, pairs of images and texts (arXiv 2303.15343)",
        _APACHE,
    ),
}
