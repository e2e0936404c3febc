"""The problem of those who ask too often."""

import math

from courtyard.kernel.errors import Problem


class TooManyRequests(Problem):
    """More was asked than a limit allows; `policy` names it. Ask again after `Retry-After` seconds."""

    code = "too_many_requests"
    status = 429
    title = "Too many requests"

    def __init__(self, policy: str = "", reset_seconds: float = 0.0) -> None:
        seconds = max(1, math.ceil(reset_seconds))
        super().__init__(f"Try again in {seconds} s.", headers={"Retry-After": str(seconds)}, policy=policy)
