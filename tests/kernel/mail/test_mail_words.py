"""Words of a workspace: what they may be made of, and what becomes of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.mail.authoring import Unwritable, as_page, as_text, check

FIELDS = ("name", "link", "days")
FILTERS = {"date": str, "datetime": str, "number": str}
VALUES = {"name": "Ada", "link": "https://example.org/?a=1&b=2", "days": 3, "service": "Line", "home": "https://x.org"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hello {{ name }}", "Hello Ada"),
        ("{% if days == 3 %}three{% elif name %}named{% else %}none{% endif %}", "three"),
        ("{% if not name or days > 3 and link %}a{% else %}b{% endif %}", "b"),
        ("{{ days | number }} at {{ service }}, {{ home }}", "3 at Line, https://x.org"),
        ("{# for nobody #}plain", "plain"),
        ("{% raw %}{{ name }}{% endraw %}", "{{ name }}"),
    ],
)
def test_what_may_be_written(source: str, text: str) -> None:
    check(source, FIELDS)
    assert as_text(source, FILTERS, VALUES) == text


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{% for letter in name %}x{% endfor %}", "line 1: for"),
        ("a\n{{ name.__class__ }}", "line 2: getattr"),
        ("{{ name['x'] }}", "line 1: getitem"),
        ("{{ name() }}", "line 1: call"),
        ("{{ 'a' * 1000000000 }}", "line 1: mul"),
        ("{{ name ~ name }}", "line 1: concat"),
        ("{{ name | upper }}", "there is no filter upper"),
        ("{{ name | date('short') }}", "there is no filter date"),
        ("{{ password }}", "there is no field password"),
        ("{{ self }}", "there is no field self"),
        ("{% set a = 1 %}", "assign"),
        ("{% include 'x' %}", "include"),
        ("{% extends 'x' %}", "extends"),
        ("{% macro a() %}{% endmacro %}", "macro"),
        ("{% import 'x' as x %}", "import"),
        ("{% block a %}{% endblock %}", "block"),
        ("{{ [1] }}", "list"),
        ("{{ name", "line 1"),
        ("{% if name %}", "line 1"),
        ("{% if name %}" * 1_000, ""),
        ("{{ " + "not " * 3_000 + "name }}", ""),
    ],
)
def test_what_may_not(source: str, says: str) -> None:
    with pytest.raises(Unwritable) as refusal:
        check(source, FIELDS)
    assert says in str(refusal.value)


def test_markdown_becomes_a_page_without_a_script() -> None:
    source = (
        "Hello **{{ name }}**\n\n* one\n* [two](https://example.org)\n\n<script>x()</script>\n\n"
        "[bad](javascript:x()) ![pixel](https://example.org/x.png)\n\n{{ link }}\n"
    )
    check(source, FIELDS)
    page = as_page(source, FILTERS, VALUES)
    assert "<strong>Ada</strong>" in page
    assert "<li>one</li>" in page
    assert 'href="https://example.org"' in page
    assert '<a href="https://example.org/?a=1&amp;b=2"' in page
    for hostile in ("<script", "<img", 'href="javascript'):
        assert hostile not in page


@given(name=st.text(max_size=60))
def test_a_value_is_never_more_than_text(name: str) -> None:
    page = as_page("Hello {{ name }}!", FILTERS, {**VALUES, "name": name})
    for made in ("<a", "<em", "<strong", "<code", "<h", "<img", "<ul", "<li", "<blockquote", "<script"):
        assert made not in page


def test_a_link_stays_one_whatever_is_in_it() -> None:
    page = as_page("{{ link }}", FILTERS, {**VALUES, "link": "https://example.org/a>b<c_d_e*f*"})
    assert page.count("<a ") == 1
    assert 'href="https://example.org/a%3Eb%3Cc_d_e*f*"' in page
