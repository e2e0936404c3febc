"""Problems that only HTTP has."""

from courtyard.kernel.errors import Problem, Unavailable


class MethodNotAllowed(Problem):
    """The path exists, with other methods."""

    code = "method_not_allowed"
    status = 405
    title = "The method is not allowed here"


class RequestTimeout(Unavailable):
    """The answer took longer than the server allows."""

    code = "request_timeout"
    title = "The request took too long"


class ContentTooLarge(Problem):
    """The body is longer than the server accepts."""

    code = "content_too_large"
    status = 413
    title = "The body is too large"


class UnsupportedMediaType(Problem):
    """Bodies are JSON."""

    code = "unsupported_media_type"
    status = 415
    title = "The body must be application/json"


class HeadersTooLarge(Problem):
    """The headers are longer than the server accepts."""

    code = "headers_too_large"
    status = 431
    title = "The headers are too large"


class IdempotencyKeyReused(Problem):
    """The key belongs to another request: take a new key for a new request."""

    code = "idempotency_key_reused"
    status = 422
    title = "The idempotency key was used for another request"


class InternalError(Problem):
    """A fault of the server. Nothing was changed; the request id leads to the log."""


class CsrfFailed(Problem):
    """A change that is authenticated by cookie needs the header `X-CSRF-Token` with the token of the session."""

    code = "csrf_failed"
    status = 403
    title = "The CSRF token is missing or wrong"


class UploadTooSlow(Problem):
    """Nothing of the body has come for too long, or all of it takes too long."""

    code = "upload_too_slow"
    status = 408
    title = "The upload is too slow"

    def __init__(self) -> None:
        # Nobody waits for the rest.
        super().__init__(headers={"Connection": "close"})


class RangeNotSatisfiable(Problem):
    """The range begins behind the end."""

    code = "range_not_satisfiable"
    status = 416
    title = "There is nothing in this range"

    def __init__(self, size: int = 0) -> None:
        super().__init__(headers={"Content-Range": f"bytes */{size}"})
