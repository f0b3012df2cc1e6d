"""How the pixels were normalised that weights were trained on: (grey level / 255 - mean) / std, of red, green and blue."""

from collections.abc import Mapping
from math import isclose
from typing import Any, NamedTuple

RGB = tuple[float, float, float]


class Normalisation(NamedTuple):
    """Of grey levels from 0 to 1."""

    mean: RGB
    std: RGB

    def is_like(self, other: "Normalisation") -> bool:
        """Whether both are the same, but for the digits that files round to."""
        pairs = zip(self.mean + self.std, other.mean + other.std, strict=True)
        return all(isclose(ours, theirs, abs_tol=1e-3) for ours, theirs in pairs)

    def __str__(self) -> str:
        return f"mean {list(self.mean)} and std {list(self.std)}"


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def said_in(config: Mapping[str, Any]) -> Normalisation | None:
    """What a config says: timm's, OpenCLIP's, or what lies beside that of `transformers`; None where it says nothing."""
    for part, mean, std in (
        (config.get("pretrained_cfg"), "mean", "std"),
        (config.get("preprocess_cfg"), "mean", "std"),
        (config.get("preprocessor"), "image_mean", "image_std"),
    ):
        if isinstance(part, dict) and (found := _of(part.get(mean), part.get(std))) is not None:
            return found
    return None


def _of(mean: Any, std: Any) -> Normalisation | None:
    numbers = [part for part in (mean, std) if isinstance(part, list) and len(part) == 3]
    if len(numbers) < 2 or not all(isinstance(value, int | float) for part in numbers for value in part):
        return None
    (r, g, b), (of_r, of_g, of_b) = numbers
    return Normalisation((float(r), float(g), float(b)), (float(of_r), float(of_g), float(of_b)))
