"""What the server says about itself: the front page, the API explorer, the documents, health and metrics.

Stands on the kernel and its declarations. Knows no application by name.
"""

from collections.abc import Sequence
from typing import Any

from courtyard.kernel.application import Application
from courtyard.site import openapi, permission_table
from courtyard.site.asyncapi import asyncapi_document
from courtyard.site.audit_names import audit_names_page
from courtyard.site.beside import MetricsServer
from courtyard.site.census import Census
from courtyard.site.errors import CannotStart
from courtyard.site.limits_table import limits_page
from courtyard.site.metrics import exposition, metrics_page
from courtyard.site.preparation import prepare
from courtyard.site.routes import ROUTES, WORKERS
from courtyard.site.workers import Workers

__all__ = [
    "ROUTES",
    "WORKERS",
    "CannotStart",
    "Census",
    "MetricsServer",
    "Workers",
    "asyncapi_document",
    "audit_names_page",
    "exposition",
    "limits_page",
    "metrics_page",
    "openapi_document",
    "permissions_page",
    "prepare",
]


def openapi_document(parts: Sequence[Application]) -> dict[str, Any]:
    """Return the OpenAPI document of these parts, and of what the server says about itself."""
    return openapi.openapi_document(parts, ROUTES)


def permissions_page(parts: Sequence[Application]) -> str:
    """Return the reference page of the permissions and roles of these parts."""
    return permission_table.permissions_page(parts, ROUTES)
