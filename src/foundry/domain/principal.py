"""Who acts: the principal of a verified token."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PrincipalKind(enum.StrEnum):
    """What kind of actor a principal is."""

    HUMAN = "HUMAN"
    AGENT = "AGENT"
    SERVICE = "SERVICE"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated actor. Only ever built from a verified token, never from a request field.

    Attributes:
        subject: Opaque stable id, 1 to 200 bytes.
        kind: HUMAN, AGENT or SERVICE.
        display_name: Name to show; may be empty. Never part of identity.
        on_behalf_of: Subject of the person an AGENT acts for (RFC 8693 delegation), or empty.
        client_id: Registered gateway that relayed the call, or empty.
    """

    subject: str
    kind: PrincipalKind = PrincipalKind.HUMAN
    display_name: str = ""
    on_behalf_of: str = ""
    client_id: str = ""

    @property
    def label(self) -> str:
        """What a person reads: the display name, or the subject when there is none."""
        return self.display_name or self.subject

    def same_actor(self, other: Principal) -> bool:
        """Whether both are one actor: the same subject, of the same kind, acting for the same person."""
        return (self.subject, self.kind, self.on_behalf_of) == (other.subject, other.kind, other.on_behalf_of)


#: What the server does on its own account: closing lost sessions, idle releases, instance entries.
SYSTEM = Principal("system", PrincipalKind.SERVICE, "Foundry")


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal in one call: who, with which credential, through which client.

    Attributes:
        principal: The verified actor.
        token_expire_time_us: When the credential ends, microseconds since the Unix epoch.
        client_name: Name the client claims, or empty.
        client_version: Version the client claims, or empty.
        peer: Network address of the peer as the transport reports it, or empty.
        correlation_id: Id of the call, shared by every log entry it causes.
    """

    principal: Principal
    token_expire_time_us: int = 0
    client_name: str = ""
    client_version: str = ""
    peer: str = ""
    correlation_id: str = ""
