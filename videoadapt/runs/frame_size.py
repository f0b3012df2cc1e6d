"""How frames come to the size of a crop, as a config says, and what in it does not go with that."""

from videoadapt.config.schema import Config, DataConfig
from videoadapt.video.bicubic import Bicubic
from videoadapt.video.letterbox import Letterbox
from videoadapt.video.sides import sides_of


def fit_of(config: DataConfig) -> Letterbox | Bicubic | None:
    """What `data.resize` names; None: frames are cut as they come."""
    if config.resize == "bicubic":
        return Bicubic(config.resize_px)
    return Letterbox(config.bar_level) if config.resize == "letterbox" else None


def resize_problems(config: Config) -> list[str]:
    """What a config asks for that does not go with the way in which frames come to the crop's size."""
    data, problems = config.data, []
    smallest = min(sides_of(data.crop_px))
    if data.resize_px is not None and data.resize != "bicubic":
        problems.append(f"data.resize_px = {data.resize_px}: is of data.resize bicubic; set it to null")
    elif data.resize_px is not None and data.resize_px < smallest:
        problems.append(
            f"data.resize_px = {data.resize_px}: is less than data.crop_px = {smallest}; allowed: that or more, or null"
        )
    if data.resize == "crop":
        return problems
    if data.rendered is not None:
        return [f"data.resize = {data.resize}: clips of data.rendered are cut by multi_scale; set it to crop"]
    if data.resize == "letterbox" and config.train.enable and data.augment.crop not in ("centre", "random"):
        problems.append(
            f"data.augment.crop = {data.augment.crop}: cuts frames, which data.resize letterbox keeps whole; allowed: centre "
            "(as in testing), random (0.66 to 1 of that size, anywhere)"
        )
    crops = {"test.crops": (config.task == "train", config.test.crops)}  # predictions go by it too
    crops["train.validate_crops"] = (config.train.enable and data.val is not None, config.train.validate_crops)
    view = "the whole frame" if data.resize == "letterbox" else "its middle"
    problems += [
        f"{key} = {number}: data.resize {data.resize} has one view of a clip, {view}; set it to 1"
        for key, (asked, number) in crops.items()
        if asked and number != 1
    ]
    return problems
