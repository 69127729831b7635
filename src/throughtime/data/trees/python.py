"""Python source as a tree of its abstract syntax, and back."""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache
from typing import Any, NamedTuple

from throughtime.data.trees.tree import Tree, TreeError

__all__ = ["read_python", "write_python"]

# These fields can be derived from the others, or change nothing in the meaning.
_LEFT_OUT = {"ctx", "kind", "type_comment", "type_ignores"}
_TEXTS = {"identifier", "int", "string"}
# Lines that are part of a statement: how they are completed to whole statements.
_ALONE = {"else:": "else", "finally:": "finally"}


# Without the classes of old versions of Python, which are kinds of constants.
_CLASSES: dict[str, type[ast.AST]] = {
    name: kind
    for name, kind in vars(ast).items()
    if isinstance(kind, type) and issubclass(kind, ast.AST) and kind.__base__ is not ast.Constant
}


class _Field(NamedTuple):
    """A field of a syntax node: its type, and ``*`` for a list, ``?`` if it may be absent."""

    kind: str
    number: str
    name: str


@lru_cache
def _fields(kind: type[ast.AST]) -> tuple[_Field, ...]:
    """The fields of a class of syntax nodes that have a part in the tree.

    The documentation of each class is its definition, such as ``Call(expr func, expr* args)``.
    """
    found = re.findall(r"(\w+)([*?]?) (\w+)(?=[,)])", (kind.__doc__ or "").replace("\n", " "))
    fields = tuple(_Field(*field) for field in found if field[2] not in _LEFT_OUT)
    names = {field.name for field in fields} | _LEFT_OUT
    assert set(kind._fields) <= names, f"{kind} has undocumented fields"
    return fields


def read_python(text: str, where: str = "") -> Tree:
    """The tree of Python source.

    A node of the abstract syntax has the name of its class as its label, and its fields as
    children, in the order of the documentation of :mod:`ast`. A field that is a list or may be
    absent is a node with the name of the field, above its items; without items it is left out.
    Names, and constants as Python writes them, are leaves.

    The root of a single statement is that statement, else ``Module``. The first line of a compound
    statement, such as ``while x:``, is that statement without a body. ``else:`` and ``finally:``
    are leaves, ``elif x:`` and ``@x`` nodes above their expression.

    Args:
        text: the source; a common indentation of a single line is removed.
        where: what is read; an error begins with it.

    Raises:
        TreeError: if the text is not the source of this version of Python, or is nested more
            deeply than Python itself can read.

    >>> read_python("a = f(1)").labels
    ('Assign', 'targets', 'Name', 'a', 'Call', 'Name', 'f', 'args', 'Constant', '1')
    """
    source = text.strip() if "\n" not in text.strip() else text
    try:
        module = _parsed(source, "exec", where)
    except TreeError:
        part = None if "\n" in source else _part(source, where)
        if part is None:
            raise
        return part
    return _of_syntax(module.body[0] if len(module.body) == 1 else module)


def _part(line: str, where: str) -> Tree | None:
    """The tree of a line that is a part of a statement; None if it is none."""
    without_spaces = re.sub(r"\s", "", line)
    if without_spaces in _ALONE:
        return Tree((_ALONE[without_spaces],), (-1,))
    if line.startswith("@"):
        return _below("@", _of_syntax(_parsed(line[1:].strip(), "eval", where).body))
    if not line.endswith(":"):
        return None
    if re.match(r"elif\b", line):
        header = _of_syntax(_header(line[2:], where))
        return header.with_labels(("elif", *header.labels[1:]))
    return _of_syntax(_header(line, where))


def write_python(tree: Tree) -> str:
    """The Python source of a tree, as :func:`ast.unparse` writes it.

    Raises:
        TreeError: if the tree is not one of Python's abstract syntax.

    >>> write_python(read_python("a=f( 1 )")), write_python(read_python("while  x :"))
    ('a = f(1)', 'while x:')
    """
    source = _source(tree)
    is_module = tree.labels[0] == "Module" and tree.arities[0] == 1 and tree.arities[1] == 1
    if read_python(source, "write_python") != (tree.subtree(2) if is_module else tree):
        # Some rules are beyond the grammar: as many values as keys, or what may be assigned to.
        raise TreeError(
            *("write_python", ""),
            f"expected a tree of Python source, got one that is not the tree of {source[:60]!r}.",
        )
    return source


