"""The languages that Courtyard speaks: which one a person gets, and what a message is called in it.

English is what stands in the code; every other language has a gettext catalogue below `courtyard/locale`
(`docs/howto/translate.md`).
"""

from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

LOCALE: Final = Path(__file__).parents[1] / "locale"
DOMAIN: Final = "courtyard"
ENGLISH: Final = "en"
# Code → name in the language itself. The first one is that of whoever asks for none of them.
LANGUAGES: Final = {ENGLISH: "English", "fi": "Suomi"}
# Longer headers come from nobody's browser.
MAX_RANGES: Final = 20


def choose(accept_language: str | None = None, preferred: str | None = None) -> str:
    """Return the language for a person.

    Args:
        accept_language: the header of that name (RFC 9110, section 12.5.4), in any state; None without one.
        preferred: what the person has chosen, a code such as `fi` or `fi-FI`; it goes before the header.
    """
    if preferred is not None and (known := _known(preferred)):
        return known
    ranges = (accept_language or "").split(",", MAX_RANGES)[:MAX_RANGES]
    # Sorting keeps the order of the header among equals.
    for tag, _ in sorted(map(_weighed, ranges), key=lambda weighed: -weighed[1]):
        if known := _known(tag):
            return known
    return ENGLISH


def translations(language: str) -> NullTranslations:
    """Return the messages of a language: its `gettext` and `ngettext` give the English text where one is missing."""
    return NullTranslations() if language == ENGLISH else _catalogue(language)


def _weighed(accepted: str) -> tuple[str, float]:
    tag, _, weight = accepted.partition(";")
    name, _, value = weight.partition("=")
    try:
        quality = float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        quality = 0.0
    return (tag, quality) if 0 < quality <= 1 else ("", 0.0)


def _known(tag: str) -> str | None:
    """Return the language of a tag (RFC 5646) if Courtyard speaks it: `fi` for `fi-FI`."""
    primary = tag.strip().replace("_", "-").partition("-")[0].lower()
    return primary if primary in LANGUAGES else None


@cache
def _catalogue(language: str) -> NullTranslations:
    if language not in LANGUAGES:
        raise ValueError(f"there is no catalogue for the language {language!r}")
    # Only where somebody is written to in another language, and once.
    from babel.messages.mofile import write_mo  # noqa: PLC0415
    from babel.messages.pofile import read_po  # noqa: PLC0415

    with (LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        catalogue = read_po(file, locale=language, domain=DOMAIN)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)
