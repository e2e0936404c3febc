"""Every mail in every language, with good data and with data that mean harm."""

import re
from datetime import date
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
from typing_extensions import override

from courtyard.kernel.application import Application
from courtyard.kernel.languages import LANGUAGES
from courtyard.kernel.mail import Message, Template
from courtyard.kernel.mail.rendering import MAX_TEXT, render
from tests.kernel.mail.conftest import CODE, LINK, MAILS, NAMES, SETTINGS, VALUES, rendered, values_of

EVERY_MAIL = pytest.mark.parametrize("name", NAMES)
EVERY_LANGUAGE = pytest.mark.parametrize("language", LANGUAGES)
HOSTILE = (
    '<script>alert("x")</script><img src=x onerror=alert(1)>',
    "' onmouseover='x",
    "Ada\r\nBcc: victim@example.org\r\n\r\nSurprise",
    "Ada\u2028\u2029\x00\x1b[31m\x7f",
    "\u202egro.elpmaxe\u2066 \u200fAda\u061c",
    "{{ 7 * 7 }}{% raw %} %(name)s %s %",
    "You have won: https://evil.example/win or www.evil.example",
    "A" * 5_000,
    "\ud800 half a character",
)


NOT_IN_A_LINE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Page(HTMLParser):
    """What a mail program sees of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag != "meta":
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "title"}:
            self.text += data


def words(text: str) -> str:
    return " ".join(text.split())


@EVERY_MAIL
@EVERY_LANGUAGE
def test_text_and_page_say_the_same(name: str, language: str) -> None:
    """All that the page says, but for what is written on buttons, stands in the text, which is read without it."""
    mail = rendered(name, language)
    page = Page(mail.content.html)
    assert page.open == []
    assert f'<html lang="{language}">' in mail.content.html
    text = words(mail.content.text)
    buttons = re.findall(r"<a [^>]*display: inline-block[^>]*>([^<]*)</a>", mail.content.html)
    for said in re.split(r"\n+", page.text):
        line = words(said)
        assert line in {"", mail.subject, *(unescape(button) for button in buttons)} or line in text, line
    assert len(words(page.text)) >= len(text)


@EVERY_MAIL
@EVERY_LANGUAGE
def test_link_and_code_are_in_both(name: str, language: str) -> None:
    mail, (_, template) = rendered(name, language), MAILS[NAMES.index(name)]
    page = Page(mail.content.html)
    if "link" in template.fields:
        assert f"\n{LINK}\n" in mail.content.text
        assert LINK in page.links
        # Shown as well, for whom the button does not work.
        assert LINK in page.text
    if "code" in template.fields:
        assert f"\n    {CODE}\n" in mail.content.text
        assert CODE in words(page.text)
    assert CODE not in mail.subject


@EVERY_MAIL
@EVERY_LANGUAGE
def test_what_people_write_stays_text(name: str, language: str) -> None:
    _, template = MAILS[NAMES.index(name)]
    people = [field for field in template.fields if isinstance(VALUES[field], str) and not field.endswith("link")]
    good = rendered(name, language)
    good_page = Page(good.content.html)
    for evil in HOSTILE:
        mail = rendered(name, language, **dict.fromkeys(people, evil))
        page = Page(mail.content.html)
        assert (page.open, page.tags, page.attributes) == ([], good_page.tags, good_page.attributes)
        assert page.links == good_page.links
        everything = mail.subject + mail.content.text + mail.content.html
        everything.encode()
        assert not NOT_IN_A_LINE.search(everything)
        assert "\n" not in mail.subject
        # Nobody writes lines of their own.
        assert mail.content.text.count("\n") <= good.content.text.count("\n")
        assert len(mail.content.text) <= len(good.content.text) + 6 * MAX_TEXT
        for address in ("https://evil", "evil.example", "www.evil"):
            assert address not in everything
        assert "49" not in everything


@EVERY_LANGUAGE
def test_a_name_is_read_as_it_is_written(language: str) -> None:
    names = [
        "Zoë O'Neil & Sons",
        "李小龍",
        "نیما یوشیج",
        "می‌خواهم",
        "J. R. R. Tolkien",
        "50 % <3",
        "%(link)s",
        "👩‍💻 Ada",
    ]
    for name in names:
        mail = rendered("accounts.confirm_registration", language, name=name)
        assert f" {name}," in mail.content.text
        assert f" {name}," in Page(mail.content.html).text


def test_subject_and_greeting_in_both_languages() -> None:
    subjects = {language: rendered("accounts.login", language).subject for language in LANGUAGES}
    assert subjects == {"en": "Log in to Courtyard", "fi": "Kirjaudu palveluun Courtyard"}


@pytest.mark.parametrize(
    ("language", "minutes", "told"),
    [
        ("en", 1, "within 1 minute."),
        ("en", 30, "within 30 minutes."),
        ("fi", 1, "1 minuutin"),
        ("fi", 30, "30 minuutin"),
    ],
)
def test_numbers_of_things(language: str, minutes: int, told: str) -> None:
    assert told in rendered("accounts.login", language, minutes=minutes).content.text


@pytest.mark.parametrize(
    ("language", "zone", "told"),
    [
        ("en", "UTC", "November 21, 2026, 3:04:00\u202fPM UTC"),
        ("en", "Europe/Helsinki", "November 21, 2026, 5:04:00\u202fPM +0200"),
        ("fi", "Europe/Helsinki", "21. marraskuuta 2026 17.04.00"),
    ],
)
def test_times_are_those_of_the_reader(language: str, zone: str, told: str) -> None:
    assert told in rendered("accounts.new_device", language, time_zone=zone).content.text


def test_dates_are_in_the_language_of_the_reader() -> None:
    name = "workspaces.workspace_will_be_deleted"
    assert "5. joulukuuta 2026" in rendered(name, "fi", date=date(2026, 12, 5)).content.text
    assert "December 5, 2026" in rendered(name, "en", date=date(2026, 12, 5)).content.text


@EVERY_LANGUAGE
def test_what_may_be_left_out(language: str) -> None:
    assert CODE not in rendered("accounts.password_reset", language, code=None).content.text
    assert "https://courtyard.example.org/" not in rendered("accounts.email_changed", language, link=None).content.text


@EVERY_LANGUAGE
def test_each_change_of_the_second_factor_has_its_sentence(language: str) -> None:
    kinds = ("totp_added", "totp_removed", "passkey_added", "passkey_removed", "recovery_codes_renewed", "other")
    texts = {rendered("accounts.second_factor_changed", language, what=kind).content.text for kind in kinds}
    assert len(texts) == len(kinds)


@EVERY_LANGUAGE
def test_each_notice_of_safety_has_its_subject_and_its_sentence(language: str) -> None:
    kinds = ("codes_guessed", "passkey_copied", "api_key_added", "api_key_removed")
    mails = [rendered("accounts.security_notice", language, what=kind) for kind in kinds]
    assert len({mail.subject for mail in mails}) == len({mail.content.text for mail in mails}) == len(kinds)
    assert ["Laptop" in mail.content.text for mail in mails] == [False, True, True, True]
    for kind, mail in zip(kinds, mails, strict=True):
        page = Page(rendered("accounts.security_notice", language, what=kind, thing=HOSTILE[0]).content.html)
        assert page.tags == Page(mail.content.html).tags


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "/confirm", "https://example.org/ x", "https://example.org/\r\nBcc: x", ""]
)
def test_a_link_leads_somewhere(link: str) -> None:
    with pytest.raises(ValueError, match="address of the web"):
        rendered("accounts.login", link=link)


def test_a_link_stays_in_its_quotes() -> None:
    page = Page(rendered("accounts.login", link='https://example.org/"onclick="alert(1)').content.html)
    assert "onclick" not in page.attributes
    assert page.links[0] == 'https://example.org/"onclick="alert(1)'


def test_the_data_are_those_that_were_declared() -> None:
    part, template = MAILS[NAMES.index("accounts.login")]
    for data in ({}, {**values_of(template), "extra": 1}):
        with pytest.raises(ValueError, match=r"accounts\.login takes"):
            render(SETTINGS, part, Message(to="ada@example.org", template=template, language="en", data=data))


def test_a_mail_that_nobody_declares() -> None:
    part, _ = MAILS[0]
    message = Message(to="ada@example.org", template=Template(name=f"{part.name}.made_up"), language="en")
    with pytest.raises(ValueError, match="does not declare"):
        render(SETTINGS, part, message)


def test_the_templates_of_the_guide(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/howto/send-mail.md").read_text()
    text, html = re.findall(r"```jinja\n(.*?)```", page, re.DOTALL)
    (tmp_path / "entry_answered.txt.jinja").write_text(text)
    (tmp_path / "entry_answered.html.jinja").write_text(html)
    template = Template(name="guestbook.entry_answered", fields=("name", "link"))
    part = Application(name="guestbook", description="", mails=(template,), templates=tmp_path)
    message = Message(to="a@b.c", template=template, language="fi", data={"name": "Ada", "link": LINK})
    mail = render(SETTINGS, part, message)
    assert mail.subject == "Somebody has answered you"
    assert f"there is an answer to your entry in the guestbook:\n\n{LINK}\n" in mail.content.text
    assert LINK in Page(mail.content.html).links


class TestTemplatesOfOthers:
    """They come with applications, and one day from workspaces: they can do nothing but write."""

    @staticmethod
    def written(folder: Path, text: str, **data: Any) -> str:
        template = Template(name="sample.letter", fields=tuple(data))
        part = Application(name="sample", description="", mails=(template,), templates=folder)
        (folder / "letter.txt.jinja").write_text("{% block subject %}Letter{% endblock %}" + text)
        (folder / "letter.html.jinja").write_text("<p></p>")
        message = Message(to="ada@example.org", template=template, language="en", data=data)
        return render(SETTINGS, part, message).content.text

    def test_a_field_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(jinja2.UndefinedError):
            self.written(tmp_path, "{{ surname }}", name="Ada")

    @pytest.mark.parametrize(
        "text", ["{{ ''.__class__.__mro__ }}", "{{ gettext.__globals__ }}", "{{ name.format.__self__.__class__ }}"]
    )
    def test_the_insides_of_the_server(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(jinja2.exceptions.SecurityError):
            self.written(tmp_path, text, name="Ada")

    @pytest.mark.parametrize("text", ["{% include 'accounts.login.txt.jinja' %}", "{% include 'sample.../secrets' %}"])
    def test_files_of_others(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(jinja2.TemplateNotFound):
            self.written(tmp_path, text)
