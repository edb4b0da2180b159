"""Every kind of file gives its text or says why not; nothing binary gets in."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trouper.adapters import document_text
from trouper.adapters.document_text import Unreadable, decoded, text_of


def pdf(*pages: str) -> bytes:
    """A small PDF with a line of text on each page, written by hand."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids = []
    for page in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode()
        number = len(objects) + 1
        kids.append(f"{number} 0 R")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 "
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>" % (number + 1)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    out = io.BytesIO(b"")
    out.write(b"%PDF-1.4\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def docx_file() -> bytes:
    import docx

    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Leave", 2)
    document.add_paragraph("Thirty days a year.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Anna", "12"
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_a_pdf_gives_its_text_page_by_page() -> None:
    found = text_of("a.pdf", pdf("First page here", "Second page there"))

    assert [found.text[p:].split("\n")[0] for p in found.pages] == ["First page here", "Second page there"]


def test_a_docx_gives_headings_paragraphs_and_tables() -> None:
    found = text_of("a.docx", docx_file())

    assert found.text == "# Handbook\n\n## Leave\n\nThirty days a year.\n\nAnna | 12"
    assert found.shape == "markdown"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.bin", b"abc\0def", "binary"),
        ("a.txt", b"\xff\xfea\x00b\x00c", "UTF-16"),
        ("a.dat", bytes(range(1, 256)), "binary"),
        ("a.pdf", b"%PDF-1.4 and then nothing", "PDF that cannot be read"),
        ("a.pdf", pdf(""), "without text"),
        ("a.docx", b"PK\x03\x04 broken", "DOCX that cannot be read"),
    ],
)
def test_what_has_no_text_says_why(name: str, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        text_of(name, data)


def test_a_docx_that_is_a_bare_archive_is_unreadable() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x", "y")

    with pytest.raises(Unreadable):
        text_of("a.docx", out.getvalue())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("héllo".encode(), "héllo"),
        ("héllo".encode("utf-8-sig"), "héllo"),
        ("héllo".encode("utf-16"), "héllo"),
        ("héllo".encode("utf-32"), "héllo"),
        ("héllo".encode("cp1252"), "héllo"),
        (b"a\r\nb\rc", "a\nb\nc"),
        (b"", ""),
    ],
)
def test_text_is_read_in_its_character_set(data: bytes, text: str) -> None:
    assert text_of("a.txt", data).text == text


@pytest.mark.parametrize(
    ("name", "shape"), [("a.md", "markdown"), ("a.py", "code"), ("a.txt", "prose"), ("LICENSE", "prose")]
)
def test_the_name_says_how_structure_is_read(name: str, shape: str) -> None:
    assert text_of(name, b"words").shape == shape


SEPARATED = st.lists(st.sampled_from(["a", "\n", "\r", "\r\n", "\u00e9", "\u2013", "\U0001f937", "\x85", "\u2028"]))


@given(SEPARATED, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_a_text_read_in_slices_is_the_whole_text(parts: list[str], name: str) -> None:
    """Wherever a slice ends, in a character or in a line's end."""
    text = "a" + "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_text, "_SLICE", 3)
        assert decoded(text.encode(name)) == text
        assert decoded(text.encode(name), lines=True) == text.replace("\r\n", "\n").replace("\r", "\n")


@given(st.binary())
def test_bytes_read_in_slices_are_what_they_are_in_one(data: bytes) -> None:
    def told() -> str:
        try:
            return decoded(data)
        except Unreadable as error:
            return f"unreadable: {error}"

    whole = told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_text, "_SLICE", 2)
        assert told() == whole


@pytest.mark.parametrize("name", ["utf-8", "utf-16", "cp1252"])
def test_a_large_text_is_not_read_in_one_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of tens of milliseconds would hold the interpreter's lock, and the event loop with it."""
    sizes: list[int] = []
    slices = document_text._slices
    monkeypatch.setattr(document_text, "_slices", lambda data: (sizes.append(len(p)) or p for p in slices(data)))
    monkeypatch.setattr(document_text, "_SLICE", 1_000)
    text = "caf\u00e9 \r\n" * 2_000

    assert text_of("a.txt", text.encode(name)).text == text.replace("\r\n", "\n")
    assert max(sizes) == 1_000
    assert sum(sizes) >= len(text.encode(name))


def test_html_is_what_a_person_reads_with_the_lines_of_the_source() -> None:
    source = b"""<!DOCTYPE html>
<html><head><title>T</title><style>p {color: red}</style></head>
<body>
<h2>Opening &amp; hours</h2>
<p>We are open
on <b>Sundays</b>.</p><script>document.write("never")</script>
<ul><li>Bread</li>
<li>Milk</li></ul>
"""
    found = text_of("page", source)

    assert found.text.split("\n")[::2] == ["## Opening & hours", "We are open on Sundays.", "Bread", "Milk"]
    assert found.lines[::2] == (4, 5, 7, 8)
    assert found.shape == "markdown"


@pytest.mark.parametrize(
    "head",
    [
        "<head><title>T</title>",
        "<title>T</title>",
        "<head><title>T",
        "<head><title>T</title><noscript>n",
        "<head></head>",
    ],
)
def test_a_head_that_is_not_closed_silences_nothing(head: str) -> None:
    """HTML lets a page leave `</head>` out, and many do."""
    found = text_of("a.html", f"<!doctype html><html>{head}<body><p>Prune roses in March.</p></html>".encode())

    assert found.text.strip() == "Prune roses in March."


def test_what_an_archive_unpacks_to_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few thousand bytes can stand for gigabytes."""
    data = docx_file()
    monkeypatch.setattr(document_text, "MOST_UNPACKED", 10_000)

    with pytest.raises(Unreadable, match=r"a DOCX that unpacks to \d+ MB, more than 0 MB"):
        text_of("a.docx", data)


def test_the_styles_of_a_long_docx_are_looked_up_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes a millisecond for one; a book has tens of thousands of paragraphs."""
    import docx
    from docx.text.paragraph import Paragraph

    document = docx.Document()
    for number in range(50):
        document.add_heading(f"Chapter {number}", 2)
        document.add_paragraph("Words.")
    out = io.BytesIO()
    document.save(out)
    looked_up: list[str] = []
    style = Paragraph.style

    def counted(paragraph: Paragraph) -> object:
        looked_up.append(paragraph.text)
        return style.fget(paragraph)

    monkeypatch.setattr(Paragraph, "style", property(counted))
    found = text_of("a.docx", out.getvalue())

    assert found.text.count("## Chapter") == 50
    assert len(looked_up) == 2


def test_an_encrypted_pdf_says_so() -> None:
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("A secret page")))
    writer.encrypt("open sesame", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)

    with pytest.raises(Unreadable, match="an encrypted PDF"):
        text_of("a.pdf", out.getvalue())


def test_broken_html_ends() -> None:
    assert "x" in text_of("a.html", b"<p>x" + b"<div>" * 50_000 + b"</script></p>").text
