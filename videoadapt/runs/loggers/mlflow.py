"""MLflow: a run in its store, a database file or folder here, or a server that the config names."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from videoadapt.registry import LOGGERS
from videoadapt.runs.loggers._base import Beginning, Logger, Record
from videoadapt.runs.outcome import Outcome, OutcomeRecord

_MOST_METRICS, _MOST_PARAMS, _LONGEST = 1000, 100, 6000  # of one request; letters of a value
_STATUS = {Outcome.FINISHED: "FINISHED", Outcome.STOPPED: "KILLED"}


@LOGGERS.register
class MLflow(Logger):
    """`uri` null is MLFLOW_TRACKING_URI, or MLflow's own default: mlflow.db in the folder where the run is started."""

    package = "mlflow"

    def __init__(self, *, uri: str | None = None, experiment: str = "videoadapt"):
        self._uri, self._experiment = uri, experiment
        self._client: Any = None
        self._name = ""

    def begin(self, run: Beginning) -> str:
        """The config's keys are its params; of a resumed run, values that are others now are tags."""
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # who names a folder wants one
        # of a server that is gone, in seconds and not minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        from mlflow import MlflowClient
        from mlflow.entities import Param, RunTag

        self._client = client = MlflowClient(tracking_uri=self._uri)
        config = {key: str(value)[:_LONGEST] for key, value in run.config.items()}
        if run.known is None:
            made = client.create_run(self._experiment_id(), run_name=run.folder.name)
            for part in _parts(list(config.items()), _MOST_PARAMS):
                client.log_batch(made.info.run_id, params=[Param(*item) for item in part])
        else:
            made = client.get_run(run.known)
            client.set_terminated(run.known, "RUNNING")
            before = made.data.params
            changed = [RunTag(key, value) for key, value in config.items() if before.get(key) != value]
            for part in _parts(changed, _MOST_PARAMS):
                client.log_batch(run.known, tags=part)
        self._name = made.info.run_id
        return self._name

    def add(self, records: Sequence[Record]) -> None:
        """All numbers of these in as few requests as it allows."""
        from mlflow.entities import Metric

        now_ms = round(time.time() * 1000)
        metrics = [Metric(f"{kind}/{k}", v, now_ms, step) for kind, step, values in records for k, v in values.items()]
        for part in _parts(metrics, _MOST_METRICS):
            self._client.log_batch(self._name, metrics=part)

    def end(self, outcome: OutcomeRecord | None) -> None:
        """Finished, killed (a signal asked it to stop) or failed; tags say what outcome.json does."""
        if outcome is not None:
            self._client.set_tag(self._name, "outcome", outcome.outcome.value)
            if outcome.message is not None:
                self._client.set_tag(self._name, "message", outcome.message[:_LONGEST])
        self._client.set_terminated(self._name, _STATUS.get(outcome.outcome, "FAILED") if outcome else "FAILED")

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        return found.experiment_id if found else self._client.create_experiment(self._experiment)


def _parts(items: list[Any], most: int) -> Iterator[list[Any]]:
    return (items[start : start + most] for start in range(0, len(items), most))
