"""Labelling a photo's XMP packet (ISO 16684-1): its colours were made by a model, and by which.

A packet of the photo's own is edited, never written anew: only what the label replaces is cut out of its bytes.
Packets come from strangers, so a document type, the way to entities that grow without end, is refused.
"""

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"  # IPTC Photo Metadata Standard, extension schema
BWCOLOR = "https://github.com/bwcolor/ns/1.0/"
# IPTC NewsCodes, "Digital Source Type": part of the picture, here the colours, was made by a trained model.
COMPOSITE_WITH_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

BETWEEN = "\n"  # namespace and name; expat refuses namespaces that hold it
SOURCE_TYPE = f"{IPTC_EXT}{BETWEEN}DigitalSourceType"
LABEL_NAMES = ("Software", "Model", "ModelSHA256", "Settings", "SourceSHA256")  # in the order of Label's fields
LABEL = tuple(f"{BWCOLOR}{BETWEEN}{name}" for name in LABEL_NAMES)
REPLACED = frozenset({SOURCE_TYPE, *LABEL})
RDF_RDF, DESCRIPTION, ABOUT, RESOURCE = (
    f"{RDF}{BETWEEN}{name}" for name in ("RDF", "Description", "about", "resource")
)

# Only ever tried on tags that expat found well-formed.
ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")
TAG = re.compile(rb"<([^\s/>]+)(?:" + ATTRIBUTE.pattern + rb")*\s*/?>")
ENCODING = re.compile(rb"""\A((?:\xef\xbb\xbf)?<\?xml\s[^>]*?)\s+encoding\s*=\s*(?:"[^"]*"|'[^']*')""")
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2
SPACE = b" \t\r\n"
LONGEST_DECLARATION = 200  # bytes
MAX_PACKET = 4 << 20  # bytes; larger ones, and such of more elements, count as unreadable
MAX_ELEMENTS = 200_000
ENCODINGS = (  # by how a packet starts; the longer first, since UTF-32's marks start with those of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"),
)  # fmt: skip

EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>""".encode()  # the wrapper: ISO 16684-1, 7.3


@dataclass(frozen=True, slots=True)
class Label:
    """How a photo's colours were made. model_sha256 and source_sha256: hex, of the model and of the gray file."""

    software: str
    model: str
    model_sha256: str
    settings: str
    source_sha256: str


@dataclass(slots=True)
class _Element:
    """An XML element and where its bytes are: start tag from start to inner, closing tag from close to end.

    name: namespace, BETWEEN, name; tag: its name as written. attributes: by name, the value and how the name is
    written. texts: what stands directly in it, and remarks: whether comments or instructions do.
    """

    name: str
    tag: bytes
    attributes: dict[str, tuple[str, str]]
    start: int
    inner: int
    close: int = 0
    end: int = 0
    texts: list[str] = field(default_factory=list)
    remarks: bool = False
    children: list["_Element"] = field(default_factory=list)


def labelled(packet: bytes | None, label: Label) -> tuple[bytes, bool]:
    """The packet (UTF-8) with the label in it, and whether all else that the given one says is kept.

    That is False only for a packet that can't be read: the result is then a fresh one. Of a readable one, everything
    stays byte for byte, but for older values of the label's properties together with the white space before
    them, and for descriptions that held nothing else. One in UTF-16 or UTF-32 becomes UTF-8. Characters
    that XML can't express become U+FFFD.
    """
    data = EMPTY if packet is None else _utf_8(packet)
    rdf = _rdf(data)
    if rdf is None:
        return labelled(None, label)[0], False
    new = _description(label, rdf)
    if rdf.close == rdf.inner and data[rdf.inner - 2 : rdf.inner] == b"/>":
        insertion = (rdf.inner - 2, rdf.inner, b">" + new + b"\n</" + rdf.tag + b">")
    else:
        place = _before_space(data, rdf.close)
        insertion = (place, place, new)
    parts, position = [], 0
    for start, end, replacement in [*((*cut, b"") for cut in _cuts(data, rdf)), insertion]:
        parts += [data[position:start], replacement]
        position = end
    return b"".join(parts) + data[position:], True


def read_label(packet: bytes) -> Label | None:
    """The label that `labelled` has put into a packet, whoever rewrote it since; None when a part is missing."""
    values = _values(packet)
    return Label(*(values[name] for name in LABEL)) if values.keys() >= set(LABEL) else None


def digital_source_type(packet: bytes) -> str | None:
    """The packet's Iptc4xmpExt:DigitalSourceType, a URI; None when it has none or can't be read."""
    return _values(packet).get(SOURCE_TYPE)


def _values(packet: bytes) -> dict[str, str]:
    """What the packet says of the properties that a label has, by name."""
    values: dict[str, str] = {}
    rdf = _rdf(_utf_8(packet))
    for description in [] if rdf is None else _descriptions(rdf):
        for name in REPLACED & description.attributes.keys():
            values.setdefault(name, description.attributes[name][0])
        for element in description.children:
            if element.name in REPLACED:
                resource, _ = element.attributes.get(RESOURCE, ("", ""))
                values.setdefault(element.name, resource or "".join(element.texts))
    return values


def _descriptions(rdf: _Element) -> list[_Element]:
    """Those whose properties are the photo's own, not those of something within."""
    return [child for child in rdf.children if child.name == DESCRIPTION]


