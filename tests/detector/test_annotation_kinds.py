"""What tools and people make of an annotation: check, train and evaluate give the same answer.

Every case is written by the test. What is certain is read by all three and told by the check; what
makes the boxes doubtful is refused by the other two. The repaired copy is right for all.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.check import check_set
from detector.data.repair import repair
from detector.data.voc.annotation import VocAnnotation, VocObject, load_voc, write_voc
from detector.data.voc.folder import find_sets
from detector.evaluation.truth import read_voc_truth
from detector.training.dataset import FaceIndex
from faces.errors import UserError

WIDTH, HEIGHT = 96, 80
BOX = (20.0, 10.0, 50.0, 40.0)
OTHER = (60.0, 30.0, 80.0, 60.0)
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


def an_object(box: tuple[float, ...] = BOX, name: str = "face", more: str = "") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{tag}>{value:g}</{tag}>" for tag, value in corners)
    return f"<object>\n<name>{name}</name>{more}<bndbox>{inner}</bndbox></object>\n"


SIZE = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>\n"
PLAIN = f"<annotation>\n<filename>p.jpg</filename>\n{SIZE}{an_object()}</annotation>\n"
TWO = PLAIN.replace("</annotation>", an_object(OTHER) + "</annotation>")


def make(root: Path, data: str | bytes, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A folder of one picture and one annotation, and a sound pair beside it."""
    for part in ("images", "annotations"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name in ("p", "sound"):
        Image.new("RGB", size).save(root / "images" / f"{name}.jpg")
    sound = VocAnnotation("sound.jpg", *size, (VocObject("face", (1, 2, 30, 40)),))
    write_voc(root / "annotations" / "sound.xml", sound)
    text = data.encode() if isinstance(data, str) else data
    (root / "annotations" / "p.xml").write_bytes(text)
    return root


def kinds(root: Path) -> set[str]:
    (folder,) = find_sets(root)
    return {finding.kind for finding in check_set(folder).findings}


def trained(root: Path) -> list[list[float]]:
    index = FaceIndex(root / "images", root / "annotations")
    assert index.labels(0).tolist() == [1] * len(index.boxes(0))
    assert index.name(0) == "p.jpg"
    return np.round(index.boxes(0), 3).tolist()


def evaluated(root: Path) -> list[list[float]]:
    truth, _ = read_voc_truth(root / "annotations", root / "images")
    (image,) = [image for image in truth if image.name == "p"]
    return np.round(image.xyxy[~image.ignored], 3).tolist()


def fixed(root: Path, out: Path) -> list[list[float]]:
    (folder,) = find_sets(root)
    repair([check_set(folder)], out)
    assert kinds(out) == set()
    assert trained(out) == evaluated(out)
    return trained(out)


def plain(data: str, old: str, new: str) -> str:
    assert old in data
    return data.replace(old, new)


READ = {
    "sound": (PLAIN, set()),
    "utf-8 with a mark": (DECLARATION.encode() and b"\xef\xbb\xbf" + PLAIN.encode(), set()),
    "utf-16 with a mark": (PLAIN.encode("utf-16"), {"not UTF-8"}),
    "utf-16 declared": (
        DECLARATION.replace("utf-8", "utf-16").encode("utf-16-be") + PLAIN.encode("utf-16-be"),
        {"not UTF-8"},
    ),
    "utf-32": (PLAIN.encode("utf-32"), {"not UTF-8"}),
    "utf-32 without a mark": (PLAIN.encode("utf-32-le"), {"not UTF-8"}),
    "says utf-16, is utf-8": (DECLARATION.replace("utf-8", "utf-16") + PLAIN, {"not well-formed"}),
    "says utf-32, is utf-8": (DECLARATION.replace("utf-8", "utf-32") + PLAIN, {"not well-formed"}),
    "says no such encoding": (DECLARATION.replace("utf-8", "klingon") + PLAIN, {"not well-formed"}),
    "says latin-1, is utf-8": (
        DECLARATION.replace("utf-8", "iso-8859-1") + PLAIN.replace("p.jpg", "é/p.jpg"),
        {"not well-formed"},
    ),
    "says latin-1, is plain": (DECLARATION.replace("utf-8", "iso-8859-1") + PLAIN, set()),
    "latin-1 undeclared": (PLAIN.replace("p.jpg", "é/p.jpg").encode("latin-1"), {"not UTF-8"}),
    "blank line first": ("\n" + DECLARATION + PLAIN, {"not well-formed"}),
    "blank line, no declaration": ("\n\n" + PLAIN, set()),
    "junk first": ("x " + DECLARATION + PLAIN, {"not well-formed"}),
    "two marks first": ("\ufeff\ufeff" + DECLARATION + PLAIN, set()),
    "comments and instructions": (DECLARATION + "<!-- a & b --><?pi x?>\n" + PLAIN, set()),
    "NUL after the end": (PLAIN + "\0" * 20, {"not well-formed"}),
    "text after the end": (PLAIN + "end & <of> file", {"not well-formed"}),
    "control character": (plain(PLAIN, "p.jpg", "\x01p.jpg"), {"not well-formed"}),
    "bare ampersand": (
        plain(PLAIN, "<size>", "<path>D:\\A & B\\p.jpg</path><size>"), {"not well-formed"}
    ),
    "bare less-than": (plain(PLAIN, "<size>", "<folder>a < 3</folder><size>"), {"not well-formed"}),
    "HTML's name": (plain(PLAIN, "<size>", "<path>a&eacute;</path><size>"), {"not well-formed"}),
    "an ampersand and a semicolon": (
        plain(PLAIN, "<size>", "<path>D:\\R&D;old\\p.jpg</path><size>"), {"not well-formed"}
    ),
    "ampersand in CDATA": (
        plain(PLAIN, "<size>", "<folder><![CDATA[a & b]]></folder><path>c & d</path><size>"),
        {"not well-formed"},
    ),
    "namespace": (plain(PLAIN, "<annotation>", '<annotation xmlns="http://x/">'), {"not as VOC"}),
    "a prefix that is not declared": (
        plain(PLAIN, "<annotation>", '<annotation path="a b:c d">').replace("<", "<v:")
        .replace("<v:/", "</v:"), {"not as VOC"}
    ),
    "an attribute's prefix": (
        plain(PLAIN, "<annotation>", '<annotation xsi:noNamespaceSchemaLocation="a.xsd">'),
        {"not as VOC"},
    ),
    "closed in other letters": (plain(PLAIN, "</object>", "</Object>"), {"not as VOC"}),
    "upper-case tags": (PLAIN.replace("xmin", "XMin").replace("object", "Object"), {"not as VOC"}),
    "another root": (PLAIN.replace("annotation>", "annotations>"), {"not as VOC"}),
    "a root around it": (f"<annotations>{PLAIN}</annotations>", {"not as VOC"}),
    "objects in a list": (
        plain(PLAIN, an_object(), f"<objects>{an_object()}</objects>"), {"not as VOC"}
    ),
    "no name": (plain(PLAIN, "<name>face</name>", ""), {"not as VOC"}),
    "no size": (plain(PLAIN, SIZE, ""), {"no size"}),
    "size 0": (plain(PLAIN, f"<width>{WIDTH}", "<width>0"), {"no size"}),
    "size unknown": (plain(PLAIN, f"<width>{WIDTH}", "<width>Unknown"), {"no size"}),
    "size as a float": (plain(PLAIN, f"<width>{WIDTH}", f"<width>{WIDTH}.0"), set()),
    "no filename": (plain(PLAIN, "<filename>p.jpg</filename>", ""), set()),
    "no depth": (plain(PLAIN, "<depth>3</depth>", ""), set()),
    "spaces": (plain(PLAIN, "<xmin>20<", "<xmin> 20.0\n<"), set()),
    "commas": (plain(PLAIN, "<xmin>20<", "<xmin>20,0<"), {"not as VOC"}),
    "corners swapped": (
        plain(PLAIN, ">20</xmin><ymin>10</ymin><xmax>50<", ">50</xmin><ymin>10</ymin><xmax>20<"),
        {"inverted box"},
    ),
    "box first": (
        plain(PLAIN, "<name>face</name><bndbox>", "<bndbox>").replace(
            "</bndbox>", "</bndbox><name>face</name>"
        ),
        set(),
    ),
    "CDATA": (plain(PLAIN, ">face<", "><![CDATA[face]]><"), set()),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_certain_is_read_by_all(case: str, tmp_path: Path) -> None:
    data, told = READ[case]
    root = make(tmp_path / "a", data)
    assert kinds(root) == told
    assert trained(root) == evaluated(root) == [list(BOX)]
    assert fixed(root, tmp_path / "b") == [list(BOX)]


SMALL = (WIDTH // 2, HEIGHT // 2)
HALF = [value / 2 for value in BOX]
DOUBTFUL = {
    "cut off in an object": (TWO[: TWO.rindex("<ymin>")], "damaged", BOX),
    "cut off after an object": (TWO[: TWO.rindex("<object>")], "damaged", BOX),
    "an object that never ends": (TWO.replace("</object>", "", 1), "damaged", BOX),
    "a tag in a name": (plain(PLAIN, ">face<", "><face><"), "damaged", BOX),
    "a tag that is not closed": (plain(TWO, "<name>", "<pose>left<name>"), "damaged", BOX),
    "a damaged file with prefixes": (
        TWO[: TWO.rindex("<ymin>")].replace("<", "<v:").replace("<v:/", "</v:"), "damaged", BOX
    ),
    "no box": (plain(TWO, an_object(OTHER), "<object><name>face</name></object>"),
               "unreadable object", BOX),
    "an empty coordinate": (plain(TWO, "<xmin>60<", "<xmin><"), "unreadable object", BOX),
    "a thousand or one": (plain(TWO, "<xmin>60<", "<xmin>1,024<"), "unreadable object", BOX),
    "fractions": (plain(PLAIN, an_object(), an_object((0.25, 0.125, 0.5, 0.5))), "fractions",
                  (24, 10, 48, 40)),
    "one fraction": (plain(TWO, an_object(OTHER), an_object((0.25, 0.125, 0.5, 0.5))), "fractions",
                     BOX),
}  # fmt: skip


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_is_doubtful_is_refused_by_both_and_mended(case: str, tmp_path: Path) -> None:
    data, kind, kept = DOUBTFUL[case]
    root = make(tmp_path / "a", data)
    assert kind in kinds(root)
    for read in (trained, evaluated):
        with pytest.raises(UserError, match=r"p\.xml, line \d+: .*check --fix"):
            read(root)
    assert fixed(root, tmp_path / "b")[0] == list(kept)


@pytest.mark.parametrize("value", ["1.0", "yes", "True", "1", "2", "T"])
def test_ways_to_say_difficult(value: str, tmp_path: Path) -> None:
    text = plain(TWO, "<name>face</name>", f"<name>face</name><difficult>{value}</difficult>")
    root = make(tmp_path / "a", text)
    assert kinds(root) == set()
    assert FaceIndex(root / "images", root / "annotations").labels(0).tolist() == [-1, -1]
    assert evaluated(root) == []
    (folder,) = find_sets(root)
    repair([check_set(folder)], tmp_path / "b")
    assert b"<difficult>1</difficult>" in (tmp_path / "b/annotations/p.xml").read_bytes()


@pytest.mark.parametrize("value", ["0", "0.0", "no", "False", "", "Unspecified", "NaN"])
def test_ways_to_say_not_difficult(value: str, tmp_path: Path) -> None:
    root = make(tmp_path, an_object().join(PLAIN.split(an_object())).replace(
        "<name>face</name>", f"<name>face</name><difficult>{value}</difficult>"
    ))  # fmt: skip
    assert kinds(root) == set()
    assert trained(root) == evaluated(root) == [list(BOX)]


@pytest.mark.parametrize("value", ["perhaps", "inf"])
def test_a_flag_that_says_neither_is_told(value: str, tmp_path: Path) -> None:
    root = make(tmp_path, plain(PLAIN, "<name>", f"<difficult>{value}</difficult><name>"))
    assert kinds(root) == {"not as VOC"}
    assert trained(root) == evaluated(root) == [list(BOX)]


def test_several_boxes_in_one_object_are_several_faces(tmp_path: Path) -> None:
    second = an_object(OTHER).partition("<bndbox>")[2].partition("</object>")[0]
    root = make(tmp_path / "a", plain(PLAIN, "</bndbox>", "</bndbox><bndbox>" + second))
    assert kinds(root) == {"not as VOC"}
    assert trained(root) == evaluated(root) == [list(BOX), list(OTHER)]
    assert fixed(root, tmp_path / "b") == [list(BOX), list(OTHER)]


def test_boxes_beyond_the_picture_are_cut_or_left_out_by_all(tmp_path: Path) -> None:
    text = plain(TWO, "<xmax>50<", "<xmax>500<").replace("<xmin>60<", "<xmin>600<")
    root = make(tmp_path / "a", text.replace("<xmax>80<", "<xmax>800<"))
    assert kinds(root) == {"box over the edge", "box outside"}
    assert trained(root) == evaluated(root) == [[20, 10, WIDTH, 40]]
    assert fixed(root, tmp_path / "b") == [[20, 10, WIDTH, 40]]


def test_a_picture_that_was_resized_since_takes_its_boxes_along(tmp_path: Path) -> None:
    root = make(tmp_path / "a", PLAIN, SMALL)
    assert kinds(root) == {"wrong size"}
    for read in (trained, evaluated):
        with pytest.raises(UserError, match=r"p\.xml is for an image of 96x80 .* 48x40.*--fix"):
            read(root)
    assert fixed(root, tmp_path / "b") == [HALF]


def test_a_picture_that_was_turned_since_is_left_out_of_the_copy(tmp_path: Path) -> None:
    root = make(tmp_path / "a", plain(PLAIN, an_object(), an_object((85, 10, 95, 30))), (80, 96))
    assert kinds(root) == {"wrong size"}
    (folder,) = find_sets(root)
    repairs = repair([check_set(folder)], tmp_path / "b")
    assert not (tmp_path / "b/annotations/p.xml").exists()
    assert not (tmp_path / "b/images/p.jpg").exists()
    assert "turned or cut" in repairs.left_out[str(root / "annotations/p.xml")]


def test_two_sides_in_the_wrong_order_are_exchanged(tmp_path: Path) -> None:
    root = make(tmp_path / "a", PLAIN, (HEIGHT, WIDTH))
    assert kinds(root) == {"wrong size"}
    assert fixed(root, tmp_path / "b") == [list(BOX)]


@pytest.mark.parametrize(
    "data",
    [
        "<!DOCTYPE annotation [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
        + plain(PLAIN, "p.jpg", "&x;"),
        '<?xml version="1.0" encoding="utf-7"?>\n+ADwAIQ-DOCTYPE a+AD4-' + PLAIN,
    ],
)
def test_entities_are_never_expanded(data: str, tmp_path: Path) -> None:
    root = make(tmp_path / "a", data)
    if "utf-7" in data:  # it is read as what it is, UTF-8, and nothing in it is a document type
        assert kinds(root) == {"not well-formed"}
        return
    assert kinds(root) == {"unreadable annotation"}
    for read in (trained, evaluated):
        with pytest.raises(UserError, match=r"p\.xml, line \d+: has .*entit"):
            read(root)


def test_a_list_of_annotations_of_another_kind_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path, '<annotations><image name="p.jpg"><box xtl="1"/></image></annotations>')
    assert kinds(root) == {"unreadable annotation"}
    (tmp_path / "annotations/p.xml").write_text(f"<annotations>{PLAIN}{PLAIN}</annotations>")
    with pytest.raises(UserError, match="several annotations"):
        trained(root)


def test_flaws_know_their_line(tmp_path: Path) -> None:
    root = make(tmp_path, plain(PLAIN, "<size>", "<path>\nA & B</path><size>"))
    (flaw,) = load_voc(root / "annotations/p.xml")[1].flaws
    assert (flaw.line, flaw.detail) == (4, "a bare '&' in a text")


def test_what_was_read_in_spite_of_a_flaw_is_said_when_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(make(tmp_path, "\n" + DECLARATION + PLAIN))
    assert "1 annotation not as it should be" in caplog.text
    assert "p.xml, line 1: a blank line" in caplog.text


# ---- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "annotation", "written"),
    [
        (unicodedata.normalize("NFD", "café.jpg"), "café.xml", "café.jpg"),
        ("café.jpg", unicodedata.normalize("NFD", "café.xml"), ""),
        ("IMG_1.JPG", "img_1.XML", ""),
        ("photo.jpg", "photo.jpg.xml", ""),
        ("photo.jpg", "0001.xml", "photo.jpg"),
        ("photo.jpg", "0001.xml", "C:\\Users\\me\\photo.JPG"),
        ("photo.jpg", "0001.xml", "/home/me/photo.png"),
        ("photo.jpg", "0001.xml", "photo"),
        ("café.jpg", "0001.xml", unicodedata.normalize("NFD", "photos/CAFÉ.jpg")),
    ],
)
def test_image_and_annotation_are_one_pair(
    image: str, annotation: str, written: str, tmp_path: Path
) -> None:
    root = make(tmp_path / "a", plain(PLAIN, "p.jpg", written))
    for name in ("p", "sound"):
        (root / "images" / f"{name}.jpg").rename(root / "images" / image)
    (root / "annotations" / "sound.xml").unlink()
    (root / "annotations" / "p.xml").rename(root / "annotations" / annotation)
    assert kinds(root) == set()
    assert len(FaceIndex(root / "images", root / "annotations").boxes(0)) == 1
    ((truth,), files) = read_voc_truth(root / "annotations", root / "images")
    assert len(truth) == 1
    assert truth.name == unicodedata.normalize("NFC", Path(image).stem)
    assert list(files) == [truth.name]


@pytest.mark.parametrize("written", ["D:\\x\\p.PNG", "x/p.png", "P.png", "p.png"])
def test_the_written_name_tells_two_images_apart(written: str, tmp_path: Path) -> None:
    root = make(tmp_path, plain(PLAIN, "p.jpg", written))
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / "p.png")
    index = FaceIndex(root / "images", root / "annotations")
    assert [index.name(i) for i in range(len(index))] == ["p.png", "sound.jpg"]


