"""Which language a person gets, and whether all of them say everything."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.languages import DOMAIN, LANGUAGES, LOCALE, choose, translations

ROOT = Path(__file__).parents[2]
OTHERS = [language for language in LANGUAGES if language != "en"]
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%%|%")


class TestChoice:
    @pytest.mark.parametrize(
        ("header", "language"),
        [
            (None, "en"),
            ("", "en"),
            ("fi", "fi"),
            ("fi-FI,fi;q=0.9,en;q=0.8", "fi"),
            ("en-GB,en;q=0.9,fi;q=0.8", "en"),
            ("sv;q=0.9, fi;q=0.5, en;q=0.4", "fi"),
            ("fi;q=0.4, en;q=0.5", "en"),
            ("fi;q=0, sv", "en"),
            ("FI", "fi"),
            ("fi_FI", "fi"),
            ("*", "en"),
            ("fil", "en"),
            ("fi;q=high", "en"),
            ("fi;q=nan", "en"),
            (" fi ; q=1.0 ", "fi"),
            (";;;,,,q=q=", "en"),
            ("sv," * 1_000 + "fi", "en"),
        ],
    )
    def test_the_header(self, header: str | None, language: str) -> None:
        assert choose(header) == language

    def test_what_a_person_has_chosen_goes_first(self) -> None:
        assert choose("en", "fi") == "fi"
        assert choose("fi", "en-US") == "en"
        assert choose("fi", "tlh") == "fi"
        assert choose(None, "tlh") == "en"

    @given(st.text(), st.text())
    def test_any_text_gives_a_language(self, header: str, preferred: str) -> None:
        assert choose(header, preferred) in LANGUAGES


class TestTranslations:
    def test_english_stands_in_the_code(self) -> None:
        english = translations("en")
        assert english.gettext("Log in") == "Log in"
        assert english.ngettext("one day", "many days", 1) == "one day"
        assert english.ngettext("one day", "many days", 2) == "many days"

    def test_another_language_and_what_it_lacks(self) -> None:
        finnish = translations("fi")
        assert finnish.gettext("Log in") == "Kirjaudu sisään"
        assert finnish.gettext("This stands nowhere") == "This stands nowhere"
        left = [finnish.ngettext("You have %(left)s recovery code left.", "", count) for count in (1, 2)]
        assert left == ["Sinulla on jäljellä %(left)s palautuskoodi.", "Sinulla on jäljellä %(left)s palautuskoodia."]

    def test_a_language_that_nobody_speaks(self) -> None:
        with pytest.raises(ValueError, match="no catalogue"):
            translations("../../../etc")


def mappings() -> tuple[list[tuple[str, str]], dict[str, dict[str, Any]]]:
    """Return what `make messages` tells Babel to look at."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(mapping["pattern"], mapping["method"]) for mapping in declared]
    return methods, {mapping["pattern"]: mapping for mapping in declared}


@pytest.fixture(scope="module")
def messages() -> Catalog:
    """Every text that the code has."""
    methods, options = mappings()
    found = Catalog()
    for _, _, message, _, context in extract_from_dir(ROOT / "src", methods, options):
        found.add(message, None, context=context)
    assert len(found) > 50
    return found


def catalogue(language: str) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def texts(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def originals(message: Message) -> tuple[str, ...]:
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


@pytest.mark.parametrize("language", OTHERS)
class TestCatalogues:
    """Where one of these fails: `make messages`, and translate what is new (`docs/howto/translate.md`)."""

    def test_everything_is_translated(self, language: str, messages: Catalog) -> None:
        translated = catalogue(language)
        missing = []
        for message in messages:
            if message.id:
                found = translated.get(message.id, message.context)
                if found is None or found.fuzzy or not all(texts(found)):
                    missing.append(originals(message)[0])
        assert missing == []

    def test_nothing_is_left_over(self, language: str, messages: Catalog) -> None:
        translated = catalogue(language)
        assert [originals(message) for message in translated if message.id and message.id not in messages] == []
        assert translated.obsolete == {}

    def test_every_form_has_the_placeholders_of_the_english_text(self, language: str) -> None:
        differing = [
            text
            for message in catalogue(language)
            if message.id
            for text in texts(message)
            # The last form is the plural, which always says how many.
            if sorted(PLACEHOLDER.findall(text)) != sorted(PLACEHOLDER.findall(originals(message)[-1]))
        ]
        assert differing == []

    def test_babel_finds_no_fault(self, language: str) -> None:
        assert [(message.id, errors) for message, errors in catalogue(language).check()] == []
