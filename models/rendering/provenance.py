"""The XMP packet inside each picture: the IPTC mark for synthetic media, prompt, seed and recipe.

The properties are `DigitalSourceType` and the AI properties of the IPTC Photo Metadata Standard 2025.1.
`models.images.encode` writes the packet into the file. It holds neither a time nor a random id, so the same picture has
the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535, *range(55296, 57344)))

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:creatives="urn:fluence:creatives:1:">
<Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AIPromptInformation>{prompt}</Iptc4xmpExt:AIPromptInformation>
<Iptc4xmpExt:AISystemUsed>{system}</Iptc4xmpExt:AISystemUsed>
<xmp:CreatorTool>Fluence creatives</xmp:CreatorTool>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt></dc:description>
<creatives:request>{request_id}</creatives:request>
<creatives:negativePrompt>{negative_prompt}</creatives:negativePrompt>
<creatives:seed>{seed}</creatives:seed>
<creatives:recipe>{recipe}</creatives:recipe>
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True)
class Origin:
    """The origin of a picture. system: the model's id and revision; recipe: the fingerprint of the whole recipe."""

    request_id: str
    prompt: str
    negative_prompt: str
    seed: int
    system: str
    recipe: str


def xmp(origin: Origin) -> str:
    """Return the XMP packet of a picture, without the characters that XML does not allow."""
    return _PACKET.format(
        source_type=TRAINED_ALGORITHMIC_MEDIA,
        prompt=_text(origin.prompt),
        negative_prompt=_text(origin.negative_prompt),
        system=_text(origin.system),
        request_id=_text(origin.request_id),
        seed=origin.seed,
        recipe=_text(origin.recipe),
    )


def _text(value: str) -> str:
    return escape(value.translate(_NOT_XML))
