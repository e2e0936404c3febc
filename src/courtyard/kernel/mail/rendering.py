"""From a template and its data to a subject, a text and an HTML page."""

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import css_inline
import jinja2
from babel import Locale
from babel.dates import format_date, format_datetime, get_timezone
from babel.numbers import format_decimal
from jinja2.sandbox import ImmutableSandboxedEnvironment

from courtyard.kernel.application import Application
from courtyard.kernel.languages import translations
from courtyard.kernel.mail import authoring
from courtyard.kernel.mail.schemas import Content, Message, Rendered, Value, Words
from courtyard.kernel.settings import Settings

LAYOUTS: Final = Path(__file__).parent / "templates"
# A name may have 200 characters; in a mail nobody reads so many, and whoever writes a mail into a name needs them.
MAX_TEXT: Final = 100
LINK: Final = "link"

# Many mail programs read the styles of elements alone. What depends on the reader stays in the head.
_INLINER: Final = css_inline.CSSInliner(keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False)
_BLANK: Final = re.compile(r"\s+")
_BLANK_LINES: Final = re.compile(r"\n{3,}")
_WEB_ADDRESS: Final = re.compile(r"https?://[!-~]+")
_MAIL_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
# Where mail programs see an address in a name and make a link of it: `www.`, `://`, `evil.com`.
_LINKED: Final = re.compile(r"://|(?<=\w)\.(?=[^\W\d_]{2})")
# Controls, halves of characters, ends of lines and paragraphs (Unicode, table 4-4).
_NO_CHARACTER: Final = {"Cc", "Cs", "Zl", "Zp"}
# What changes the direction of the text behind it (UAX #9, section 2).
_TURNS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_WORD_JOINER: Final = "\N{WORD JOINER}"


def render(
    settings: Settings, part: Application, message: Message, *, own: Words | None = None, stop: str | None = None
) -> Rendered:
    """Return a message as its receiver will read it.

    Args:
        settings: name and address of the service, which the mail is signed with.
        part: whose template it is.
        message: what to say, to whom.
        own: how a workspace says it, in the place of the template.
        stop: the address of the page on which no more such mails can be asked for; None where they cannot.

    Raises:
        ValueError: the template is not one of the part, a field is missing, too many, or no link, or the language is
            not known.
        jinja2.TemplateError: the template is faulty.
    """
    template = message.template
    _, _, name = template.name.partition(".")
    if template not in part.mails or part.templates is None:
        raise ValueError(f"{part.name} does not declare the mail {template.name}")
    if set(message.data) != set(template.fields):
        raise ValueError(f"{template.name} takes {sorted(template.fields)}, not {sorted(message.data)}")
    environment = _environment(part.name, part.templates, message.language)
    values = {
        **{key: _checked_link(value) if key.endswith(LINK) else _plain(value) for key, value in message.data.items()},
        "service": settings.service_name,
        "home": settings.public_url,
        "language": message.language,
        "time_zone": message.time_zone,
        "stop": stop,
    }
    text = environment.get_template(f"{part.name}.{name}.txt.jinja")
    html = environment.get_template(f"{part.name}.{name}.html.jinja")
    if own is None:
        subject = "".join(text.blocks["subject"](text.new_context(values)))
        written, page = text.render(values), partial(html.render, values)
    else:
        filters = _filters(Locale.parse(message.language), message.time_zone)
        subject = authoring.as_text(own.subject, filters, values)
        # In the place of the body: what stands around it stays that of the template.
        body = authoring.as_text(own.text, filters, values)
        written = environment.get_template("mail.own.txt.jinja").render({**values, "around": text, "own": body})
        markup = authoring.as_page(own.text, filters, values)
        page = partial(
            environment.get_template("mail.own.html.jinja").render, {**values, "around": html, "own": markup}
        )
    subject = _BLANK.sub(" ", subject).strip()
    content = Content(_BLANK_LINES.sub("\n\n", written).strip() + "\n", _INLINER.inline(page(subject=subject)))
    return Rendered(subject, content)


@cache
def _environment(name: str, folder: Path, language: str) -> jinja2.Environment:
    """Return what renders the templates of one folder in one language: sandboxed, as others will write some too."""
    folders = {"mail": jinja2.FileSystemLoader(LAYOUTS), name: jinja2.FileSystemLoader(folder)}
    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.PrefixLoader(folders, delimiter="."),
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.jinja",), default=False),
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    environment.policies["ext.i18n.trimmed"] = True
    # With the new style, what is put into a translated sentence is escaped as everything else is.
    environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    locale = Locale.parse(language)
    environment.filters |= _filters(locale, "UTC")
    environment.filters["datetime"] = jinja2.pass_context(
        lambda context, moment: _datetime(locale, context["time_zone"], moment)
    )
    return environment


def _filters(locale: Locale, time_zone: str) -> dict[str, Callable[[Any], str]]:
    return {
        "number": partial(format_decimal, locale=locale),
        "date": partial(_date, locale),
        "datetime": partial(_datetime, locale, time_zone),
    }


def _date(locale: Locale, moment: date) -> str:
    return format_date(moment, "long", locale=locale)


def _datetime(locale: Locale, time_zone: str, moment: datetime) -> str:
    return f"{format_datetime(moment, 'long', tzinfo=get_timezone(time_zone), locale=locale)}"


def _plain(value: Value) -> Any:  # noqa: ANN401 - as it came, unless it is text
    """Return text as one line that stays what it is: nothing turns it around, nothing makes a link of it."""
    if not isinstance(value, str):
        return value
    kept = "".join(" " if unicodedata.category(each) in _NO_CHARACTER else each for each in value if each not in _TURNS)
    line = _BLANK.sub(" ", kept).strip()
    if len(line) > MAX_TEXT:
        line = f"{line[: MAX_TEXT - 1]}…"
    return line if _MAIL_ADDRESS.fullmatch(line) else _LINKED.sub(lambda found: f"{found[0]}{_WORD_JOINER}", line)


def _checked_link(value: Value) -> Value:
    if value is not None and not (isinstance(value, str) and _WEB_ADDRESS.fullmatch(value)):
        raise ValueError("the link of a mail is an address of the web")
    return value
