"""RFC 1035: a name server that knows TXT records, and nothing else."""

from __future__ import annotations

from typing import Protocol

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from anyio.abc import UDPSocket


class KnowsTexts(Protocol):
    """Holds the records."""

    texts: dict[str, list[str]]


async def serve_names(udp: UDPSocket, known: KnowsTexts) -> None:
    """Answer questions until cancelled; what is no question is left unanswered."""
    async for packet, peer in udp:
        try:
            question = dns.message.from_wire(packet)
        except dns.exception.DNSException:
            continue
        if not question.question:
            continue
        await udp.sendto(_answer(question, known.texts), *peer)


def _answer(question: dns.message.Message, texts: dict[str, list[str]]) -> bytes:
    made = dns.message.make_response(question)
    asked = question.question[0]
    records = texts.get(asked.name.to_text(omit_final_dot=True).lower())
    if not records:
        made.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.TXT:
        quoted = [_quote(record) for record in records]
        made.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "TXT", *quoted))
    return made.to_wire()


def _quote(record: str) -> str:
    # A string of a TXT record has at most 255 bytes.
    parts = [record[at : at + 255] for at in range(0, len(record), 255)]
    escaped = (part.replace("\\", "\\\\").replace('"', '\\"') for part in parts)
    return " ".join(f'"{part}"' for part in escaped)
