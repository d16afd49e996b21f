"""Named errors. The docstring of a class is its message: `str(error)` fills in its {fields}.

Errors cross the pipe between device process and worker by class name, so their fields are plain values.
"""

from __future__ import annotations


class CreativesError(Exception):
    """Something in the creatives service failed."""

    def __init__(self, **fields: str | float) -> None:
        super().__init__()
        self.fields = fields

    def __str__(self) -> str:
        return " ".join((self.__doc__ or "").split()).format_map(self.fields)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type: at most 300 characters, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(" .")


class WeightsError(CreativesError):
    """The weights cannot be used."""


class WeightsNotFound(WeightsError):
    """No weights for {role} at {reference}: {hint}"""


class WrongArchitecture(WeightsError):
    """The checkpoint {path} does not fit {architecture}: {detail}. To choose other weights, set
    CREATIVES_STUDIO__DIFFUSION, CREATIVES_STUDIO__RERANKING or CREATIVES_STUDIO__UPSCALING.
    """


class UnreadableCheckpoint(WeightsError):
    """The checkpoint {path} cannot be read: {detail}; download it again."""


class UnusableCard(WeightsError):
    """The weights' card {path} cannot be used: {detail}; fix or remove it."""


class UnusableSampler(WeightsError):
    """The sampler {sampler} cannot be used: {detail}. Change CREATIVES_STUDIO__SAMPLER or CREATIVES_STUDIO__STEPS."""


class WeightsDamaged(WeightsError):
    """The file {path} is not the expected one (its sha256 is {digest}). Download or install it again."""


class UnsafeCheckpoint(WeightsError):
    """The checkpoint {path} is a pickle that can run code ({detail}); convert it to safetensors."""


class UnsafeConfiguration(WeightsError):
    """The configuration {path} is refused: {detail}. Remove that entry, or choose other weights."""


class DeviceUnavailable(CreativesError):
    """The device {device} cannot be used: {detail}"""


class ScratchDiskUnusable(CreativesError):
    """The scratch folder {folder} cannot be used: {detail}. Free space on its disk, fix its permissions, or set
    CREATIVES_TRAINING__WORKDIR to a folder on another disk.
    """


class OutOfDeviceMemory(CreativesError):
    """The device ran out of memory in {stage}: {detail}. Lower CREATIVES_STUDIO__BUCKET or CREATIVES_STUDIO__SIZE."""


class StageFailed(CreativesError):
    """The {stage} stage failed with {kind}: {detail}. The worker's log has the traceback."""


class Cancelled(CreativesError):
    """The worker cancelled the job, because it is shutting down or no longer owns the event."""


class Refused(CreativesError):
    """The service refused a valid request."""

    code = "refused"


class NothingPassed(Refused):
    """No candidate passed the selection: {detail}"""

    code = "nothing_passed"


class UnusablePhotos(Refused):
    """Too few photos are usable for training: {detail}. Replace them and register the product again."""

    code = "unusable_photos"


class UnsupportedTraining(Refused):
    """The service does not support this training: {detail}."""

    code = "unsupported_training"


class TrainingDiverged(Refused):
    """The training diverged {when}: {detail}."""

    code = "training_diverged"


class ConceptTooWeak(Refused):
    """The trained concept misses a threshold: {detail}. Send more photos, or train for more steps."""

    code = "concept_too_weak"
