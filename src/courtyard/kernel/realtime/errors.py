"""Problems that only sockets have."""

from courtyard.kernel.errors import NotFound, Problem


class UnknownEvent(NotFound):
    """There is no socket event of this name."""

    code = "unknown_event"
    title = "There is no such event"


class UnknownTopic(NotFound):
    """There is no topic of this name, or the caller may not know of it."""

    code = "unknown_topic"
    title = "There is no such topic"


class NotSubscribed(Problem):
    """Only who listens to a topic may say something there."""

    code = "not_subscribed"
    status = 409
    title = "Subscribe to the topic first"


class TooManySubscriptions(Problem):
    """The connection listens to as many topics as one may."""

    code = "too_many_subscriptions"
    status = 429
    title = "Too many subscriptions"


class EventTimeout(Problem):
    """The answer took longer than the server allows. Whether it was carried out is not known: ask again."""

    code = "event_timeout"
    status = 503
    title = "The event took too long"


class InternalSocketError(Problem):
    """A fault of the server. Nothing was changed; the request id leads to the log."""
