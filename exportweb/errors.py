"""The errors that exportweb raises on purpose, as a tree.

Every message shows what was given, what was expected and what to do next, so it can be printed as it is. Errors that a
client of the server caused derive from `RequestError` and carry the HTTP status that says so.

    ExportwebError
    ├── ExportError          a model that can't become an artifact
    ├── ArtifactError        a file that isn't an artifact, or no longer a whole one
    │   └── TornArtifact     cut short or altered
    ├── CardError            a card that doesn't say what it must
    ├── StoreError           a store that can't be read or written
    │   └── StoreLocked      another trainer publishes into it
    ├── DeviceError          the device that was asked for can't run the model
    ├── Rejected             a version that failed its checks and never served
    ├── DataError            a data set that a model can't be evaluated on
    └── RequestError         what a client sent can't be answered
        ├── BadParameter     400
        ├── NotFound         404
        ├── TooSlow          408
        ├── TooLarge         413
        ├── NotAnImage       415
        ├── BadInput         422
        │   └── TornImage    an image that is cut short or damaged
        ├── TimedOut         504
        └── Overloaded       503
"""


class ExportwebError(Exception):
    """Base of all errors that exportweb raises on purpose."""


class ExportError(ExportwebError):
    """A model can't be turned into an artifact."""


class ArtifactError(ExportwebError):
    """A file is not an artifact."""


class TornArtifact(ArtifactError):
    """An artifact is cut short, or its bytes are not those that were published."""


class CardError(ExportwebError):
    """A card is missing, or doesn't say what it must."""


class StoreError(ExportwebError):
    """A store can't be read or written."""


class StoreLocked(StoreError):
    """Another process publishes into the store."""


class DeviceError(ExportwebError):
    """The device that was asked for can't run the model."""


class Rejected(ExportwebError):
    """A version failed a check; the running one keeps serving."""


class DataError(ExportwebError):
    """A data set can't be read, or it and the model are not for each other."""


class RequestError(ExportwebError):
    """What a client sent can't be answered; `status` is the HTTP status that says so."""

    status = 400


class BadParameter(RequestError):
    """A query parameter or form field is missing, unknown or out of range."""


class NotFound(RequestError):
    """There is no such model here, or the version isn't loaded."""

    status = 404


class TooSlow(RequestError):
    """The body didn't arrive in time."""

    status = 408


class TooLarge(RequestError):
    """More bytes or pixels than the server takes."""

    status = 413


class NotAnImage(RequestError):
    """The body is in no image format that the server reads."""

    status = 415


class BadInput(RequestError):
    """The body can be read, but what it holds isn't what the model takes."""

    status = 422


class TornImage(BadInput):
    """The body begins as an image but can't be decoded."""


class TimedOut(RequestError):
    """The answer took longer than a request may."""

    status = 504


class Overloaded(RequestError):
    """The queue is full, or no version is loaded yet; ask again after `retry_after` seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
