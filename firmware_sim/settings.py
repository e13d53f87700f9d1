"""TOML files read key by key: what is missing, wrong or unknown is named with its file, table and key."""

from __future__ import annotations

import argparse
import difflib
import tomllib
from typing import Any

from onboard.errors import InputError
from onboard.options import byte_size

REQUIRED = object()


def parse_toml(text: str, name: str) -> Table:
    """The top table of a file. Raises InputError with the line that is no TOML."""
    try:
        return Table(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"{name}: not TOML: {e}") from None


class Table:
    """One table; keys are taken one by one, and `done` complains of those that nobody took.

    Every method raises InputError. A key without default must be there.
    """

    def __init__(self, data: dict[str, Any], where: str) -> None:
        self.data, self.where = data, where
        self.taken: list[str] = []

    def wrong(self, key: str, right: str) -> InputError:
        given = f"is {self.data[key]!r}" if key in self.data else "is missing"
        return InputError(f"{self.where}: {key} {given}: must be {right}")

    def _take(self, key: str, default: Any, right: str) -> Any:
        self.taken.append(key)
        if key not in self.data and default is REQUIRED:
            raise self.wrong(key, right)
        return self.data.get(key, default)

    def number(self, key: str, low: float, high: float, default: Any = REQUIRED) -> Any:
        """A number from `low` to `high`."""
        right = f"a number from {low:g} to {high:g}"
        value = self._take(key, default, right)
        if key in self.data and not (_is_number(value) and low <= value <= high):
            raise self.wrong(key, right)
        return value

    def integer(self, key: str, low: int, high: int, default: Any = REQUIRED) -> Any:
        value = self.number(key, low, high, default)
        if key in self.data and not isinstance(value, int):
            raise self.wrong(key, f"a whole number from {low} to {high}")
        return value

    def size(self, key: str, default: Any = REQUIRED) -> Any:
        """Bytes: a whole number, or text such as "64KiB"."""
        right = 'bytes, such as 4000, "4kB" or "64KiB"'
        value = self._take(key, default, right)
        if isinstance(value, str) and key in self.data:
            try:
                value = byte_size(value)
            except argparse.ArgumentTypeError:
                raise self.wrong(key, right) from None
        if key in self.data and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise self.wrong(key, right)
        return value

    def text(self, key: str, default: Any = REQUIRED, choices: tuple[str, ...] = ()) -> Any:
        right = "one of " + ", ".join(choices) if choices else "text"
        value = self._take(key, default, right)
        if key in self.data and (not isinstance(value, str) or (choices and value not in choices)):
            raise self.wrong(key, right)
        return value

    def choice(self, key: str, choices: tuple[Any, ...], default: Any = REQUIRED) -> Any:
        right = "one of " + ", ".join(map(str, choices))
        value = self._take(key, default, right)
        if key in self.data and (isinstance(value, bool) or value not in choices):
            raise self.wrong(key, right)
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, default, "true or false")
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def texts(self, key: str, default: Any = REQUIRED) -> tuple[str, ...]:
        value = self._take(key, default, "a list of text")
        if not (isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)):
            raise self.wrong(key, "a list of text")
        return tuple(value)

    def numbers(self, key: str, count: int, default: Any = REQUIRED) -> Any:
        """A list of so many numbers that are not negative."""
        right = f"a list of {count} numbers, none negative"
        value = self._take(key, default, right)
        if key not in self.data:
            return value
        if not (isinstance(value, list) and len(value) == count and all(_is_number(v) and v >= 0 for v in value)):
            raise self.wrong(key, right)
        return tuple(value)

    def table(self, key: str, needed: bool = True) -> Table:
        """A table within this one; an empty one where it may be left out."""
        value = self._take(key, REQUIRED if needed else {}, "a table")
        if not isinstance(value, dict):
            raise self.wrong(key, "a table")
        return Table(value, f"{self.where}: [{key}]")

    def tables(self, key: str) -> list[Table]:
        """At least one table of a list of them."""
        right = f"tables, each begun with [[{key}]]"
        value = self._take(key, REQUIRED, right)
        if not (isinstance(value, list) and value and all(isinstance(v, dict) for v in value)):
            raise self.wrong(key, right)
        return [Table(v, f"{self.where}: [[{key}]] {i}") for i, v in enumerate(value, 1)]

    def done(self) -> None:
        """Complain of a key that means nothing."""
        for key in self.data:
            if key not in self.taken:
                near = difflib.get_close_matches(key, self.taken, 1)
                hint = f"did you mean {near[0]}?" if near else "known are " + ", ".join(sorted(self.taken))
                raise InputError(f"{self.where}: {key} means nothing here; {hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
