"""PASCAL VOC files: nothing is lost, nothing dangerous is read, every refusal says where."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from detector.data.voc import annotation as voc
from detector.data.voc.annotation import (
    VocAnnotation,
    VocObject,
    format_voc,
    parse_voc,
    read_voc,
    write_voc,
)
from detector.data.voc.xml import decode, read_tree
from faces.errors import UserError

OURS = """\
<annotation>
  <filename>a.jpg</filename>
  <size>
    <width>640</width>
    <height>480</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
  <object>
    <name>face</name>
    <pose>1</pose>
    <truncated>0</truncated>
    <blur>2</blur>
    <difficult>1</difficult>
    <bndbox>
      <xmin>1</xmin>
      <ymin>2</ymin>
      <xmax>30.5</xmax>
      <ymax>40</ymax>
    </bndbox>
  </object>
</annotation>
"""
FACE = VocObject("face", (1.0, 2.0, 30.5, 40.0), True, {"pose": "1", "truncated": "0", "blur": "2"})

numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=12).map(
    str.strip
)
names = texts.filter(bool)
tags = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True).filter(
    lambda tag: tag not in ("name", "difficult", "bndbox") and not tag.startswith("xml")
)
objects = st.builds(
    VocObject,
    name=names,
    xyxy=st.tuples(numbers, numbers, numbers, numbers),
    difficult=st.booleans(),
    attributes=st.dictionaries(tags, texts, max_size=4),
)
annotations = st.builds(
    VocAnnotation,
    filename=texts.filter(lambda text: not set(text) & set("/\\")),
    width=st.integers(0, 10**6),
    height=st.integers(0, 10**6),
    objects=st.lists(objects, max_size=4).map(tuple),
)


def read(text: str | bytes) -> VocAnnotation:
    data = text.encode() if isinstance(text, str) else text
    root, flaws = read_tree(data, Path("x.xml"))
    return parse_voc(root, Path("x.xml"), flaws)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(annotations)
def test_what_is_written_is_read_back(annotation: VocAnnotation) -> None:
    assert read(format_voc(annotation)) == annotation


def test_files_look_as_pascal_voc_does(tmp_path: Path) -> None:
    write_voc(tmp_path / "a.xml", VocAnnotation("a.jpg", 640, 480, (FACE,)))
    assert (tmp_path / "a.xml").read_text(encoding="utf-8") == OURS
    assert read_voc(tmp_path / "a.xml") == VocAnnotation("a.jpg", 640, 480, (FACE,))
    assert [path.name for path in tmp_path.iterdir()] == ["a.xml"]


def test_torchvision_and_others_can_read_it() -> None:
    from xml.etree.ElementTree import fromstring

    from torchvision.datasets import VOCDetection

    parsed = VOCDetection.parse_voc_xml(fromstring(OURS))["annotation"]
    assert parsed["object"][0]["bndbox"] == {"xmin": "1", "ymin": "2", "xmax": "30.5", "ymax": "40"}


def test_boxes_come_as_one_array() -> None:
    annotation = read(OURS)
    assert annotation.boxes().dtype == np.float32
    assert annotation.boxes().tolist() == [[1, 2, 30.5, 40]]
    assert VocAnnotation("", 1, 1).boxes().shape == (0, 4)


def test_objects_know_their_line() -> None:
    assert read(OURS).objects[0].line == 9


def test_degenerate_boxes_are_read_as_they_are() -> None:
    text = OURS.replace("<xmax>30.5", "<xmax>-7").replace("<ymax>40", "<ymax>2")
    assert read(text).objects[0].xyxy == (1, 2, -7, 2)


def test_what_other_tools_write_is_read() -> None:
    text = """<?xml version="1.0" encoding="utf-8"?>
    <!-- by hand -->
    <annotation verified="yes"><folder>f</folder><path>C:\\a.jpg</path>
      <object><bndbox><ymin> 2 </ymin><xmin>1.0</xmin><xmax>3e1</xmax><ymax>4</ymax></bndbox>
        <name> per son </name><difficult>True</difficult><pose/>
        <part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>
    </annotation>"""
    annotation = read(text)
    assert (annotation.filename, annotation.width, annotation.height) == ("", 0, 0)
    assert annotation.objects == (VocObject("per son", (1.0, 2.0, 30.0, 4.0), True, {"pose": ""}),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmin>1</xmin>", "<xmin>one</xmin>", r"line 16: <xmin> must be a number, got 'one'"),
        ("<xmin>1</xmin>", "<xmin>nan</xmin>", r"line 16: <xmin> must be a number, got 'nan'"),
        ("<xmin>1</xmin>", "<xmin>1e999</xmin>", r"line 16: <xmin> must be a number"),
        ("<xmin>1</xmin>", "<xmin></xmin>", r"line 16: <xmin> must be a number, got ''"),
        ("<xmin>1</xmin>", "", r"line 15: the <bndbox> has no <xmin>"),
        ("bndbox>", "box>", r"line 9: the <object> has no <bndbox>"),
        ("<xmin>1</xmin>", "<xmin>1_0</xmin>", r"line 16: <xmin> must be a number, got '1_0'"),
        ("<xmin>1</xmin>", "<xmin>1,024</xmin>", r"line 16: <xmin> must be a number, got '1,024'"),
        ("annotation>", "dataset>", r"its root is <dataset>, not <annotation>"),
        ("</object>", "", r"line \d+: not valid XML"),
    ],
)
def test_malformed_files_are_refused_with_their_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in OURS
    path = tmp_path / "bad.xml"
    path.write_text(OURS.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_voc(path)
    assert str(caught.value).startswith(str(path))


def test_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.xml: cannot be read"):
        read_voc(tmp_path / "gone.xml")


def test_large_files_are_refused_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.xml"
    path.write_text(OURS + " " * 1000, encoding="utf-8")
    monkeypatch.setattr(voc, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"large\.xml: larger than 1,000 bytes"):
        read_voc(path)


ENTITIES = "".join(f'<!ENTITY e{i} "&e{i - 1};&e{i - 1};">' for i in range(1, 10_000))
BOMB = f'<!DOCTYPE annotation [<!ENTITY e0 "ha">{ENTITIES}]><annotation>&e9999;</annotation>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_bomb_of_ten_thousand_entities_is_refused_in_milliseconds(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "bomb.xml"
    path.write_bytes(BOMB.encode(encoding))
    seconds = []
    for _ in range(5):
        start = time.process_time()
        with pytest.raises(UserError, match=r"bomb\.xml"):
            read_voc(path)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05  # the fastest: caches may be cold


@pytest.mark.parametrize(
    "text", ["<!--", "<![CDATA[", "<?x ", "<size>", "<object>", "<!  ", "</  ", "&", "< ", "&a;"]
)
def test_broken_files_are_refused_in_a_time_that_grows_with_their_length(text: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        with pytest.raises(UserError):
            read("<annotation>" + text * count)
        return time.process_time() - start

    count = 300_000 // len(text)
    assert min(seconds(count) for _ in range(3)) < 3  # a search from each to the end takes minutes


def test_whole_objects_of_a_damaged_file_know_their_line() -> None:
    text = OURS.replace(
        "</annotation>", OURS[OURS.index("  <object>") : OURS.index("</annotation>")]
    )
    annotation = read(text + "<object>\n<name>")
    assert [item.line for item in annotation.objects] == [9, 22]
    assert annotation.objects == (FACE, FACE)
    assert (annotation.filename, annotation.width) == ("a.jpg", 640)
    (flaw,) = annotation.flaws
    assert (flaw.kind, flaw.doubtful) == ("damaged", True)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>',
        "<!doctype a><annotation/>",
        '<?xml version="1.0"?>\n<!DOCTYPE a [<!ATTLIST annotation b CDATA "c">]><annotation/>',
    ],
)
def test_document_types_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"document type|not valid XML"):
        read(text)


def test_predefined_and_numeric_references_still_work() -> None:
    assert read(OURS.replace("<name>face", "<name>a&amp;b&#228;")).objects[0].name == "a&bä"


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(UserError, match="not valid XML"):
        read("<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_coordinates_that_are_no_numbers_are_not_written(tmp_path: Path, value: float) -> None:
    broken = VocAnnotation("a", 1, 1, (VocObject("face", (0, 0, value, 1)),))
    with pytest.raises(ValueError, match="must be finite"):
        write_voc(tmp_path / "a.xml", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_xml_cannot_hold_is_written_as_it_can() -> None:
    written = format_voc(VocAnnotation("caf\udce9\x01 é.jpg", 1, 1))
    assert read(written).filename == "caf?? é.jpg"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (OURS.encode(), "utf-8"),
        (OURS.replace("face", "visagé").encode("utf-16"), "utf-16"),
        (
            b'<?xml version="1.0" encoding="iso-8859-2"?>'
            + OURS.replace("face", "visagé").encode("iso-8859-2"),
            "iso-8859-2",
        ),
        (
            b"<?xml version='1.0' encoding='GBK'?>" + OURS.replace("face", "visagé").encode("gbk"),
            "GBK",
        ),
        (OURS.replace("face", "visagé").encode("cp1252"), "windows-1252"),
        (b"<?xml version='1.0' encoding='utf-8'?>" + b"<annotation>\x81</annotation>", "latin-1"),
        (b"<?xml encoding='no-such'?>" + b"<annotation>\xe9</annotation>", "windows-1252"),
        (b"<?xml encoding='rot13'?>" + b"<annotation>\xe9</annotation>", "windows-1252"),
    ],
)
def test_other_encodings_are_read_and_told(data: bytes, encoding: str) -> None:
    assert decode(data)[1] == encoding
    root, flaws = read_tree(data, Path("x.xml"))
    assert [flaw.kind for flaw in flaws] == ["not UTF-8"] * (encoding != "utf-8")
    if root.find("object") is not None and encoding != "utf-8":
        assert root.findtext("object/name") == "visagé"


def test_changing_a_tree_adds_what_lacks() -> None:
    root = etree.fromstring(b"<annotation><object><name>a</name></object></annotation>")
    voc.set_size(root, 3, 4)
    voc.set_filename(root, "a.png")
    assert [child.tag for child in root] == ["filename", "size", "object"]
    assert (root.findtext("size/width"), root.findtext("size/height")) == ("3", "4")


@pytest.mark.data
def test_a_folder_that_is_not_ours_survives_a_round_trip(shared_data: Path) -> None:
    paths = sorted((shared_data / "facemask" / "annotations").glob("*.xml"))
    annotations = [read_voc(path) for path in paths]
    assert len(annotations) == 300
    assert sum(len(annotation.objects) for annotation in annotations) == 1582
    assert all(read(format_voc(annotation)) == annotation for annotation in annotations)


@pytest.mark.parametrize(
    "end",
    ["", "</objec", "</object", "<difficult>1</difficult>", "<object><name>face</name><bndb"],
)
def test_an_object_that_lacks_only_its_end_is_read(tmp_path: Path, end: str) -> None:
    """Its box is whole, and a box that can be read is never thrown away."""
    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    parts = [f"<object><name>face</name>{box.format(x)}" for x in (1, 5, 9)]
    path = tmp_path / "cut.xml"
    path.write_text(f"<annotation>{parts[0]}</object>\n{parts[1]}\n{parts[2]}{end}")
    annotation = voc.load_voc(path)[1]
    assert [item.xyxy for item in annotation.objects] == [(x, 2, 30, 40) for x in (1, 5, 9)]
    assert [item.line for item in annotation.objects] == [1, 2, 3]
    assert annotation.objects[2].difficult == (end == "<difficult>1</difficult>")
    assert any(flaw.kind == "damaged" and flaw.doubtful for flaw in annotation.flaws)


@pytest.mark.parametrize("end", ["</part>", ""])
def test_a_damaged_object_is_not_given_the_box_or_name_of_its_part(end: str) -> None:
    box = "<bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    part = f"<part>\n<name>head</name>{box.format(11)}{end}"
    damaged = f"<object><name>face</name></oops>{part}\n{box.format(1)}</object>"
    first = f"<object><part/><name>face</name>{box.format(5)}{part}</oops></object>"
    annotation = read(f"<annotation>{damaged}{first}</annotation>")
    found = [(item.name, item.xyxy) for item in annotation.objects]
    assert found == [("face", (x, 2, 30, 40)) for x in ((1, 5) if end else (5,))]
    assert annotation.objects[-1].line == 3


def test_landmarks_are_kept_and_unreadable_points_are_not_known() -> None:
    points = ((1.5, 2.0), None, (3.0, 4.25), (1.0, 6.0), (4.0, 6.0))
    face = VocObject("face", (0.0, 0.0, 9.0, 9.0), landmarks=points)
    text = format_voc(VocAnnotation("a.jpg", 10, 10, (face,))).decode()
    assert "<left_eye>\n        <x>1.5</x>" in text
    assert read(text).objects[0].landmarks == points
    broken = read(text.replace("<y>4.25</y>", "<y>low</y>")).objects[0].landmarks
    assert broken == (points[0], None, None, *points[3:])
    assert read(text.replace("landmarks>", "points>")).objects[0].landmarks == ()
