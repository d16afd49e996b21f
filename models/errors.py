"""Named errors. The docstring of a class is its message: `str(error)` fills in its {fields}.

Errors cross the pipe between device process and worker, so each one pickles: its fields are plain values.
"""

from __future__ import annotations


class CreativesError(Exception):
    """Something in the creatives service failed."""

    def __init__(self, **fields: str | float) -> None:
        super().__init__()
        self.fields = fields

    def __str__(self) -> str:
        return " ".join((self.__doc__ or "").split()).format_map(self.fields)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.fields)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 300 characters; the error's type if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _rebuild(cls: type[CreativesError], fields: dict[str, str | int | float]) -> CreativesError:
    return cls(**fields)


class WeightsError(CreativesError):
    """The weights cannot be used."""


class WeightsNotFound(WeightsError):
    """No weights for {role} at {reference}: {hint}"""


class WrongArchitecture(WeightsError):
    """The checkpoint {path} does not fit {architecture}: {detail}. Name other weights with
    CREATIVES_STUDIO__DIFFUSION, CREATIVES_STUDIO__RERANKING or CREATIVES_STUDIO__UPSCALING.
    """


class UnreadableCheckpoint(WeightsError):
    """The checkpoint {path} cannot be read: {detail}; download it again."""


class UnusableCard(WeightsError):
    """The weights' card {path} cannot be used: {detail}; fix or remove it."""


class UnusableSampler(WeightsError):
    """The sampler {sampler} cannot be used: {detail}. See CREATIVES_STUDIO__SAMPLER and CREATIVES_STUDIO__STEPS."""


class WeightsDamaged(WeightsError):
    """The file {path} is not the expected one (its sha256 is {digest}). Download or install it again."""


class UnsafeCheckpoint(WeightsError):
    """The checkpoint {path} is a pickle that can run code ({detail}); convert it to safetensors."""


class UnsafeConfiguration(WeightsError):
    """The configuration {path} is refused: {detail}. Remove that entry, or name other weights."""


class DeviceUnavailable(CreativesError):
    """The device {device} cannot be used: {detail}"""


class OutOfDeviceMemory(CreativesError):
    """The device ran out of memory in {stage}: {detail}. Lower CREATIVES_STUDIO__BUCKET or CREATIVES_STUDIO__SIZE."""


class StageFailed(CreativesError):
    """The {stage} stage failed with {kind}: {detail}"""


class Cancelled(CreativesError):
    """The worker cancelled the job: it no longer owns it."""


class Refused(CreativesError):
    """A valid request that the service refuses."""

    code = "refused"


class NothingPassed(Refused):
    """No candidate passed: {detail}"""

    code = "nothing_passed"


class UnusablePhotos(Refused):
    """The photos cannot be learned from: {detail}"""

    code = "unusable_photos"


class UnsupportedTraining(Refused):
    """The product cannot be trained like this: {detail}"""

    code = "unsupported_training"


class TrainingDiverged(Refused):
    """The training diverged {when}: {detail}"""

    code = "training_diverged"


class ConceptTooWeak(Refused):
    """The trained concept stays below the thresholds: {detail}"""

    code = "concept_too_weak"
