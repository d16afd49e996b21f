"""The options of a training method, from the job, otherwise from the model family, otherwise from the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from models.briefs import TrainingJob
from models.errors import UnsupportedTraining
from models.learning import dreambooth, textual_inversion

Options = dreambooth.Options | textual_inversion.Options

DEFAULTS: dict[str, Options] = {
    "textual_inversion": textual_inversion.Options(),
    "dreambooth": dreambooth.Options(),
    "dreambooth_lora": dreambooth.Options(learning_rate=1e-4, rank=4),
}
# Options that a method would ignore, or that would turn it into another method.
UNSUPPORTED: dict[str, tuple[str, ...]] = {
    "textual_inversion": ("train_text_encoder", "rank"),
    "dreambooth": ("rank", "vectors"),
    "dreambooth_lora": ("train_text_encoder", "vectors"),
}


def method_options(training_job: TrainingJob, family: Mapping[str, Mapping[str, float]]) -> Options:
    """Return the options of the job's method. family: the model family's options by method.

    Raises UnsupportedTraining if the job sets an option that its method does not have.
    """
    for name in UNSUPPORTED[training_job.method]:
        if getattr(training_job, name):
            raise UnsupportedTraining(detail=f"{training_job.method} has no option {name}; remove it")
    defaults = DEFAULTS[training_job.method]
    job_values = {option.name: getattr(training_job, option.name) for option in fields(defaults)}
    given = {name: value for name, value in job_values.items() if value is not None}
    return replace(defaults, **{**family.get(training_job.method, {}), **given})
