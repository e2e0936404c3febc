"""From exceptions to `application/problem+json`."""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException

from courtyard.kernel.errors import FieldError, InvalidInput, NotFound, Problem
from courtyard.kernel.http.errors import ContentTooLarge, InternalError, MethodNotAllowed
from courtyard.kernel.http.exchange import TOO_LARGE, exchange_of

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
SERVER_FAULT = 500


def encode_problem(problem: Problem, request_id: str | None) -> bytes:
    """Return the document of a problem as JSON."""
    return msgspec.json.encode(problem.document(request_id))


def problem_response(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """Answer with a problem."""
    exchange = exchange_of(request.scope)
    request_id = None
    if exchange is not None:
        exchange.error = problem.code
        request_id = exchange.request_id
    return Response(
        encode_problem(problem, request_id),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=problem.headers,
    )


def _on_problem(request: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    return problem_response(request, error)


def _on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Translate what the framework itself refuses."""
    if isinstance(error, NotFoundException):
        return problem_response(request, NotFound())
    if isinstance(error, MethodNotAllowedException):
        return problem_response(request, MethodNotAllowed(headers=error.headers))
    if isinstance(error, ValidationException):
        return problem_response(request, InvalidInput(errors=_field_errors(request, error.extra)))
    if error.status_code == TOO_LARGE:
        return problem_response(request, ContentTooLarge())
    if error.status_code < SERVER_FAULT:
        return problem_response(request, InvalidInput(error.detail))
    return _on_fault(request, error)


def _field_errors(request: Request[Any, Any, Any], extra: object) -> list[FieldError]:
    """Translate the framework's list of faulty arguments."""
    faults: list[FieldError] = []
    for fault in extra if isinstance(extra, list) else []:
        if not isinstance(fault, Mapping):
            continue
        key, message = str(fault.get("key", "")), str(fault.get("message", "is not valid"))
        if fault.get("source") == "body" or key == "data":
            faults.append(FieldError("a body is needed" if key == "data" else message, pointer=""))
        else:
            faults.append(FieldError(message, parameter=_name_on_the_wire(request, key)))
    return faults


def _name_on_the_wire(request: Request[Any, Any, Any], argument: str) -> str:
    """Return the name of a parameter in the query, which need not be that of the argument."""
    field = request.route_handler.parsed_fn_signature.parameters.get(argument)
    return getattr(field and field.kwarg_definition, "name", None) or argument


def _on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("http.fault", path=request.scope["path"], exc_info=error)
    return problem_response(request, InternalError("The fault has been logged under the request id."))


EXCEPTION_HANDLERS: dict[Any, Any] = {
    Problem: _on_problem,
    HTTPException: _on_http_exception,
    Exception: _on_fault,
}
