"""The web layer: what every request goes through, and the decorators that handlers are declared with.

Stands on the context. Knows no account and no application: who is who it asks the identity of the runtime.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.http.admission import PUBLIC, SIGNED_IN
from courtyard.kernel.http.authentication import ACCESS_COOKIE, BROWSER_COOKIE, REFRESH_COOKIE
from courtyard.kernel.http.bodies import Body
from courtyard.kernel.http.contents import Content
from courtyard.kernel.http.edge import TRUSTED, Edge
from courtyard.kernel.http.endpoints import API, Answer, Redirect, Stream, delete, get, patch, post, put
from courtyard.kernel.http.errors import (
    ContentTooLarge,
    HeadersTooLarge,
    IdempotencyKeyReused,
    RangeNotSatisfiable,
    RequestTimeout,
    UploadTooSlow,
)
from courtyard.kernel.http.exchange import Exchange, StrictRequest, exchange_of
from courtyard.kernel.http.models import IdempotencyKeyRow
from courtyard.kernel.http.problems import EXCEPTION_HANDLERS

__all__ = [
    "ACCESS_COOKIE",
    "API",
    "BROWSER_COOKIE",
    "EXCEPTION_HANDLERS",
    "PUBLIC",
    "REFRESH_COOKIE",
    "SIGNED_IN",
    "TRUSTED",
    "Answer",
    "Body",
    "Content",
    "ContentTooLarge",
    "Edge",
    "Exchange",
    "HeadersTooLarge",
    "IdempotencyKeyReused",
    "IdempotencyKeyRow",
    "RangeNotSatisfiable",
    "Redirect",
    "RequestTimeout",
    "Stream",
    "StrictRequest",
    "UploadTooSlow",
    "delete",
    "exchange_of",
    "get",
    "idempotency",
    "patch",
    "post",
    "put",
]

idempotency = Application(
    name="idempotency",
    description="Keys that make a repeated request harmless.",
    models=(IdempotencyKeyRow,),
    migrations=Path(__file__).parent / "migrations",
)