def _source(tree: Tree) -> str:
    root = tree.labels[0]
    if root in _ALONE.values() and len(tree) == 1:
        return f"{root}:"
    if root == "@" and tree.arities[0] == 1:
        return f"@{_unparsed(_to_syntax(tree.subtree(1), ast.expr))}"
    if root == "elif":
        return f"el{_source(tree.with_labels(('If', *tree.labels[1:])))}"
    node: Any = _to_syntax(tree, ast.AST)
    kind = type(node)
    if not issubclass(kind, ast.stmt | ast.Module | ast.ExceptHandler | ast.match_case):
        raise _wrong(tree, 0, "a statement")
    if kind is ast.Module or "body" not in kind._fields or node.body:
        return _unparsed(node)
    node.body = [ast.Pass()]
    return _unparsed(node).removesuffix("pass").rstrip()


def _syntax(source: str, mode: str) -> Any:
    with warnings.catch_warnings():
        # Old sources have escapes such as "\d", about which Python warns.
        warnings.simplefilter("ignore")
        return ast.parse(source, mode=mode)


def _parsed(source: str, mode: str, where: str) -> Any:
    try:
        return _syntax(source, mode)
    except SyntaxError as error:
        place = f"line {error.lineno}" if error.lineno and "\n" in source else ""
        if error.offset:
            place += f"{', ' if place else ''}character {error.offset}"
        raise TreeError(where, place, f"expected Python source, got {error.msg}.") from error
    except (RecursionError, MemoryError) as error:
        raise TreeError(
            where, "", "expected source that Python can read, got one that is nested too deeply."
        ) from error
    except ValueError as error:
        raise TreeError(where, "", f"expected Python source, got {error}.") from error


def _header(source: str, where: str) -> Any:
    """The statement of a header line, without a body."""
    line = source.strip()
    if re.match(r"except\b", line):
        node = _parsed(f"try:\n pass\n{line}\n  pass", "exec", where).body[0].handlers[0]
    elif re.match(r"case\b", line):
        node = _parsed(f"match x:\n {line}\n  pass", "exec", where).body[0].cases[0]
    elif re.match(r"try\s*:", line):
        node = _parsed(f"{line}\n pass\nfinally:\n pass", "exec", where).body[0]
        node.finalbody = []
    elif re.match(r"match\b", line):
        node = _parsed(f"{line}\n case _:\n  pass", "exec", where).body[0]
        node.cases = []
        return node
    else:
        node = _parsed(f"{line}\n pass", "exec", where).body[0]
    if not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)):
        raise TreeError(where, "", f"expected the header of one statement, got {source[:40]!r}.")
    node.body = []
    return node


def _below(label: str, tree: Tree) -> Tree:
    return Tree((label, *tree.labels), (-1, *(parent + 1 for parent in tree.parents)))


def _of_syntax(root: ast.AST) -> Tree:
    labels: list[str] = []
    parents: list[int] = []
    # What is still to be added: the parent, and a label, a syntax node, or a field with its items.
    waiting: list[tuple[int, Any]] = [(-1, root)]
    while waiting:
        parent, item = waiting.pop()
        node = len(labels)
        parents.append(parent)
        below: list[Any] = []
        if isinstance(item, str):
            labels.append(item)
        elif isinstance(item, tuple):
            labels.append(item[0])
            below = list(item[1])
        else:
            labels.append(type(item).__name__)
            for field in _fields(type(item)):
                value = getattr(item, field.name, None)
                values = value if isinstance(value, list) else [] if value is None else [value]
                if field.kind == "constant":
                    below.append(ast.unparse(ast.Constant(getattr(item, field.name))))
                elif field.number:
                    texts = [_text_or_node(each) for each in values]
                    below += [(field.name, texts)] if texts else []
                else:
                    below.append(_text_or_node(value))
        waiting += [(node, child) for child in reversed(below)]
    return Tree(tuple(labels), tuple(parents))


def _text_or_node(value: Any) -> Any:
    # A dictionary's `**x` has no key, and a keyword argument may have no default: they are None.
    return value if isinstance(value, ast.AST) else str(value)


