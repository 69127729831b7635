"""Placeholders for libraries that take long to import, for processes that only print help.

The help of a command and the completion of a word need the declarations of this package: the names
of cells and tasks, the fields of their settings. They never compute. A process that ends with help
therefore imports PyTorch and a few others as modules whose attributes are all :class:`Placeholder`,
and the rest as it is. In this way, nothing has to be listed a second time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["REPLACED", "Placeholder", "install", "only_helps"]

REPLACED = ("torch", "numpy", "pooch", "filelock")
"""The libraries that get placeholders."""


def only_helps(words: Sequence[str]) -> bool:
    """Whether a command line asks for help, so that its process ends without computing."""
    options = words[: words.index("--")] if "--" in words else words
    return "-h" in options or "--help" in options


def install() -> None:
    """Makes this process import placeholders from now on. It must not compute anything later."""
    # A library that is loaded already costs nothing, and other code may be using it.
    if not any(name in sys.modules for name in REPLACED):
        sys.meta_path.insert(0, _Finder())


class Placeholder:
    """Stands for any function, class, type or constant of a library.

    As a decorator it returns what it decorates, as a base class it disappears, as a part of a type
    it absorbs the other parts, and no object is an instance of it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<placeholder of {self._name}>"

    def __getattr__(self, name: str) -> Placeholder:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder(f"{self._name}.{name}")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        is_decorator = len(arguments) == 1 and not options and callable(arguments[0])
        return arguments[0] if is_decorator else Placeholder(f"{self._name}()")

    def __getitem__(self, key: object) -> Placeholder:
        return self

    def __or__(self, other: object) -> Placeholder:
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return ()

    def __instancecheck__(self, instance: object) -> bool:
        return False

    def __subclasscheck__(self, subclass: type) -> bool:
        return False


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Placeholder:
        if name.startswith("__"):
            raise AttributeError(name)
        value = Placeholder(f"{self.__name__}.{name}")
        # The same attribute is the same object, as in a table from types to functions.
        setattr(self, name, value)
        return value


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in REPLACED:
            return ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass
