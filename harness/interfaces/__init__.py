"""How the policy acts: in natural language, or in code over the same operators. One protocol, two siblings."""

from collections.abc import Callable, Mapping

from harness.interfaces.base import ActionInterface, Call, Execution, Session, Signature
from harness.interfaces.code import CodeInterface
from harness.interfaces.limits import Limits
from harness.interfaces.natural import NaturalInterface

INTERFACES: Mapping[str, Callable[..., ActionInterface]] = {"natural": NaturalInterface, "code": CodeInterface}
"""Interfaces by the name a configuration gives."""

__all__ = [
    "INTERFACES",
    "ActionInterface",
    "Call",
    "CodeInterface",
    "Execution",
    "Limits",
    "NaturalInterface",
    "Session",
    "Signature",
]
