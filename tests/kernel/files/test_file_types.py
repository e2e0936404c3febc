"""What a file is, by its first bytes; and names and keys that strangers make up."""

import io
import zipfile
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.files.rules import clean_name, file_of, key_of
from courtyard.kernel.files.rules.types import HEAD_BYTES, content_type_of

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def archive(*names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for name in names:
            made.writestr(zipfile.ZipInfo(name), "x")
    return target.getvalue()


@pytest.mark.parametrize(
    ("head", "declared", "found"),
    [
        (b"", "image/png", "text/plain"),
        (b"hello", "text/markdown", "text/markdown"),
        (b"hello", "image/png", "text/plain"),
        (b"hello", "text/html", "text/plain"),
        (b'{"a": 1}', "application/json", "application/json"),
        (b"MZ is how some sentences begin", "text/plain", "text/plain"),
        (b"MZ\x90\x00" + bytes(60), "image/png", "application/x-msdownload"),
        (b" \n<!DOCTYPE HTML>", "text/plain", "text/html"),
        (b"text <script>1</script>", "text/plain", "text/html"),
        (b"<?xml version='1.0'?><svg >", "image/png", "image/svg+xml"),
        (b"<?xml version='1.0'?><a/>", "text/plain", "application/xml"),
        (b"%PDF-1.7 all of it text", "text/plain", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "text/html", "image/png"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "", "audio/wav"),
        (bytes(range(128, 255)), "image/png", "application/octet-stream"),
        (archive("a.txt"), "", "application/zip"),
        (archive("a.txt"), "image/png", "application/zip"),
        (archive("[Content_Types].xml", "word/document.xml"), "", DOCX),
        (("å" * HEAD_BYTES).encode()[: HEAD_BYTES - 1] + b"\xc3", "text/csv", "text/csv"),
    ],
)
def test_the_bytes_decide(head: bytes, declared: str, found: str) -> None:
    assert content_type_of(head, declared) == found


@given(st.binary(max_size=300), st.text(max_size=30))
def test_whatever_comes_has_a_type(head: bytes, declared: str) -> None:
    family, _, kind = content_type_of(head, declared).partition("/")
    assert family
    assert kind


@given(st.text(max_size=400))
def test_whatever_it_is_called_the_name_is_harmless(name: str) -> None:
    cleaned = clean_name(name)
    assert 1 <= len(cleaned) <= 200
    assert cleaned.strip() == cleaned
    assert not cleaned.startswith(".")
    assert not set(cleaned) & set("/\\\0\r\n\x7f\u202e")
    assert clean_name(cleaned) == cleaned


def test_a_key_leads_back_to_its_file() -> None:
    workspace_id, file_id = uuid4(), uuid4()
    assert file_of(key_of(workspace_id, file_id)) == (workspace_id, file_id)
    assert file_of(key_of(workspace_id, file_id, "small")) == (workspace_id, file_id)


@pytest.mark.parametrize(
    "key", ["", "a/b", f"{UUID(int=7)}/00", f"{'-' * 36}/00/{'-' * 36}", f"x/{key_of(UUID(int=7), UUID(int=8))}"]
)
def test_what_is_not_ours_leads_nowhere(key: str) -> None:
    assert file_of(key) is None
