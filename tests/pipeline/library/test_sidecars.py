"""XMP sidecars: regions as photo managers have them, and nothing of others lost."""

from __future__ import annotations

import numpy as np
import pytest
from lxml import etree

from faces.errors import UserError
from faces.images.read import upright_boxes
from pipeline.library.export.sidecars import Region, stored_boxes, write_sidecar

NS = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "stArea": "http://ns.adobe.com/xmp/sType/Area#",
    "stDim": "http://ns.adobe.com/xap/1.0/sType/Dimensions#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dc": "http://purl.org/dc/elements/1.1/",
}
SIZE = (300, 400)
ANN = Region("Ann", (0.1, 0.2, 0.3, 0.5), "0011223344556677-0")
BOB = Region("Bob & Ünal", (0.6, 0.2, 0.8, 0.5), "0011223344556677-1")

# As digiKam writes it: attributes in place of elements, another program's settings beside it.
DIGIKAM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4">
   <dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:RegionList><rdf:Bag>
     <rdf:li><rdf:Description mwg-rs:Name="Grandma" mwg-rs:Type="Face">
      <mwg-rs:Area stArea:x="0.2" stArea:y="0.36" stArea:w="0.22" stArea:h="0.34"
        stArea:unit="normalized"/></rdf:Description></rdf:li>
    </rdf:Bag></mwg-rs:RegionList>
   </mwg-rs:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def read(path):
    """(name, x, y, w, h) of each region that a photo manager would find, and PersonInImage."""
    root = etree.parse(str(path)).getroot()

    def value(item, tag):
        prefix, key = tag.split(":")
        attribute = f"{{{NS[prefix]}}}{key}"
        found = [one.get(attribute) for one in item.iter() if one.get(attribute) is not None]
        return found[0] if found else item.findtext(f".//{tag}", namespaces=NS)

    items = root.findall(".//mwg-rs:RegionList/rdf:Bag/rdf:li", NS)
    regions = [
        (value(i, "mwg-rs:Name"), *(float(value(i, f"stArea:{key}")) for key in "xywh"))
        for i in items
    ]
    people = [i.text for i in root.findall(".//Iptc4xmpExt:PersonInImage/rdf:Bag/rdf:li", NS)]
    return regions, people


def test_a_new_sidecar_has_regions_and_people(tmp_path):
    path = tmp_path / "ä.jpg.xmp"
    assert write_sidecar(path, [ANN, BOB], SIZE) == "written"
    regions, people = read(path)
    assert regions == [
        ("Ann", *map(pytest.approx, (0.2, 0.35, 0.2, 0.3))),
        ("Bob & Ünal", *map(pytest.approx, (0.7, 0.35, 0.2, 0.3))),
    ]
    assert people == ["Ann", "Bob & Ünal"]
    root = etree.parse(str(path)).getroot()
    assert root.findtext(".//stDim:w", namespaces=NS) == "400"
    assert root.findtext(".//stDim:h", namespaces=NS) == "300"
    assert path.read_bytes().startswith(b"<?xpacket begin=")


def test_running_again_changes_nothing_and_decisions_change_only_ours(tmp_path):
    path = tmp_path / "a.xmp"
    write_sidecar(path, [ANN, BOB], SIZE)
    before = path.read_bytes()
    assert write_sidecar(path, [ANN, BOB], SIZE) == "unchanged"
    assert path.read_bytes() == before
    assert write_sidecar(path, [Region("Anna", ANN.box, ANN.face)], SIZE) == "updated"
    assert read(path)[1] == ["Anna"]
    assert [region[0] for region in read(path)[0]] == ["Anna"]
    assert write_sidecar(path, [], SIZE) == "updated"
    assert read(path) == ([], [])
    assert write_sidecar(tmp_path / "none.xmp", [], SIZE) == "unchanged"
    assert not (tmp_path / "none.xmp").exists()


def test_what_others_wrote_stays(tmp_path):
    path = tmp_path / "a.xmp"
    path.write_text(DIGIKAM, encoding="utf-8")
    # Ann's face is marked as Grandma already: who did that knows better.
    assert write_sidecar(path, [ANN, BOB], SIZE) == "updated"
    assert [region[0] for region in read(path)[0]] == ["Grandma", "Bob & Ünal"]
    text = path.read_text(encoding="utf-8")
    assert "holiday" in text
    assert 'xmp:Rating="4"' in text
    assert text.count("<rdf:RDF") == text.count("<mwg-rs:RegionList") == 1
    assert text.count("xpacket") == 2
    write_sidecar(path, [], SIZE)
    assert [region[0] for region in read(path)[0]] == ["Grandma"]
    assert "holiday" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [
        b"no XML at all", b"", b"<html/>", b"\xff\xfe\x00",
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">&e;</x:xmpmeta>',
        DIGIKAM.encode()[:700],
    ],
)  # fmt: skip
def test_a_sidecar_that_cannot_be_understood_is_left_alone(tmp_path, content):
    path = tmp_path / "a.xmp"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.xmp"):
        write_sidecar(path, [ANN], SIZE)
    assert path.read_bytes() == content


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_are_those_of_the_stored_picture(orientation):
    """Whoever turns the stored picture and its regions by the orientation gets our boxes back."""
    stored = (300, 400)
    shown = stored[::-1] if orientation >= 5 else stored
    boxes = np.array([[10, 20, 90, 120]], np.float32)
    parts = stored_boxes(boxes, orientation, shown)
    back = upright_boxes(parts * [400, 300, 400, 300], orientation, stored)
    assert back == pytest.approx(boxes)
