"""Problems of subscribing."""

from courtyard.kernel.errors import Problem


class ReplayTooLong(Problem):
    """More events were missed than are replayed: read the state anew and subscribe from `number`."""

    code = "replay_too_long"
    status = 409
    title = "Too many events were missed"


class AheadOfLog(Problem):
    """The client has seen a number that does not exist here: read the state anew and subscribe from `number`."""

    code = "ahead_of_log"
    status = 409
    title = "The log does not reach that number"
