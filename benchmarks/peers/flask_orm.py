"""Flask, SQLAlchemy's ORM and psycopg on gunicorn's threads: the stack of the older Python services."""

import os
from typing import Any
from uuid import UUID

from flask import Flask, request
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import create_engine, select
from sqlalchemy.orm import sessionmaker

from benchmarks.peers.models import AUTHOR_ID, PAGE_SIZE, POOL_SIZE, Message

engine = create_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"), pool_size=POOL_SIZE, max_overflow=0
)
new_session = sessionmaker(engine, expire_on_commit=False)
app = Flask(__name__)


class NewMessage(BaseModel):
    """What is posted."""

    text: str = Field(min_length=1, max_length=4000)
    client_message_id: UUID | None = None


def as_json(message: Message) -> dict[str, Any]:
    """Return the fields of a message as values for Flask's JSON encoder."""
    return {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "number": message.number,
        "author_id": message.author_id,
        "text": message.text,
        "client_message_id": message.client_message_id,
        "created_at": message.created_at.isoformat(),
    }


@app.errorhandler(ValidationError)
def refuse(problem: ValidationError) -> tuple[dict[str, Any], int]:
    """Answer 422 to a body that is not a message."""
    return {"detail": str(problem)}, 422


@app.get("/conversations/<uuid:conversation_id>/messages")
def page(conversation_id: UUID) -> dict[str, Any]:
    """Answer the newest messages of a conversation."""
    statement = (
        select(Message)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.number.desc())
        .limit(PAGE_SIZE)
    )
    with new_session() as session:
        items = [as_json(message) for message in session.scalars(statement)]
    return {"items": items, "next": str(items[-1]["number"]) if len(items) == PAGE_SIZE else None}


@app.post("/conversations/<uuid:conversation_id>/messages")
def post(conversation_id: UUID) -> tuple[dict[str, Any], int]:
    """Insert one message."""
    new = NewMessage.model_validate_json(request.get_data())
    message = Message(
        conversation_id=conversation_id,
        author_id=AUTHOR_ID,
        text=new.text,
        client_message_id=new.client_message_id,
    )
    with new_session() as session:
        session.add(message)
        session.commit()
    return as_json(message), 201