def test_two_annotations_of_one_image_are_refused_and_joined(tmp_path: Path) -> None:
    root = make(tmp_path / "a", PLAIN)
    again = TWO.replace("<xmin>20<", "<xmin>21<")
    (root / "annotations" / "p.jpg.xml").write_text(again, encoding="utf-8")
    assert kinds(root) == {"several annotations"}
    for read in (trained, evaluated):
        with pytest.raises(UserError, match=r"p\.jpg has several annotations.*--fix"):
            read(root)
    boxes = fixed(root, tmp_path / "b")
    assert len(boxes) == 2
    assert list(OTHER) in boxes


# ---- empty truth ----------------------------------------------------------------------------


def both(root: Path, *classes: str) -> list[str]:
    """The refusals of training and of evaluating, and what the check says."""
    said = []
    for read in (
        lambda: FaceIndex(root / "images", root / "annotations", classes),
        lambda: read_voc_truth(root / "annotations", root / "images", classes),
    ):
        with pytest.raises(UserError) as caught:
            read()
        said.append(str(caught.value))
    (folder,) = find_sets(root)
    (finding,) = check_set(folder, classes=classes).findings
    assert finding.kind == "no face"
    return [*said, str(finding)]


def only(root: Path, *objects: VocObject) -> Path:
    make(root, PLAIN)
    for name in ("p", "sound"):
        voc = VocAnnotation(f"{name}.jpg", WIDTH, HEIGHT, objects)
        write_voc(root / "annotations" / f"{name}.xml", voc)
    return root


def test_a_class_that_nothing_is_called_is_refused_with_what_there_is(tmp_path: Path) -> None:
    root = only(tmp_path, VocObject("Face", BOX), VocObject("dog", OTHER))
    for said in both(root, "face"):
        assert "classes face: none of its objects is called so" in said
        assert "Face (2), dog (2)" in said
        assert "did you mean 'Face'?" in said


def test_one_of_several_classes_that_nothing_is_called_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = only(tmp_path, VocObject("Mask", BOX), VocObject("face", OTHER))
    FaceIndex(root / "images", root / "annotations", ("face", "mask"))
    assert "no object is called 'mask'" in caplog.text
    assert "did you mean 'Mask'?" in caplog.text


def test_sets_without_a_face_that_counts_are_refused(tmp_path: Path) -> None:
    for said in both(only(tmp_path / "a")):
        assert "none of its 2 annotations has an object" in said
    for said in both(only(tmp_path / "b", VocObject("face", BOX, difficult=True))):
        assert "none of its 2 faces counts: all are marked difficult" in said
