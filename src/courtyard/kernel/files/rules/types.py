"""What a file is, by its first bytes. What a client says counts only where the bytes leave it open."""

import re

import filetype

HEAD_BYTES = 8_192
UNKNOWN = "application/octet-stream"
TEXT = "text/plain"
# Texts that look alike: which one it is, the client knows.
TEXTS = frozenset({
    "text/csv", "text/markdown", "text/calendar", "text/vcard", "text/tab-separated-values", "application/json",
})  # fmt: skip
# Documents that are ZIP archives inside.
ZIPPED = re.compile(r"application/(vnd\.(openxmlformats-officedocument|oasis\.opendocument)\.[a-z.-]+|epub\+zip)")
NAMES = {
    "image/jpg": "image/jpeg",
    "image/apng": "image/png",
    "audio/x-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "video/x-m4v": "video/mp4",
    "image/heif": "image/heic",
}
# What browsers take for a page, wherever in the beginning it stands (WHATWG MIME Sniffing, section 7.1).
_HTML = re.compile(
    rb"<(!doctype html|html|head|body|script|iframe|style|title|a |div|p>|h1|br|table|img)", re.IGNORECASE
)
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_TEXT_FORMATS = (b"%PDF-", b"{\\rtf", b"%!PS")


def content_type_of(head: bytes, declared: str) -> str:
    """Return the type of a file.

    Args:
        head: its first bytes, `HEAD_BYTES` of them if it has so many.
        declared: what the client takes it for.
    """
    if not head:
        return TEXT
    if _is_text(head) and not head.startswith(_TEXT_FORMATS):
        return _text_type(head, declared)
    found: str | None = filetype.guess_mime(head)
    if found is None:
        return UNKNOWN
    if found == "application/zip" and ZIPPED.fullmatch(declared):
        return declared
    return NAMES.get(found, found)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character that is cut at the end of the head is whole in the file.
        if len(head) < HEAD_BYTES or error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8-sig")
    return all(sign >= " " or sign in "\t\n\r\f\v" for sign in text)


def _text_type(head: bytes, declared: str) -> str:
    if _SVG.search(head):
        return "image/svg+xml"
    if _HTML.search(head):
        return "text/html"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml"):
        return "application/xml"
    return declared if declared in TEXTS else TEXT
