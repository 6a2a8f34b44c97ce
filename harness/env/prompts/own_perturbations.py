"""Perturbations of one's own, `package.module:function` or `path/to/file.py:function`, beside the registered ones.

The function gets a `Prompt` and the keys of its randomness, and returns the changed `Prompt`. It is evaluated under its
own name, so no two of a configuration, and no registered one, may share it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.env.prompts.system import Prompt
from harness.types.own_code import OwnCodeError, error_line, names_function, own_function, own_module

_DRAW = (0, "dry run")


@dataclass(frozen=True, slots=True)
class OwnPerturbation:
    """One's own change of a prompt. Raises OwnCodeError where it cannot be imported, fails, or gives no prompt."""

    name: str

    def change(self, prompt: Prompt, draw: tuple[object, ...]) -> Prompt:
        function = own_function(self.name)
        try:
            changed = function(prompt, draw)
        except Exception as error:  # foreign code: its own error is what the reader needs
            file = self.name.rpartition(":")[0]
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise OwnCodeError(f"{file}{error_line(error, own_module(file))}: {reason}") from error
        if not isinstance(changed, Prompt):
            raise OwnCodeError(f"{self.name} returned {type(changed).__name__}, not a Prompt")
        return changed

    def fault(self, prompt: Prompt) -> str | None:
        """Why it cannot be applied to `prompt`, tried on it; None if it can. Runs the code."""
        try:
            first, second = (self.change(prompt, _DRAW).messages("Where?") for _ in range(2))
        except OwnCodeError as error:
            return str(error)
        return None if first == second else f"{self.name} gives two prompts for one draw; derive its randomness from it"


def own_parts(names: Iterable[str]) -> list[str]:
    """Those of the parts of entries such as `brackets+mine.py:shout` that name one's own code."""
    return [part for name in names for part in map(str.strip, name.split("+")) if names_function(part)]


def short_name(part: str) -> str:
    """`typos` of `typos`, `shout` of `mine.py:shout`."""
    return part.rpartition(":")[2] if names_function(part) else part
