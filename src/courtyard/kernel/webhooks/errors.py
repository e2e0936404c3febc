"""The problems of webhooks."""

from courtyard.kernel.errors import Problem


class TooManyEndpoints(Problem):
    """The workspace has as many endpoints as it may have."""

    code = "too_many_endpoints"
    status = 409
    title = "Too many endpoints"
