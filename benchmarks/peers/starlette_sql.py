"""Starlette, hand-written SQL on asyncpg and msgspec: the floor, with nothing left to take away."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.peers.models import AUTHOR_ID, PAGE_SIZE, POOL_SIZE

PAGE: Final = """
    SELECT id, conversation_id, number, author_id, text, client_message_id, created_at
    FROM messages WHERE conversation_id = $1 ORDER BY number DESC LIMIT $2
"""
INSERT: Final = """
    INSERT INTO messages (id, conversation_id, author_id, text, client_message_id) VALUES ($1, $2, $3, $4, $5)
    RETURNING id, conversation_id, number, author_id, text, client_message_id, created_at
"""


class NewMessage(msgspec.Struct):
    """What is posted."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    client_message_id: UUID | None = None


class Message(msgspec.Struct):
    """What is answered."""

    id: UUID
    conversation_id: UUID
    number: int
    author_id: UUID
    text: str
    client_message_id: UUID | None
    created_at: datetime


class MessagePage(msgspec.Struct):
    """Newest first, and where the next page begins."""

    items: list[Message]
    next: str | None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(NewMessage).decode


async def page(request: Request) -> Response:
    """Answer the newest messages of a conversation."""
    rows = await request.app.state.pool.fetch(PAGE, request.path_params["conversation_id"], PAGE_SIZE)
    items = [Message(*row) for row in rows]
    answer = MessagePage(items, str(items[-1].number) if len(items) == PAGE_SIZE else None)
    return Response(encode(answer), media_type="application/json")


async def post(request: Request) -> Response:
    """Insert one message."""
    new = decode(await request.body())
    values = (uuid4(), request.path_params["conversation_id"], AUTHOR_ID, new.text, new.client_message_id)
    row = await request.app.state.pool.fetchrow(INSERT, *values)
    return Response(encode(Message(*row)), status_code=201, media_type="application/json")


async def refuse(_request: Request, problem: Exception) -> Response:
    """Answer 422 to a body that is not a message."""
    return Response(encode({"detail": str(problem)}), status_code=422, media_type="application/json")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Keep the pool open while the server runs."""
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        yield


MESSAGES: Final = "/conversations/{conversation_id:uuid}/messages"
app = Starlette(
    routes=[Route(MESSAGES, page), Route(MESSAGES, post, methods=["POST"])],
    exception_handlers={msgspec.DecodeError: refuse},
    lifespan=lifespan,
)
