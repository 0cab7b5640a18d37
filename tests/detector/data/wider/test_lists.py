"""The published files of WIDER FACE: every line of them, and what is wrong with others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.voc.annotation import format_voc, parse_voc, read_tree
from detector.data.wider.convert import to_voc
from detector.data.wider.lists import LABELS, WiderImage, parse_file_list, parse_mat, parse_text
from faces.errors import UserError
from faces.images.read import ImageInfo

TEXT = b"""\
0--Parade/0_Parade_a_1.jpg
2
449 330 122 149 0 0 0 0 0 0
1 2 3 4 2 1 1 1 2 1
0--Parade/0_Parade_b_2.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/c.jpg
1
5 6 0 8 0 0 0 0 0 0
"""


def mat_file(images: list[WiderImage]) -> bytes:
    """What MATLAB would have saved: cells of events, in them cells of images."""
    from scipy.io import savemat

    def cells(items: list[Any]) -> np.ndarray:
        column = np.empty((len(items), 1), object)
        for i, item in enumerate(items):
            column[i, 0] = item
        return column

    events = list(dict.fromkeys(image.name.split("/")[0] for image in images))
    groups = [[x for x in images if x.name.startswith(event + "/")] for event in events]
    zeros = np.zeros((1, 4)), np.zeros((1, 6))
    content = {
        "event_list": cells(events),
        "file_list": cells(
            [cells([x.name.split("/")[1].removesuffix(".jpg") for x in g]) for g in groups]
        ),
        "face_bbx_list": cells(
            [cells([x.xywh if len(x) else zeros[0] for x in g]) for g in groups]
        ),
    }
    for i, label in enumerate(LABELS):
        content[f"{label}_label_list"] = cells(
            [cells([(x.labels if len(x) else zeros[1])[:, i : i + 1] for x in g]) for g in groups]
        )
    file = io.BytesIO()
    savemat(file, content, do_compression=True)
    return file.getvalue()


def same(one: list[WiderImage], other: list[WiderImage]) -> bool:
    return [x.name for x in one] == [x.name for x in other] and all(
        np.array_equal(a.xywh, b.xywh) and np.array_equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


def test_the_text_format_is_read() -> None:
    first, second, third = parse_text(TEXT, "gt.txt")
    assert first.name == "0--Parade/0_Parade_a_1.jpg"
    assert first.xywh.tolist() == [[449, 330, 122, 149], [1, 2, 3, 4]]
    assert first.xyxy().tolist() == [[449, 330, 571, 479], [1, 2, 4, 6]]
    assert dict(zip(LABELS, first.labels[1].tolist(), strict=True)) == {
        "blur": 2,
        "expression": 1,
        "illumination": 1,
        "invalid": 1,
        "occlusion": 2,
        "pose": 1,
    }
    assert first.invalid().tolist() == [False, True]
    assert len(second) == 0
    assert third.xyxy().tolist() == [[5, 6, 5, 14]]  # without area, and kept


@pytest.mark.parametrize(
    "data",
    [
        TEXT.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + TEXT,
        TEXT.rstrip(b"\n"),
        TEXT + b"\n\n",
        TEXT.replace(b" 0\n", b" 0 \n"),
        TEXT.replace(b"\n0\n0 0 0 0 0 0 0 0 0 0\n", b"\n0\n"),
        TEXT.replace(b"\n0\n0 0 0", b"\n1\n0 0 0"),
    ],
    ids=["crlf", "bom", "no newline", "blank lines", "blanks", "no zero row", "zero row as face"],
)
def test_variants_of_the_text_format_mean_the_same(data: bytes) -> None:
    assert data != TEXT
    assert same(parse_text(data, "gt.txt"), parse_text(TEXT, "gt.txt"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"\n2\n", b"\n3\n", r"line 5: expected 10 numbers .*, got '0--Parade/0_Parade_b_2.jpg'"),
        (b"\n2\n", b"\n1\n", r"line 4: expected an image like EVENT/NAME.jpg, got '1 2 3"),
        (b"\n2\n", b"\ntwo\n", r"line 2: expected the number of faces, got 'two'"),
        (b"\n2\n", b"\n-2\n", r"line 2: expected the number of faces, got '-2'"),
        (b"\n2\n", b"\n99\n", r"line 2: 99 faces are announced but only 8 lines follow"),
        (b"5 6 0 8", b"5 6 0 x", r"line 10: expected 10 numbers"),
        (b"5 6 0 8", b"5 6 nan 8", r"line 10: expected 10 numbers"),
        (b"5 6 0 8", b"5 6 0", r"line 10: expected 10 numbers"),
        (b"1--Handshaking/c.jpg\n1\n", b"1--Handshaking/c.jpg\n", r"line 9: expected the number"),
        (b"1--Handshaking/c.jpg", b"1--Handshaking/c.txt", r"line 8: expected an image"),
        (b"1--Handshaking/c.jpg", b"../../c.jpg", r"line 8: expected an image"),
        (b"1--Handshaking/c.jpg", b"/etc/c.jpg", r"line 8: expected an image"),
        (b"1--Handshaking/c.jpg", b"C:/c.jpg", r"line 8: expected an image"),
        (b"1--Handshaking/c.jpg", b"a\\..\\c.jpg", r"line 8: expected an image"),
        (b"1--Handshaking/c.jpg", b"0--parade/0_Parade_A_1.jpg", r"is listed twice"),
        (b"1--Handshaking", b"\xff\xfe", r"line 8: not UTF-8"),
    ],
)
def test_malformed_text_is_refused_with_its_line(old: bytes, new: bytes, message: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(UserError, match=r"gt\.txt.*" + message):
        parse_text(TEXT.replace(old, new), "gt.txt")


def test_a_file_that_ends_early_is_refused() -> None:
    for lines in range(1, 10):
        data = b"\n".join(TEXT.splitlines()[:lines])
        if lines in (4, 6, 7):  # these end with an image that is complete
            assert parse_text(data, "gt.txt")
        else:
            with pytest.raises(UserError, match=r"gt\.txt, line"):
                parse_text(data, "gt.txt")


def test_the_matlab_files_hold_the_same() -> None:
    images = parse_text(TEXT, "gt.txt")
    assert same(parse_mat(mat_file(images), "gt.mat"), images)


def test_other_matlab_files_are_refused() -> None:
    from scipy.io import savemat

    other = io.BytesIO()
    savemat(other, {"x": np.ones(3)})
    with pytest.raises(UserError, match=r"gt\.mat: not the truth of WIDER FACE"):
        parse_mat(other.getvalue(), "gt.mat")


def test_labels_that_do_not_fit_their_boxes_are_refused() -> None:
    images = parse_text(TEXT, "gt.txt")
    wrong = WiderImage(images[0].name, images[0].xywh, images[0].labels[:1])
    with pytest.raises(UserError, match=r"gt\.mat: not the truth of WIDER FACE"):
        parse_mat(mat_file([wrong]), "gt.mat")


@pytest.mark.parametrize(
    "data",
    [b"", b"no matlab file", b"\0" * 200, mat_file([])[:60]],
    ids=["empty", "text", "zeros", "cut off"],
)
def test_what_is_no_matlab_file_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match=r"gt\.mat: not a readable MATLAB file"):
        parse_mat(data, "gt.mat")


def test_cut_off_matlab_files_are_refused() -> None:
    data = mat_file(parse_text(TEXT, "gt.txt"))
    for length in range(130, len(data), 97):
        with pytest.raises(UserError, match=r"gt\.mat"):
            parse_mat(data[:length], "gt.mat")


def test_matlab_7_3_files_say_what_to_use_instead() -> None:
    header = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM"
    with pytest.raises(UserError, match=r"MATLAB 7\.3 file; use the text file"):
        parse_mat(header + b"\0" * 400, "gt.mat")


def test_the_test_list_is_read() -> None:
    assert parse_file_list(b"0--Parade/a.jpg\r\n0--Parade/b.jpg\r\n", "list") == [
        "0--Parade/a.jpg",
        "0--Parade/b.jpg",
    ]
    with pytest.raises(UserError, match=r"list, line 2: expected an image"):
        parse_file_list(b"0--Parade/a.jpg\n12\n", "list")


coordinates = st.integers(-50, 5000)
labels = st.tuples(*(st.integers(0, top) for top in (2, 1, 1, 1, 2, 1)))
rows = st.tuples(coordinates, coordinates, coordinates, coordinates, labels)
name_parts = (
    st.text("abcXYZ019_-äß .", min_size=1, max_size=10)
    .map(str.strip)
    .filter(lambda part: part.strip("."))
)
listed = st.dictionaries(
    st.tuples(name_parts, name_parts), st.lists(rows, max_size=4), max_size=5
).filter(lambda x: len({f"{a}/{b}".casefold() for a, b in x}) == len(x))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(listed)
def test_text_to_voc_and_back_loses_nothing(faces: dict[tuple[str, str], list[Any]]) -> None:
    lines: list[str] = []
    for (event, name), rows in faces.items():
        lines += [f"{event}/{name}.jpg", str(len(rows))]
        lines += [" ".join(map(str, (*box, *labels))) for *box, labels in rows] or ["0 " * 10]
    images = parse_text("\n".join(lines).encode(), "gt.txt")
    assert [image.name for image in images] == [f"{a}/{b}.jpg" for a, b in faces]
    for image, rows in zip(images, faces.values(), strict=True):
        if rows == [(0, 0, 0, 0, (0, 0, 0, 0, 0, 0))]:
            rows = []  # how the MATLAB files say "no face"
        xml = format_voc(to_voc(image, ImageInfo(480, 640)))
        annotation = parse_voc(read_tree(xml, Path("x.xml"))[0], Path("x.xml"))
        assert (annotation.width, annotation.height) == (640, 480)
        assert annotation.filename == image.name.split("/")[1]
        found = [
            (
                *(item.xyxy[:2]),
                item.xyxy[2] - item.xyxy[0],
                item.xyxy[3] - item.xyxy[1],
                tuple(int(item.attributes[label]) for label in LABELS),
            )
            for item in annotation.objects
        ]
        assert found == [tuple(row) for row in rows]
        assert [item.difficult for item in annotation.objects] == [row[4][3] == 1 for row in rows]
        assert {item.name for item in annotation.objects} <= {"face"}


def test_boxes_of_turned_images_turn_with_them() -> None:
    image = WiderImage("a/b.jpg", np.array([[5.0, 3, 11, 5]]), np.zeros((1, 6), np.int64))
    voc = to_voc(image, ImageInfo(30, 20, orientation=6))  # stored as 30 wide and 20 high
    assert voc.objects[0].xyxy == (12, 5, 17, 16)
    assert (voc.width, voc.height) == (20, 30)


@pytest.mark.data
def test_the_official_matlab_file_agrees_with_the_text(shared_data: Path) -> None:
    folder = shared_data / "widerface"
    text = folder / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    mat = folder / "eval_ground_truth" / "wider_face_val.mat"
    by_name = {image.name: image for image in parse_mat(mat.read_bytes(), mat.name)}
    images = parse_text(text.read_bytes(), text.name)
    assert len(by_name) == 3226
    assert sum(map(len, by_name.values())) == 39_704  # 39,708 rows, 4 of them mean "no face"
    assert len(images) == 250
    assert same(images, [by_name[image.name] for image in images])
