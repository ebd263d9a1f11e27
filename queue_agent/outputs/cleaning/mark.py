"""The mark that a model made a picture: IPTC's digital source type, in XMP.

https://cv.iptc.org/newscodes/digitalsourcetype/ and the XMP specification, parts 1 and 3.
"""

import re
from typing import Final

SOURCE_TYPE: Final = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_DESCRIPTION: Final = (
    b'<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about="" '
    b'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    b'Iptc4xmpExt:DigitalSourceType="%s"/>' % SOURCE_TYPE
)
MARK: Final = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">%s</rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>' % _DESCRIPTION
)
"""An XMP packet that says nothing else."""

C2PA_STORE: Final = b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
"""What tells that a file has a C2PA manifest: the type of the box that holds all manifests."""

_END: Final = re.compile(rb"</[A-Za-z_][\w.-]*:RDF\s*>")


def marked(packet: bytes) -> bytes:
    """The XMP packet with the mark in it; as it is where it says its source, or cannot be read."""
    if b"DigitalSourceType" in packet:
        return packet
    ends = list(_END.finditer(packet))
    if len(ends) != 1:
        return packet
    place = ends[0].start()
    return packet[:place] + _DESCRIPTION + packet[place:]


def is_xmp(packet: bytes) -> bool:
    """Whether these bytes look like an XMP packet."""
    return b"RDF" in packet
