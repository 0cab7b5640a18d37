"""From the bytes of an annotation file to a clean tree, and what was wrong on the way.

Annotations are expensive and many tools write faulty XML, so whatever is unambiguous is read: any
encoding, a blank line before the declaration, bytes after the end, a bare ``&``, a namespace, tags
in other letter case, a prefix that is not declared. Each such flaw is reported with its line. The
result is plain VOC.

The files are untrusted: document types, and so entities, are refused, nothing is fetched.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from html.entities import name2codepoint
from pathlib import Path

from lxml import etree

from detector.data.voc.plain import (
    KNOWN,
    Flaw,
    line_of,
    only_annotation,
    plain_objects,
    plain_tags,
)
from faces.errors import UserError

_DOCTYPE = re.compile(r"<!\s*(doctype|entity)", re.IGNORECASE)
_DECLARATION = re.compile(r"<\?xml\b[^<>]*>", re.IGNORECASE)
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_END = re.compile(r"</\s*(?:[\w.-]+:)?annotations?\s*>", re.IGNORECASE)
_ROOT = re.compile(r"<(?:[\w.-]+:)?annotation\b", re.IGNORECASE)
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that XML cannot hold."""

# What may stand between tags and is no fault; it is stepped over so that it stays as it is.
# To the end of the text where it is not closed: a search from every opening would never end.
_APART = r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)"
_LOOSE = re.compile(
    rf"(?P<apart>{_APART})|&(?:#(?P<number>\d{{1,7}}|[xX][0-9a-fA-F]{{1,6}});|(?P<name>[A-Za-z]\w*);)?"
    r"|<(?![A-Za-z_/!?])",
    re.DOTALL,
)
_TAGS = re.compile(rf"(?P<apart>{_APART})|<[^<>]*>", re.DOTALL)
_PREFIX = re.compile(r"(^</?)[\w.-]+:(?=\w)|(\s)[\w.-]+:(?=[\w.-]+\s*=)")
_BLANK = re.compile(rf"(?:{_APART}|\s)*", re.DOTALL)
# What an object may have with a name or a box of its own; to the end where it is not closed.
_INNER = re.compile(
    r"<(?P<tag>part|attributes)\b[^<>]*(?<!/)>.*?(?:</(?P=tag)\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
# A whole object; or one that lacks its end, as far as its box and the plain elements behind it go.
_OBJECT = re.compile(
    r"<object\b[^<>]*>(?:(?!<object\b).)*?"
    r"(?:</object\s*>|(?P<cut></bndbox\s*>(?!(?:(?!<object\b).)*?</object\s*>)"
    r"(?:\s*<(?P<tag>[\w.-]+)\b[^<>]*>[^<>]*</(?P=tag)\s*>)*))",
    re.DOTALL | re.IGNORECASE,
)


def decode(data: bytes) -> tuple[str, str]:
    """An annotation's text and the encoding it is in ("utf-8", with or without a mark).

    Tried in turn: a byte order mark, UTF-16 and UTF-32 without one, UTF-8, the encoding that the
    XML declares, and Windows-1252 or, for the few bytes that it does not define, Latin-1.
    """
    wide = _wide(data)
    if wide is not None:
        return codecs.getincrementaldecoder(wide)("replace").decode(data), wide
    declared = _DECLARED.match(data)
    encodings = [declared[1].decode("ascii")] if declared else []
    for encoding in ["utf-8-sig", *encodings, "windows-1252", "latin-1"]:
        try:
            return data.decode(encoding), encoding.removesuffix("-sig")
        except (LookupError, UnicodeError, ValueError):  # no such encoding, or it is not in it
            continue
    raise AssertionError("latin-1 decodes any bytes")


def read_tree(data: bytes, path: Path) -> tuple[etree._Element, list[Flaw]]:
    """The root element of an annotation, in VOC's own form, and what was wrong with its XML.

    Raises UserError as `read_root` does, and for what is no annotation.
    """
    root, flaws = read_root(data, path)
    flaws += plain_tags(root)
    root, wrapped = only_annotation(root, path)
    flaws += wrapped
    flaws += plain_objects(root)
    return root, flaws


def read_root(data: bytes, path: Path) -> tuple[etree._Element, list[Flaw]]:
    """The root element of any tool's XML of annotations, and what was wrong with it as XML.

    Raises UserError, naming ``path`` and line, for a document type, and where not the box of one
    object can be read.
    """
    text, encoding = decode(data)
    flaws = _encoding_flaws(data, text, encoding)
    # Refused before the parser sees it: libxml2 expands entities inside attributes whatever its
    # options say, and no annotation needs them.
    if (found := _DOCTYPE.search(text)) is not None:
        raise UserError(
            f"{path}, line {_line_at(text, found.start())}: has a document type or entities, which "
            "annotations must not have; remove them"
        )
    body, before = _without_declaration(text)
    flaws += before
    try:
        root = _parse(body)
    except etree.XMLSyntaxError as error:
        root, mended = _mend(body, error, path)
        flaws += mended
    if root.getroottree().docinfo.internalDTD is not None:
        raise UserError(f"{path}: has a document type, which annotations must not have; remove it")
    return root, flaws


# ---- encodings ------------------------------------------------------------------------------


def _wide(data: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark or by the zeros around the first character."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # A wrong mark before single bytes is not believed.
        return "utf-16" if b"\0" in data[2:12] else None
    for encoding, pattern in (
        ("utf-32-le", rb"[<\s]\0\0\0"), ("utf-32-be", rb"\0\0\0[<\s]"),
        ("utf-16-le", rb"[<\s]\0[^\0]"), ("utf-16-be", rb"\0[<\s]\0"),
    ):  # fmt: skip
        if re.match(pattern, data):
            return encoding
    return None


def _encoding_flaws(data: bytes, text: str, encoding: str) -> list[Flaw]:
    if encoding != "utf-8":
        return [Flaw("not UTF-8", 0, f"it is encoded as {encoding}")]
    declared = _DECLARED.match(data.removeprefix(codecs.BOM_UTF8))
    if declared is None:
        return []
    name = declared[1].decode("ascii")
    try:  # plain ASCII is right in most encodings
        right = data.removeprefix(codecs.BOM_UTF8).decode(name) == text.removeprefix("\ufeff")
    except (LookupError, UnicodeError, ValueError):
        right = False
    if right:
        return []
    line = _line_at(text, text.index("<"))
    return [Flaw("not well-formed", line, f"it says that it is in {name}, but it is in UTF-8")]


def _without_declaration(text: str) -> tuple[str, list[Flaw]]:
    """The text from its first tag on, at the same line; junk before it and the declaration go."""
    start = text.find("<")
    before, rest = text[: max(start, 0)], text[max(start, 0) :]
    declaration = _DECLARATION.match(rest)
    flaws = []
    junk = before.replace("\ufeff", "")
    if declaration is not None and (start := rest.find("<", declaration.end())) > 0:
        between, rest = rest[:start], rest[start:]
        before += between
        junk += between[declaration.end() :] if between[declaration.end() :].strip() else ""
    if junk.strip():
        shown = junk.strip()[:40]
        flaws.append(Flaw("not well-formed", 1, f"{shown!r} stands before the first tag"))
    elif junk and declaration is not None:
        flaws.append(
            Flaw("not well-formed", 1, "a blank line or space stands before the XML declaration")
        )
    return "\n" * before.count("\n") + rest, flaws


# ---- well-formedness ------------------------------------------------------------------------


def _parse(text: str) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        encoding="utf-8",
    )
    return etree.fromstring(text.encode("utf-8", "replace"), parser)


def _mend(text: str, error: etree.XMLSyntaxError, path: Path) -> tuple[etree._Element, list[Flaw]]:
    """What can be made of a text that is no XML."""
    why = f"not valid XML: {re.sub(r', line [0-9]+, column [0-9]+$', '', error.msg or '')}"
    line = error.lineno or 1
    mended, flaws = _without_tail(text)
    if (found := ILLEGAL.search(mended)) is not None:
        flaws.append(
            Flaw(
                "not well-formed",
                _line_at(mended, found.start()),
                f"the character U+{ord(found[0]):04X}, which XML cannot hold",
            )
        )
        mended = ILLEGAL.sub("", mended)
    for mend in (_without_loose, _with_plain_tags):
        mended, more = mend(mended)
        flaws += more
        try:
            return _parse(mended), flaws
        except etree.XMLSyntaxError:
            continue
    root = _whole_objects(mended)
    if len(_ROOT.findall(mended)) > 1:
        raise UserError(f"{path}, line {line}: holds several annotations; give each its own file")
    if root is None:
        raise UserError(f"{path}, line {line}: {why}; correct it, or remove the file")
    count = len(root.findall("object"))
    detail = f"{why}; {count} whole object{'s' * (count != 1)} can be read, others may be missing"
    return root, [*flaws, Flaw("damaged", line, detail, doubtful=True)]


def _without_tail(text: str) -> tuple[str, list[Flaw]]:
    """Without what follows the end of the annotation."""
    ends = list(_END.finditer(text))
    if not ends or _BLANK.fullmatch(text, ends[-1].end()):
        return text, []
    end = ends[-1].end()
    tail = text[end:]
    line = _line_at(text, end)
    return text[:end], [
        Flaw("not well-formed", line, f"{len(tail):,} characters after the end ({tail[:20]!r})")
    ]


def _without_loose(text: str) -> tuple[str, list[Flaw]]:
    """With every bare ``&`` and ``<`` escaped, and HTML's names of characters as characters.

    Other names between ``&`` and ``;`` are text: as no document type is read, they mean nothing.
    """
    first: list[Flaw] = []

    def replaced(found: re.Match[str]) -> str:
        if found["apart"] is not None:
            return found[0]
        name, number = found["name"], found["number"]
        if name in ("amp", "lt", "gt", "quot", "apos"):
            return found[0]
        if number is not None:
            code = int(number[1:], 16) if number[0] in "xX" else int(number)
            if code < 0x110000 and not ILLEGAL.fullmatch(chr(code)):
                return found[0]
        if not first:
            what = f"the reference {found[0]}" if name or number else f"a bare {found[0]!r}"
            first.append(
                Flaw("not well-formed", _line_at(text, found.start()), f"{what} in a text")
            )
        if name is not None:
            return f"&#{name2codepoint[name]};" if name in name2codepoint else f"&amp;{name};"
        return "" if number is not None else "&amp;" if found[0] == "&" else "&lt;"

    return _LOOSE.sub(replaced, text), first


def _with_plain_tags(text: str) -> tuple[str, list[Flaw]]:
    """With VOC's tags in lower case, and no prefix before tags and attributes."""
    first: list[Flaw] = []

    def replaced(found: re.Match[str]) -> str:
        tag = found[0]
        if found["apart"] is not None:
            return tag
        plain = _PREFIX.sub(r"\1\2", tag)
        name = re.match(r"</?([\w.-]+)", plain)
        if name is not None and name[1].lower() in KNOWN:
            plain = plain.replace(name[1], name[1].lower(), 1)
        if plain != tag and not first:
            detail = f"{tag[:40]!r} is taken as {plain[:40]!r}"
            first.append(Flaw("not as VOC", _line_at(text, found.start()), detail))
        return plain

    return _TAGS.sub(replaced, text), first


def _whole_objects(text: str) -> etree._Element | None:
    """An annotation of the objects that are whole in a damaged text; None when there is none."""
    root = etree.Element("annotation")
    position, line = 0, 1
    root.extend(_pieces(text, ("filename", "size")))
    for found in _OBJECT.finditer(text):
        line += text.count("\n", position, found.start())
        position = found.start()
        # Its closing tag has the letter case of the opening one.
        end = f"</{found[0][1:7]}>" if found["cut"] else ""
        element = _fragment(found[0] + end, line)
        if element is None:  # its box may be whole all the same
            element = etree.Element("object")
            element.sourceline = line  # type: ignore[assignment]
            own = _INNER.sub(lambda inner: "\n" * inner[0].count("\n"), found[0])
            element.extend(_pieces(own, ("name", "difficult", "bndbox"), line))
            if element.find("bndbox") is None:
                continue
        root.append(element)
    return root if any(str(child.tag).lower() == "object" for child in root) else None


def _pieces(text: str, tags: tuple[str, ...], line: int = 1) -> Iterator[etree._Element]:
    """The first element of each tag, where it is whole, of a text that begins in this line."""
    for tag in tags:
        opening = re.search(rf"<{tag}\b", text, re.IGNORECASE)
        if opening is None:
            continue
        whole = re.compile(rf"<{tag}\b[^<>]*>.*?</{tag}\s*>", re.DOTALL | re.IGNORECASE)
        found = whole.match(text, opening.start())
        place = _line_at(text, opening.start()) + line - 1
        element = None if found is None else _fragment(found[0], place)
        if element is not None:
            yield element


def _fragment(text: str, line: int) -> etree._Element | None:
    """An element on its own, whose text begins in this line of its file."""
    try:
        element = _parse(text)
    except etree.XMLSyntaxError:
        return None
    for child in element.iter():
        child.sourceline = line_of(child) + line - 1  # type: ignore[assignment]
    return element


def _line_at(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
