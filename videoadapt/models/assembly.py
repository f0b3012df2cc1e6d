"""A classifier put together from its parts, in the one order that works."""

from videoadapt.models.adapters import Adapter
from videoadapt.models.backbone import Backbone
from videoadapt.models.classifier import Classifier
from videoadapt.models.head import Head
from videoadapt.models.loading import load_adapter, load_backbone
from videoadapt.models.parameters import freeze
from videoadapt.weights.formats import Inflation, Weights


def assemble(
    backbone: Backbone,
    adapter: Adapter,
    head: Head,
    weights: Weights | None,
    inflate: Inflation = "average",
    trained: bool = False,
) -> Classifier:
    """Load the weights strictly, attach the adapter, freeze the rest; return the model in training mode.

    `weights` may hold the adapter's tensors too, and None leaves everything as it was initialised. `trained`: whoever asks
    loads what a run has trained next. Raises ConfigError where the adapter has no place in the backbone, CheckpointError for
    weights that do not fit.
    """
    model = Classifier(backbone, head)
    if weights is not None:
        report = load_backbone(model, weights, inflate, trained)
        model.head_loaded = not report.replaced and "head" not in report.new
        model.head_class_names = weights.class_names if model.head_loaded else None
    adapter.attach(backbone)
    if weights is not None:
        load_adapter(model, weights)
    freeze(model, backbone, adapter)
    return model.train()
