"""The problems of webhooks."""

from courtyard.kernel.errors import InvalidInput, Problem


class TooManyEndpoints(Problem):
    """The workspace has as many endpoints as it may have."""

    code = "too_many_endpoints"
    status = 409
    title = "Too many endpoints"


class UrlNotAllowed(InvalidInput):
    """Nothing can be sent to this address, or nothing may."""

    code = "url_not_allowed"
    title = "Nothing is sent to this address"
