"""timm's names of pretrained models, by timm's own table, as names of the hub."""

from videoadapt.errors import CheckpointError, did_you_mean
from videoadapt.weights.names import HubName
from videoadapt.weights.normalisation import IMAGENET


def hub_name(name: str) -> tuple[HubName, str]:
    """`timm:MODEL[.TAG]` -> where timm has its weights, and a note where they were trained with other means and deviations.

    Raises CheckpointError for a name that timm does not know, or whose weights are not on the hub.
    """
    import timm  # slow to import

    asked = name.removeprefix("timm:")
    model, _, tag = asked.partition(".")
    if not timm.is_model(model):
        close = timm.list_models(f"{model[:12]}*")
        raise CheckpointError(
            f"{name}: timm {timm.__version__} has no model {model}; {did_you_mean(model, close[:20])}"
        )
    tags = [other.partition(".")[2] for other in timm.list_pretrained(f"{model}.*")]
    if tag and tag not in tags:
        raise CheckpointError(f"{name}: timm {timm.__version__} has no such weights; {did_you_mean(tag, tags)}")
    config = timm.get_pretrained_cfg(asked)
    if config is None or not config.hf_hub_id:
        where = f"; they are at {config.url}: name that with its #sha256=" if config is not None and config.url else ""
        raise CheckpointError(f"{name}: timm has no weights of it on the hub{where}")
    note = ""
    if (tuple(config.mean), tuple(config.std)) != IMAGENET:
        note = (
            f"{name}: was trained on images normalised with {config.mean} and {config.std}: set model.backbone.mean and "
            "model.backbone.std to these"
        )
    return HubName(config.hf_hub_id, file=config.hf_hub_filename), note
