"""Action interfaces: natural language, or code over the same operators. One protocol, two implementations."""

from collections.abc import Callable, Mapping

from harness.env.interfaces.base import ActionInterface, Call, Execution, Session, Signature
from harness.env.interfaces.code.interface import CodeInterface
from harness.env.interfaces.code.limits import Limits
from harness.env.interfaces.natural import NaturalInterface

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
