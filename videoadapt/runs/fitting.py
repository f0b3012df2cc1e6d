"""Epochs and batch size of a list whose length nobody knew when the recipe was written."""

from videoadapt.config.schema import Config
from videoadapt.data.videos import VideoRows
from videoadapt.runs.build_data import schedule_of


def fitted(config: Config, videos: VideoRows, ranks: int) -> Config:
    """The config for a training on `videos` by so many processes: with `train.least_updates`, see the schema; else itself.

    Its own result stays as it is, so that a run resumes with the values that it began with.
    """
    training = config.train
    if training.least_updates is None or not training.enable or not len(videos):
        return config
    share = ranks * training.accumulate
    size = min(training.batch_size, max(len(videos) // share, 1) * share)
    config = config.model_copy(update={"train": training.model_copy(update={"batch_size": size})})
    epochs = -(-training.least_updates // max(schedule_of(config, videos).steps_per_epoch, 1))
    longer = config.train.model_copy(update={"epochs": max(training.epochs, epochs)})
    return config.model_copy(update={"train": longer})
