"""Who may: credentials, membership, roles."""

from __future__ import annotations

from foundry.domain.errors.base import FoundryError


class Unauthenticated(FoundryError):
    """No usable credential: TOKEN_MISSING, TOKEN_INVALID or TOKEN_EXPIRED."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # type: ignore[misc]  # one class, three reasons: they differ in nothing else


class ProjectAccessDenied(FoundryError):
    """The project does not exist or the caller is no member of it; which of the two is never said."""

    reason = "PROJECT_ACCESS_DENIED"

    def __init__(self, project_id: str) -> None:
        super().__init__("there is no such project, or you are not a member of it", project_id=project_id)


class RoleTooLow(FoundryError):
    """The caller's role in the project does not include the action."""

    reason = "ROLE_TOO_LOW"

    def __init__(self, action: str, role: str, required: str) -> None:
        super().__init__(
            f"{action} needs the role {required}; yours is {role}", action=action, role=role, required_role=required
        )


class AgentAccessDenied(FoundryError):
    """The project's policy keeps AI agents from the action."""

    reason = "AGENT_ACCESS_DENIED"

    def __init__(self, action: str, policy: str) -> None:
        super().__init__(
            f"agents may not {action} here: the project's agent_access is {policy}", action=action, agent_access=policy
        )


class HumanRequired(FoundryError):
    """Only a HUMAN principal may do this, whatever the token's scopes."""

    reason = "HUMAN_REQUIRED"

    def __init__(self, action: str, kind: str) -> None:
        super().__init__(f"{action} is for people; you are a {kind}", action=action, kind=kind)


class AdministratorRequired(FoundryError):
    """Only an administrator of the installation may do this."""

    reason = "ADMINISTRATOR_REQUIRED"

    def __init__(self, action: str) -> None:
        super().__init__(f"{action} is for administrators of the installation", action=action)


class NotYours(FoundryError):
    """Only whose it is may do this: the author of a comment, the starter of a run."""

    reason = "NOT_YOURS"

    def __init__(self, resource_type: str, resource_id: str, owner: str) -> None:
        super().__init__(
            f"this {resource_type} is {owner}'s",
            resource_type=resource_type,
            resource_id=resource_id,
            owner=owner,
        )


class ResumeRefused(FoundryError):
    """The resume secret is not the current one of a session of this principal in this project."""

    reason = "RESUME_REFUSED"

    def __init__(self, session_id: str) -> None:
        super().__init__("this session cannot be resumed with this secret", session_id=session_id)
