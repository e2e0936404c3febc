"""Answers that take their time: made for as long as somebody waits for them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import Receive


async def while_there(receive: Receive, answer: Coroutine[Any, Any, None]) -> None:
    """Send an answer, and stop making it when the client has gone.

    Nothing else would tell: a server that speaks ASGI drops what is sent to a client that has gone, without a word.

    Args:
        receive: of the request, whose body has been read.
        answer: sends it, and lets go of everything when it is cancelled.
    """
    sending, gone = asyncio.create_task(answer), asyncio.create_task(_until_gone(receive))
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        gone.cancel()
        await asyncio.wait((sending, gone))
    if not sending.cancelled():
        sending.result()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