def _cuts(data: bytes, rdf: _Element) -> Iterator[tuple[int, int]]:
    """Start and end, in order, of the bytes that a new label replaces."""
    for description in _descriptions(rdf):
        others = [name for name in description.attributes if name not in REPLACED | {ABOUT, "about"}]
        others += [child.name for child in description.children if child.name not in REPLACED]
        written = {name for key, (_, name) in description.attributes.items() if key in REPLACED}
        old = [child for child in description.children if child.name in REPLACED]
        if (old or written) and not others and not description.remarks and not "".join(description.texts).strip():
            yield _before_space(data, description.start), description.end
            continue
        position = description.start + 1 + len(description.tag)
        while (attribute := ATTRIBUTE.match(data, position)) is not None:
            position = attribute.end()
            if attribute[1].decode() in written:
                yield attribute.span()
        yield from ((_before_space(data, child.start), child.end) for child in old)


def _before_space(data: bytes, position: int) -> int:
    """Where the white space starts that stands before a position."""
    while data[position - 1] in SPACE:
        position -= 1
    return position


def _utf_8(packet: bytes) -> bytes:
    """The packet in UTF-8 and without zeros at its end, which some programs leave; as it is if it makes no sense."""
    for mark, encoding in ENCODINGS if len(packet) <= 2 * MAX_PACKET else ():
        if packet.startswith(mark):
            data = packet.decode(encoding, "replace").rstrip("\0").encode("utf-8", "replace")
            end = data.find(b"?>", 0, LONGEST_DECLARATION)
            return ENCODING.sub(rb"\1", data[:end]) + data[end:] if end > 0 else data
    return packet.rstrip(b"\0")


def _description(label: Label, rdf: _Element) -> bytes:
    """An rdf:Description that holds the label, on lines of its own, and is about what the packet's others are."""
    abouts = [
        each.attributes[name][0] for each in _descriptions(rdf) for name in (ABOUT, "about") if name in each.attributes
    ]
    spaces = {"Iptc4xmpExt": IPTC_EXT, "bwcolor": BWCOLOR} | ({} if rdf.tag == b"rdf:RDF" else {"rdf": RDF})
    values = {"Iptc4xmpExt:DigitalSourceType": COMPOSITE_WITH_AI}
    values |= {f"bwcolor:{name}": value for name, value in zip(LABEL_NAMES, astuple(label), strict=True)}
    lines = [
        f"  <rdf:Description rdf:about={quoteattr(abouts[0] if abouts else '')}",
        *(f'    xmlns:{prefix}="{space}"' for prefix, space in spaces.items()),
    ]
    elements = [f"   <{name}>{_escaped(value)}</{name}>" for name, value in values.items()]
    return "\n".join(["", *lines[:-1], lines[-1] + ">", *elements, "  </rdf:Description>"]).encode()


def _escaped(text: str) -> str:
    """Text for an element. A bare CR would be read as a new line; exiftool copies bare quotes into attributes."""
    return escape(NOT_XML.sub("\ufffd", text), {"\r": "&#13;", "'": "&apos;", '"': "&quot;"})


def _rdf(data: bytes) -> _Element | None:
    """The first rdf:RDF of a packet in UTF-8, or None when it has none, isn't XML or can't be trusted."""
    if len(data) > MAX_PACKET:
        return None
    try:
        waiting = [_tree(data)]
    except (expat.ExpatError, ValueError):
        return None
    while waiting:
        element = waiting.pop()
        if element.name == RDF_RDF:
            return element
        waiting += reversed(element.children)
    return None


def _tree(data: bytes) -> _Element:
    """The document, as an element without a name. Raises ExpatError or ValueError for what isn't XMP."""
    path = [_Element("", b"", {}, 0, 0)]
    elements = itertools.count()
    parser = expat.ParserCreate("UTF-8", BETWEEN)
    parser.namespace_prefixes = True  # names come as namespace, name and prefix
    parser.buffer_text = True

    def start(full_name: str, attributes: dict[str, str]) -> None:
        tag = TAG.match(data, parser.CurrentByteIndex)
        if tag is None or next(elements) == MAX_ELEMENTS:
            raise ValueError("not a tag, or too many")
        named = {_name(key): (value, _written(key)) for key, value in attributes.items()}
        element = _Element(_name(full_name), tag[1], named, tag.start(), tag.end())
        path[-1].children.append(element)
        path.append(element)

    def end(_: str) -> None:
        element = path.pop()
        element.close = element.end = element.inner
        if not data.endswith(b"/>", 0, element.inner):
            element.close = parser.CurrentByteIndex
            element.end = data.index(b">", element.close) + 1

    def characters(text: str) -> None:
        path[-1].texts.append(text)

    def remark(*_: str) -> None:
        path[-1].remarks = True

    def declaration(_: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":
            raise ValueError("XMP is Unicode")

    def document_type(*_: object) -> None:
        raise ValueError("XMP has no document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.CommentHandler, parser.ProcessingInstructionHandler = characters, remark, remark
    parser.XmlDeclHandler, parser.StartDoctypeDeclHandler = declaration, document_type
    parser.Parse(data, True)
    return path[0]


def _name(full_name: str) -> str:
    return BETWEEN.join(full_name.split(BETWEEN)[:2])


def _written(full_name: str) -> str:
    """A name with its prefix, as the packet has it."""
    _, _, rest = full_name.partition(BETWEEN)
    name, _, prefix = rest.partition(BETWEEN)
    return f"{prefix}:{name}" if prefix else full_name
