"""What does a key of a ``config.json`` say? Every bad value is ``NotKnown``, with the key and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.planner.unknown import NotKnown

DTYPE_BYTES: Mapping[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4}
MOST_LAYERS = 10_000
"""Each is weighed by itself; no model has a tenth of that."""


class Config:
    """A mapping of the JSON; ``sub`` goes into one below it, which asks its ``outer`` one for the dtype it lacks.

    A key whose value is null is as good as absent: published configs have both.
    """

    def __init__(self, raw: Mapping[str, Any], *, where: str = "", outer: Config | None = None) -> None:
        self.raw, self.where, self.outer = raw, where, outer

    def meaning(self, defaults: Mapping[str, Any]) -> Config:
        """The same with what its class in transformers means by keys that it leaves out."""
        return Config({**defaults, **self.raw}, where=self.where, outer=self.outer)

    def get(self, key: str, default: Any = None) -> Any:
        value = self.raw.get(key)
        return default if value is None else value

    def has(self, key: str) -> bool:
        return self.raw.get(key) is not None

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or (value < least and value != default):
            raise self.bad(key, f"an integer of at least {least}")
        if key.endswith(("layer", "layers")) and value > MOST_LAYERS:
            raise self.bad(key, f"at most {MOST_LAYERS}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.bad(key, "a number")
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.bad(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.bad(key, "a text")
        return value

    def list(self, key: str, default: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
        value = self.get(key, default)
        if not isinstance(value, (list, tuple)):
            raise self.bad(key, "a list")
        return tuple(value)

    def counts(self, key: str, *, length: int, least: int = 0) -> tuple[int, ...]:
        """One integer for each of ``length`` layers; a single integer stands for all of them."""
        value = self.get(key)
        values = [value] * length if isinstance(value, int) else value
        if not isinstance(values, (list, tuple)) or len(values) < length:
            raise self.bad(key, f"{length} integers")
        if any(not isinstance(one, int) or isinstance(one, bool) or one < least for one in values):
            raise self.bad(key, f"integers of at least {least}")
        return tuple(values[:length])

    def sub(self, key: str) -> Config:
        value = self.get(key)
        if not isinstance(value, Mapping):
            raise self.bad(key, "an object")
        return Config(value, where=f"{self.where}{key}.", outer=self)

    def dtype(self) -> str:
        """Of the elements, once an engine has loaded them, of what is not quantized.

        vLLM and SGLang cast float32, and what does not say, to 16 bit (vLLM's config/model.py, _resolve_auto_dtype).
        """
        stored = self.stored_dtype()
        return "bfloat16" if stored in (None, "float32") else stored

    def stored_dtype(self) -> str | None:
        """Of the elements in the checkpoint; None: the config does not say."""
        said = self.get("dtype") or self.get("torch_dtype")
        if said is None:
            return self.outer.stored_dtype() if self.outer is not None else None
        said = str(said).removeprefix("torch.")
        if said not in DTYPE_BYTES:
            raise NotKnown(f"{self.where}torch_dtype {said!r}: the planner knows {', '.join(DTYPE_BYTES)}")
        return said

    def architecture(self, default: str | None = None) -> str:
        """The class of the model: the one name in ``architectures``; a config below another often has none."""
        names = self.list("architectures", None if default is None else (default,))
        if len(names) != 1 or not isinstance(names[0], str):
            raise self.bad("architectures", "one name")
        return names[0]

    def bad(self, key: str, expected: str) -> NotKnown:
        return NotKnown(f"{self.where}{key} in config.json: found {str(self.raw.get(key))[:80]!r}, expected {expected}")
