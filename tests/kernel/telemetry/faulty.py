"""A server with a fault: its front page fails, with secrets within reach. Started as a process by tests."""

from typing import NoReturn

import structlog
from typing_extensions import override

from courtyard.cli import main
from courtyard.site import routes

log = structlog.get_logger()
PATH = "not-for-reports"
CANARY = "planted-canary-in-the-fault"


class Opaque:
    """Something whose text holds a secret."""

    @override
    def __str__(self) -> str:
        return f"opaque with password={CANARY}-opaque"


def front_page(*_: object) -> NoReturn:
    """Fail, with secrets in variables, in a message and in what is logged."""
    password = f"{CANARY}-variable"  # noqa: F841 - it is what must not be told
    deep: dict[str, object] = {"refresh_token": f"{CANARY}-deep"}
    for _level in range(10):
        deep = {"plain": [deep, {"name": "api_key", "value": f"{CANARY}-pair"}]}
    log.error(
        "sample.fault",
        deep=deep,
        opaque=Opaque(),
        authorization=f"Bearer {CANARY}-header",
        note=f"Basic {CANARY.replace('-', '')}",
        path=f"/{PATH}",
        harmless="kept",
    )
    cause = ValueError(f"{{'password': '{CANARY}-dict', 'name': 'Ada'}}")
    raise RuntimeError(f"no login with token={CANARY}-token at 3, secret: {CANARY}-secret") from cause


if __name__ == "__main__":
    setattr(routes, "front_page", front_page)  # noqa: B010 - no annotation fits what only fails
    main()
