"""What the server refuses or fails to do, drawn once, with its HTTP status.

    ServerError
    ├── InvalidRequest    a field is wrong; `param` names it
    │   ├── BodyTooLarge      … because it holds too much
    │   ├── UnknownInput      … because there is no ControlNet, IP-Adapter or upscaler of that name
    │   └── UnknownModel  … because another model is served
    ├── UnknownHost       the server is not called so
    ├── ForbiddenOrigin   a page of others sent it
    ├── OutOfMemory       the images do not fit in the device's memory, even alone
    ├── NotFinite         they would be made of NaN or infinity
    ├── DuplicateJob      a job of that id is waiting or running
    ├── JobNotFound       no job of that id is known
    ├── VideoNotMade      the job has no file: it has not ended, or it failed
    ├── NoSuchRange       its file has no such part
    ├── StillStopping     the job was told to stop, and has not done so yet
    ├── RequestCancelled      the job was stopped before its end
    ├── ModelBusy         a model that works cannot be unloaded
    ├── ModelUnavailable  a served model cannot be loaded now
    ├── DeviceBroken      the device works no more until the server is started anew
    ├── NotReady          the first model is still loading, or the server is closing
    ├── QueueFull         too many jobs wait
    └── GenerationFailed  the pipeline raised something else
    ModelError            the model cannot be loaded
    ├── ModelNotFound
    ├── ModelUnreadable
    └── DeviceUnavailable
        └── WeightsTooLarge   its memory does not hold the weights, beside what lies there

Error bodies have OpenAI's shape:
https://platform.openai.com/docs/guides/error-codes/api-errors
"""

from collections.abc import Sequence
from typing import ClassVar, Self

from queue_agent.media.byte_ranges import NoSuchPart


class ServerError(Exception):
    """An answer other than the images."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    headers: dict[str, str] = {}  # noqa: RUF012  never changed in place

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """`retry_after` is in seconds."""
        super().__init__(message)
        if retry_after is not None:
            self.headers = {**self.headers, "Retry-After": str(retry_after)}
        self.body: dict[str, dict[str, str | None]] = {
            "error": {
                "message": message,
                "type": self.kind,
                "code": code or self.code,
                "param": param,
            }
        }


class InvalidRequest(ServerError):
    """The request can never succeed as it is."""

    status = 422
    kind = "invalid_request_error"
    code = "invalid_value"


class ContentWithheld(InvalidRequest):
    """The model's safety checker withheld all images."""

    status = 400
    code = "content_policy_violation"


class BodyTooLarge(InvalidRequest):
    """The body or an image exceeds a limit."""

    status = 413
    code = "too_large"


class UnknownInput(InvalidRequest):
    """The request names something that the server was not started with."""

    status = 400
    code = "unknown_name"

    @classmethod
    def of(cls, kind: str, name: str, there: Sequence[str], *, param: str) -> Self:
        """`there` are the names that would do."""
        known = f"there are {', '.join(map(repr, there))}" if there else "there is none"
        return cls(f"There is no {kind} {name!r}: {known}.", param=param)


class UnknownModel(InvalidRequest):
    """The request names a model that is not the served one."""

    status = 404
    code = "model_not_found"


class UnknownHost(ServerError):
    """The request's `Host` is no name of the server."""

    status = 421
    kind = "invalid_request_error"
    code = "unknown_host"


class ForbiddenOrigin(ServerError):
    """A page of another origin would change something."""

    status = 403
    kind = "invalid_request_error"
    code = "forbidden_origin"


class OutOfMemory(ServerError):
    """The device's memory does not hold the job, although nothing else ran beside it."""

    status = 413
    kind = "invalid_request_error"
    code = "out_of_memory"


class NotFinite(ServerError):
    """The images would be black or broken, as what they are made of holds NaN or infinity.

    The same request overflows in the same way wherever the model is served as it is here: it is
    answered as one that can never succeed.
    """

    status = 422
    kind = "invalid_request_error"
    code = "not_finite"


class DuplicateJob(ServerError):
    """The request's id belongs to a job that has not ended."""

    status = 409
    kind = "invalid_request_error"
    code = "duplicate_request_id"


class JobNotFound(ServerError):
    """No job of that id is known, or it ended long ago."""

    status = 404
    kind = "invalid_request_error"
    code = "job_not_found"


class VideoNotMade(ServerError):
    """The job has not ended, or it failed; its record says which."""

    status = 404
    kind = "invalid_request_error"
    code = "video_not_made"


class NoSuchRange(ServerError):
    """The video ends before the part that is asked for."""

    status = 416
    kind = "invalid_request_error"
    code = "no_such_part"

    def __init__(self, error: NoSuchPart) -> None:
        super().__init__(str(error))
        self.headers = error.headers


class StillStopping(ServerError):
    """The job was told to stop, and has not done so yet; to be asked again."""

    status = 409
    kind = "invalid_request_error"
    code = "still_stopping"
    headers = {"Retry-After": "1"}  # noqa: RUF012  as above


class PreviewNotFound(ServerError):
    """The job asked for no previews, or there is none yet, or it has ended."""

    status = 404
    kind = "invalid_request_error"
    code = "preview_not_found"


class RequestCancelled(ServerError):
    """Somebody asked to stop the job, or its client went away."""

    status = 409
    kind = "cancelled"
    code = "cancelled"


class ModelBusy(ServerError):
    """The model has jobs that run or wait."""

    status = 409
    kind = "invalid_request_error"
    code = "model_busy"


class ModelUnavailable(ServerError):
    """The model is served here, but it cannot be loaded at present."""

    status = 503
    code = "model_unavailable"
    headers = {"Retry-After": "30"}  # noqa: RUF012  as above


class DeviceBroken(ServerError):
    """The device's context is beyond repair; no job is at fault, and the server ends."""

    status = 503
    code = "device_broken"


class NotReady(ServerError):
    """Nothing can be generated now."""

    status = 503
    code = "not_ready"
    headers = {"Retry-After": "1"}  # noqa: RUF012  as above


class QueueFull(ServerError):
    """As many jobs wait as may wait."""

    status = 429
    kind = "rate_limit_error"
    code = "queue_full"
    headers = {"Retry-After": "1"}  # noqa: RUF012  as above


class GenerationFailed(ServerError):
    """The pipeline failed for a reason that the request does not explain."""

    code = "generation_failed"


class ModelError(Exception):
    """The model cannot be served; the message says what to change."""


class ModelNotFound(ModelError):
    """There is no such file, folder or hub id."""


class ModelUnreadable(ModelError):
    """It is there, but it is no model that diffusers can load."""


class DeviceUnavailable(ModelError):
    """This machine lacks the device asked for."""


class WeightsTooLarge(DeviceUnavailable):
    """The device's memory does not hold the model's weights, beside what else lies there."""
