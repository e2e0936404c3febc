"""Words of a workspace: a small part of Jinja around Markdown, checked before it is kept. Pure, without I/O.

Whoever writes a mail for a workspace is trusted with its words, and with nothing else: no loops, no calls, no
attributes, no HTML. So a text ends, is about as long as it looks, and can show nothing that it is not given.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jinja2
import nh3
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markdown_it import MarkdownIt
from markupsafe import Markup

# What a text may be made of. Everything else of Jinja is refused by its name.
_ALLOWED: Final = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.If,
    nodes.Not,
    nodes.And,
    nodes.Or,
    nodes.Compare,
    nodes.Operand,
    nodes.Filter,
)
FILTERS: Final = ("date", "datetime", "number")
ALWAYS: Final = ("service", "home")
LINK: Final = "link"

_TAGS: Final = {"p", "br", "strong", "em", "ul", "ol", "li", "a", "h2", "h3", "blockquote", "hr", "code", "pre"}
_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).disable("image")


class Unwritable(Exception):
    """A text cannot be used; the message is for whoever wrote it."""


def check(source: str, fields: Sequence[str]) -> None:
    """Refuse a text that is made of more than it may be.

    Args:
        source: as somebody wrote it.
        fields: what it may name.

    Raises:
        Unwritable: with the line.
    """
    environment = _environment({})
    try:
        tree = environment.parse(source)
    except RecursionError as error:
        raise Unwritable("there is too much in each other") from error
    except jinja2.TemplateSyntaxError as error:
        raise Unwritable(f"line {error.lineno}: {error.message}") from error
    known = {*fields, *ALWAYS}
    for node in [tree, *tree.find_all(nodes.Node)]:
        if not isinstance(node, _ALLOWED):
            raise Unwritable(f"line {node.lineno}: {type(node).__name__.lower()} cannot be used in a mail")
        if isinstance(node, nodes.Name) and node.name not in known:
            raise Unwritable(f"line {node.lineno}: there is no field {node.name}")
        if isinstance(node, nodes.Filter) and (node.args or node.kwargs or node.name not in FILTERS):
            raise Unwritable(f"line {node.lineno}: there is no filter {node.name}")


def as_text(source: str, filters: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return what a text says, as it stands."""
    return _environment(filters).from_string(source).render(values)


def as_page(source: str, filters: Mapping[str, Any], values: Mapping[str, Any]) -> Markup:
    """Return what a text says, as a part of a page. Values stay what they are, whatever Markdown would make of them."""
    environment = _environment(filters)
    environment.finalize = _literal
    links = {name: _Link(value) for name, value in values.items() if name.endswith(LINK) and value}
    written = environment.from_string(source).render({**values, **links})
    cleaned = nh3.clean(
        _MARKDOWN.render(written), tags=_TAGS, attributes={"a": {"href"}}, url_schemes={"https", "http", "mailto"}
    )
    return Markup(cleaned)  # noqa: S704 - it has just been cleaned


class _Link(str):
    """An address of the web, which is to be one in the page too."""

    __slots__ = ()


def _literal(value: object) -> object:
    if isinstance(value, _Link):
        return "<{}>".format(value.replace("<", "%3C").replace(">", "%3E"))
    return value if isinstance(value, Markup) else _PUNCTUATION.sub(r"\\\1", str(value))


def _environment(filters: Mapping[str, Any]) -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    # What comes with Jinja could make much of little.
    environment.filters = dict.fromkeys(FILTERS, _unused) | dict(filters)
    environment.globals.clear()
    return environment


def _unused(value: object) -> object:
    return value
