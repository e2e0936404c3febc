"""The front page: what runs here, for whoever opens the address in a browser."""

from functools import cache
from html import escape
from pathlib import Path
from string import Template

from courtyard import __version__
from courtyard.kernel.http import API
from courtyard.kernel.realtime import PATH
from courtyard.kernel.runtime import Runtime

STATIC = Path(__file__).parent / "static"


def front_page(runtime: Runtime) -> bytes:
    """Return the page as HTML. It needs no script and nothing from elsewhere."""
    settings = runtime.settings
    applications = [part for part in runtime.parts if part.name in settings.applications]
    rows = "".join(f"<dt>{escape(part.name)}</dt><dd>{escape(part.description)}</dd>" for part in applications)
    page = _template().substitute(
        version=escape(__version__),
        applications=rows or "<dt>None</dt><dd>Only the kernel runs.</dd>",
        api=escape(API),
        database="SQLite" if runtime.placement.main.is_sqlite else "PostgreSQL",
        redis="Connects the server processes." if settings.redis_url else "Not used: there is one server process.",
        realtime=escape(PATH),
    )
    return page.encode()


@cache
def _template() -> Template:
    return Template((STATIC / "front.html").read_text(encoding="utf-8"))
