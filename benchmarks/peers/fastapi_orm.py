"""FastAPI, SQLAlchemy's ORM and asyncpg: what most Python services of today are made of."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.peers.models import AUTHOR_ID, PAGE_SIZE, POOL_SIZE, Message

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=POOL_SIZE, max_overflow=0
)
new_session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class NewMessage(BaseModel):
    """What is posted."""

    text: str = Field(min_length=1, max_length=4000)
    client_message_id: UUID | None = None


class MessageOut(BaseModel):
    """What is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    conversation_id: UUID
    number: int
    author_id: UUID
    text: str
    client_message_id: UUID | None
    created_at: datetime


class MessagePage(BaseModel):
    """Newest first, and where the next page begins."""

    items: list[MessageOut]
    next: str | None


async def session_of_request() -> AsyncIterator[AsyncSession]:
    """Open a session for one request."""
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(session_of_request)]


@app.get("/conversations/{conversation_id}/messages")
async def page(conversation_id: UUID, session: Session) -> MessagePage:
    """Answer the newest messages of a conversation."""
    statement = (
        select(Message)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.number.desc())
        .limit(PAGE_SIZE)
    )
    items = [MessageOut.model_validate(message) for message in await session.scalars(statement)]
    return MessagePage(items=items, next=str(items[-1].number) if len(items) == PAGE_SIZE else None)


@app.post("/conversations/{conversation_id}/messages", status_code=201)
async def post(conversation_id: UUID, new: NewMessage, session: Session) -> MessageOut:
    """Insert one message."""
    message = Message(
        conversation_id=conversation_id,
        author_id=AUTHOR_ID,
        text=new.text,
        client_message_id=new.client_message_id,
    )
    session.add(message)
    await session.commit()
    return MessageOut.model_validate(message)