def _to_syntax(tree: Tree, root: type[ast.AST]) -> Any:
    """The syntax node of a tree; the inverse of :func:`_of_syntax`."""
    N = len(tree)
    # What each node must be: a class of syntax nodes, the name of a type of text, or "field".
    kinds: list[Any] = [root] + [None] * (N - 1)
    fields: list[tuple[tuple[_Field, tuple[int, ...]], ...]] = [()] * N
    for node in range(N):
        label, children = tree.labels[node], tree.children[node]
        kind = kinds[node]
        if isinstance(kind, tuple):
            for child in children:
                kinds[child] = kind[0]
            continue
        if isinstance(kind, str) or (label == "None" and not children and node):
            if children:
                raise _wrong(tree, node, "a leaf")
            continue
        own = _CLASSES.get(label)
        if own is None or not issubclass(own, kind):
            raise _wrong(tree, node, f"a node of the kind {kind.__name__}")
        fields[node] = _assigned(tree, node, own)
        for field, nodes in fields[node]:
            of_items = getattr(ast, field.kind, field.kind)
            for child in nodes:
                kinds[child] = (of_items,) if field.number else of_items
    values: list[Any] = list(tree.labels)
    for node in range(N - 1, -1, -1):
        kind, label = kinds[node], tree.labels[node]
        if isinstance(kind, tuple):
            values[node] = [values[child] for child in tree.children[node]]
        elif kind == "constant":
            values[node] = _constant(tree, node)
        elif kind == "int":
            if not re.fullmatch(r"-?\d+", label, re.A):
                raise _wrong(tree, node, "a whole number")
            values[node] = int(label)
        elif isinstance(kind, str):
            if kind == "identifier" and not all(p.isidentifier() for p in label.split(".")):
                if label != "*" and label != "None":
                    raise _wrong(tree, node, "a name")
            values[node] = label
        elif label == "None" and not tree.children[node] and node:
            values[node] = None
        else:
            values[node] = _node_of(_CLASSES[label], fields[node], values)
    return values[0]


def _assigned(
    tree: Tree, node: int, kind: type[ast.AST]
) -> tuple[tuple[_Field, tuple[int, ...]], ...]:
    """The children of a node by field."""
    children = tree.children[node]
    assigned, index = [], 0
    for field in _fields(kind):
        is_next = index < len(children) and (
            not field.number or tree.labels[children[index]] == field.name
        )
        if not is_next and not field.number:
            raise _wrong(tree, node, f"a child for the field {field.name}")
        assigned.append((field, children[index : index + 1] if is_next else ()))
        index += is_next
    if index < len(children):
        raise _wrong(tree, children[index], f"no more children of {tree.labels[node]}")
    for field, nodes in assigned:
        if field.number and nodes and not tree.arities[nodes[0]]:
            raise _wrong(tree, nodes[0], "at least one item")
        if field.number == "?" and nodes and tree.arities[nodes[0]] > 1:
            raise _wrong(tree, nodes[0], "one item")
    return tuple(assigned)


def _node_of(
    kind: type[ast.AST], fields: tuple[tuple[_Field, tuple[int, ...]], ...], values: list[Any]
) -> ast.AST:
    parts: dict[str, Any] = {}
    for field, nodes in fields:
        items = values[nodes[0]] if nodes else []
        parts[field.name] = items
        if field.number == "?":
            parts[field.name] = items[0] if items else None
    if "ctx" in kind._fields:
        parts["ctx"] = ast.Load()
    if kind is ast.Module:
        parts["type_ignores"] = []
    return kind(**parts)


def _constant(tree: Tree, node: int) -> Any:
    try:
        value = _syntax(tree.labels[node], "eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _wrong(tree, node, "a constant") from error
    if not isinstance(value, ast.Constant):
        raise _wrong(tree, node, "a constant")
    return value.value


def _unparsed(node: Any) -> str:
    try:
        return ast.unparse(ast.fix_missing_locations(node))
    except RecursionError as error:
        raise TreeError(
            "write_python", "", "expected a tree that Python can write, got one too deep."
        ) from error
    except (AttributeError, ValueError, TypeError, KeyError, IndexError) as error:
        # The tree fits the grammar, but not a rule beyond it: as many keys as values, say.
        raise TreeError("write_python", "", f"expected Python's syntax, got {error}.") from error


def _wrong(tree: Tree, node: int, expected: str) -> TreeError:
    return TreeError(
        "write_python", f"node {node}", f"expected {expected}, got {tree.labels[node]!r}."
    )
