"""The label in an XMP packet: it is read back, and nothing else of the packet changes."""

import io
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bwcolor.photo.metadata.xmp import COMPOSITE_WITH_AI, Label, digital_source_type, labelled, read_label

LABEL = Label("bwcolor 1.0", "lumen-s", "0a" * 32, "detail=auto & <strength> = '1\"", "ff" * 32)
OTHER = Label("bwcolor 0.9", "older", "11" * 32, "", "22" * 32)
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OURS = "https://github.com/bwcolor/ns/1.0/"
SCANNED = "http://cv.iptc.org/newscodes/digitalsourcetype/negativeFilm"
NAMES = ("Software", "Model", "ModelSHA256", "Settings", "SourceSHA256")

LIGHTROOM = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:iptcExt = '{IPTC}'
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
   xmp:CreatorTool="Adobe 'Lightroom' &gt; Classic"@OLD@
   xmp:Rating="3">
   <!-- <iptcExt:DigitalSourceType>not one</iptcExt:DigitalSourceType> </rdf:RDF> -->
   <dc:creator><rdf:Seq><rdf:li>Großvater &amp; S\u00f6hne</rdf:li></rdf:Seq></dc:creator>
   <dc:source><![CDATA[</rdf:RDF> <a b="c">]]></dc:source>
   <xmpMM:Ingredients>
    <rdf:Bag>
     <rdf:li rdf:parseType="Resource"><iptcExt:DigitalSourceType>{SCANNED}</iptcExt:DigitalSourceType></rdf:li>
     <rdf:li iptcExt:DigitalSourceType="{SCANNED}"/>
    </rdf:Bag>
   </xmpMM:Ingredients>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
{" " * 60}
<?xpacket end="w"?>"""
OLD_ATTRIBUTE = f"\n   iptcExt:DigitalSourceType = '{SCANNED}'"
ELEMENTS = f"""<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='{RDF}'>
<r:Description r:about='uuid:"1"&lt;' xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:format>image/jpeg</dc:format>@OLD@
</r:Description>\r
<r:Description r:about='uuid:"1"&lt;'/></r:RDF></x:xmpmeta>"""
OLD_ELEMENTS = f"""
  <e:DigitalSourceType xmlns:e='{IPTC}' r:resource='{SCANNED}'/><Model xmlns='{OURS}'>a <!-- b --> c</Model>"""
PACKETS = [LIGHTROOM, ELEMENTS]
OLDS = {LIGHTROOM: OLD_ATTRIBUTE, ELEMENTS: OLD_ELEMENTS}


def without_old(packet: str) -> bytes:
    return packet.replace("@OLD@", "").encode()


def with_old(packet: str) -> bytes:
    return packet.replace("@OLD@", OLDS[packet]).encode()


def checked(packet: bytes, label: Label = LABEL) -> bytes:
    """The packet, once another parser has found the label in it exactly once."""
    tree = ET.fromstring(packet.decode())
    roots = [tree] if tree.tag == f"{{{RDF}}}RDF" else tree.findall(f"{{{RDF}}}RDF")
    top = [description for root in roots for description in root.findall(f"{{{RDF}}}Description")]
    found = [(child.tag, child.text or "") for description in top for child in description]
    found += [item for description in top for item in description.items()]
    ours = sorted(item for item in found if item[0].startswith(f"{{{OURS}}}") or item[0].endswith("}DigitalSourceType"))
    values = (label.software, label.model, label.model_sha256, label.settings, label.source_sha256)
    expected = {f"{{{OURS}}}{name}": value for name, value in zip(NAMES, values, strict=True)}
    assert ours == sorted({**expected, f"{{{IPTC}}}DigitalSourceType": COMPOSITE_WITH_AI}.items())
    assert len({description.get(f"{{{RDF}}}about") for description in top}) == 1
    assert read_label(packet) == label
    assert digital_source_type(packet) == COMPOSITE_WITH_AI
    return packet


def test_a_fresh_packet() -> None:
    packet, kept = labelled(None, LABEL)
    assert kept
    checked(packet)
    assert packet.startswith(b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet.endswith(b'<?xpacket end="w"?>')


@pytest.mark.parametrize("packet", PACKETS)
def test_all_else_is_kept_byte_for_byte(packet: str) -> None:
    source = without_old(packet)
    result, kept = labelled(source, LABEL)
    assert kept
    checked(result)
    close = source.rindex(b"</r")
    head = source[:close].rstrip()
    assert result.startswith(head)
    assert result.endswith(source[len(head) :])
    assert labelled(with_old(packet), LABEL) == (result, True)  # older values leave no trace


@pytest.mark.parametrize("packet", [None, *map(without_old, PACKETS)])
def test_a_new_label_takes_the_place_of_the_old_one(packet: bytes | None) -> None:
    once = labelled(packet, LABEL)[0]
    assert labelled(once, LABEL) == (once, True)
    other = checked(labelled(once, OTHER)[0], OTHER)
    assert labelled(other, LABEL) == (once, True)


@pytest.mark.parametrize("packet", PACKETS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("declared", ["", "<?xml version='1.0' encoding='UTF-16'?>"])
def test_other_encodings_become_utf_8(packet: str, encoding: str, declared: str) -> None:
    text = declared + packet.replace("@OLD@", "")
    result, kept = labelled(text.encode(encoding), LABEL)
    head = b"<?xml version='1.0'?>" if declared else b""
    assert (result, kept) == (head + labelled(without_old(packet), LABEL)[0], True)
    assert read_label(result.decode().encode(encoding)) == LABEL


@pytest.mark.parametrize(
    "rdf",
    [
        f"<rdf:RDF xmlns:rdf='{RDF}'/>",
        f"<RDF xmlns='{RDF}' />",
        f"<x><rdf:RDF xmlns:rdf='{RDF}'></rdf:RDF></x>",
        f"\ufeff<rdf:RDF xmlns:rdf='{RDF}'>"
        "<rdf:Description about='' xmlns:bwcolor='urn:other' bwcolor:Model='x'/></rdf:RDF>",
        f"<?xml version='1.0' encoding='utf-8'?><rdf:RDF xmlns:rdf='{RDF}'>\n</rdf:RDF>\0\0",
        f"<r:RDF xmlns:r='{RDF}' xmlns:rdf='urn:no'><r:Description r:about='' rdf:about='x>y/'/></r:RDF>",
        f"<rdf:RDF xmlns:rdf='{RDF}'><rdf:Description xmlns:Ä='{IPTC}' Ä:DigitalSourceType='' Ä:b='/>'/></rdf:RDF>",
    ],
)
def test_unusual_packets(rdf: str) -> None:
    result, kept = labelled(rdf.encode(), LABEL)
    assert kept
    assert (read_label(result), digital_source_type(result)) == (LABEL, COMPOSITE_WITH_AI)
    ET.fromstring(result.decode().removeprefix("\ufeff"))
    assert labelled(result, LABEL) == (result, True)
    for value in ("urn:other", "x>y/", "b='/>'"):
        assert result.count(value.encode()) == rdf.count(value)


BOMB = f"<!DOCTYPE x [<!ENTITY a 'aaa'><!ENTITY b '&a;&a;'>]><rdf:RDF xmlns:rdf='{RDF}'>&b;</rdf:RDF>"


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"\0\0", b"\xff\xfe", b"no XML", b"<x/>", b"<rdf:RDF/>", with_old(LIGHTROOM)[:-100], BOMB.encode(),
        f"<!DOCTYPE x><rdf:RDF xmlns:rdf='{RDF}'/>".encode(), f"<rdf:RDF xmlns:rdf='{RDF}'>&nbsp;</rdf:RDF>".encode(),
        f"<?xml version='1.0' encoding='latin-1'?><rdf:RDF xmlns:rdf='{RDF}'/>".encode(),
        f"<rdf:RDF xmlns:rdf='{RDF}'>\xe4</rdf:RDF>".encode("latin-1"), BOMB.encode("utf-16"),
    ],
)  # fmt: skip
def test_packets_that_can_not_be_read(packet: bytes) -> None:
    assert labelled(packet, LABEL) == (labelled(None, LABEL)[0], False)
    assert read_label(packet) is None
    assert digital_source_type(packet) is None


def test_a_label_that_lacks_a_part_is_none() -> None:
    packet = labelled(None, LABEL)[0].replace(b"bwcolor:Settings>", b"bwcolor:Else>")
    assert read_label(packet) is None
    assert digital_source_type(packet) == COMPOSITE_WITH_AI
    assert digital_source_type(with_old(LIGHTROOM)) == digital_source_type(with_old(ELEMENTS)) == SCANNED
    assert digital_source_type(without_old(LIGHTROOM)) is None


def test_a_label_in_attributes_is_read_and_replaced() -> None:
    attributes = "".join(f' b:{name}="{name} &lt;"' for name in NAMES)
    rdf = f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description xmlns:b="{OURS}"{attributes} rdf:about=""/></rdf:RDF>'.encode()
    assert read_label(rdf) == Label(*(f"{name} <" for name in NAMES))
    assert b'"Model &lt;"' not in checked(labelled(rdf, LABEL)[0])


xml_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("<>&'\"]\r\n\t")
)


@settings(max_examples=150, deadline=None)
@given(st.builds(Label, xml_text, xml_text, xml_text, xml_text, xml_text), st.sampled_from([None, *PACKETS]))
def test_any_text_comes_back(label: Label, packet: str | None) -> None:
    result, kept = labelled(None if packet is None else with_old(packet), label)
    assert kept
    checked(result, label)


@given(st.text(st.characters()))  # with surrogates and control characters
def test_characters_that_xml_lacks(text: str) -> None:
    read = read_label(labelled(None, Label(text, "", "", text, ""))[0])
    assert read is not None
    assert len(read.software) == len(text)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_raises(data: st.DataObject) -> None:
    packet = bytearray(with_old(data.draw(st.sampled_from(PACKETS))))
    for _ in range(data.draw(st.integers(0, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.sampled_from(b"<>/\"'= :&;x\0\xff!"))
    source = bytes(packet[: data.draw(st.one_of(st.just(len(packet)), st.integers(0, len(packet))))])
    result, _ = labelled(source, LABEL)
    ET.fromstring(result.decode())
    assert (read_label(result), digital_source_type(result)) == (LABEL, COMPOSITE_WITH_AI)
    assert labelled(result, LABEL) == (result, True)


def test_deep_and_large_packets() -> None:
    deep = f"<rdf:RDF xmlns:rdf='{RDF}'>{'<a>' * 50_000}{'</a>' * 50_000}</rdf:RDF>".encode()
    assert read_label(labelled(deep, LABEL)[0]) == LABEL
    broken_up = f"<rdf:RDF xmlns:rdf='{RDF}'>{'x<!---->' * 300_000}</rdf:RDF>".encode()
    assert read_label(labelled(broken_up, LABEL)[0]) == LABEL


def exiftool(path: Path, *arguments: str) -> bytes:
    return subprocess.run(["exiftool", *arguments, str(path)], capture_output=True, check=True).stdout


def in_a_jpeg(packet: bytes, path: Path) -> Path:
    Image.new("L", (8, 8)).save(path, "JPEG", xmp=packet)
    return path


def packet_of(path: Path) -> bytes:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        packet = image.info["xmp"]
    assert isinstance(packet, bytes)
    return packet


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool isn't installed")
@pytest.mark.parametrize("packet", [None, *PACKETS])
@pytest.mark.parametrize("compact", [[], ["-api", "Compact=Shorthand"]])
def test_exiftool_reads_and_rewrites_it(packet: str | None, compact: list[str], tmp_path: Path) -> None:
    source = None if packet is None else with_old(packet)
    if source is not None:  # exiftool doesn't know that tags in comments and CDATA are none
        source = source.replace(b" </rdf:RDF> -->", b" -->").replace(b'</rdf:RDF> <a b="c">', b"plain")
        source = source.replace(b"'Lightroom'", b"Lightroom")  # nor that an attribute's quotes need care in another
    result = labelled(source, LABEL)[0]
    photo = in_a_jpeg(result, tmp_path / "photo.jpg")
    shown = exiftool(photo, "-s3", "-n", "-XMP-iptcExt:DigitalSourceType", "-XMP-bwcolor:Model", "-validate")
    assert shown.decode().splitlines()[:2] == [COMPOSITE_WITH_AI, "lumen-s"]
    exiftool(photo, "-q", "-overwrite_original", *compact, "-XMP-dc:Title=A day at the sea")
    rewritten = packet_of(photo)
    assert rewritten != result
    assert b"A day at the sea" in rewritten
    assert (b"bwcolor:Model=" in rewritten) == bool(compact)
    checked(rewritten)
    again = in_a_jpeg(labelled(rewritten, OTHER)[0], photo)
    checked(packet_of(again), OTHER)
    assert exiftool(again, "-s3", "-XMP-dc:Title", "-XMP-bwcolor:Model") == b"A day at the sea\nolder\n"


def test_white_space_in_a_declaration_takes_no_time() -> None:
    start = time.monotonic()
    _, kept = labelled(("<?xml " + " " * 60_000 + "?><a/>").encode("utf-16"), LABEL)
    assert not kept
    assert time.monotonic() - start < 2


def test_the_encoding_of_a_declaration_is_replaced() -> None:
    packet = '<?xml version="1.0" encoding="UTF-16"?><rdf:RDF xmlns:rdf="' + RDF + '"> </rdf:RDF>'
    result, kept = labelled(packet.encode("utf-16"), LABEL)
    assert kept
    assert result.startswith(b'<?xml version="1.0"?>')


@pytest.mark.parametrize("filler", ["<a/>" * 210_000, "<a>" + "x" * 4_200_000 + "</a>"], ids=["elements", "bytes"])
def test_packets_beyond_all_measure_count_as_unreadable(filler: str) -> None:
    packet = f'<rdf:RDF xmlns:rdf="{RDF}">{filler}</rdf:RDF>'
    result, kept = labelled(packet.encode(), LABEL)
    assert not kept
    assert len(result) < 5_000
