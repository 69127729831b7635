"""Trees: their type, notations, data sets, and the programs of AlgoLisp."""

from throughtime.data.trees.algolisp import (
    NoEndError,
    Program,
    ProgramError,
    ProgramExample,
    generate_programs,
    passes,
    program_type,
    read_metaset,
    read_type,
    skeleton,
    stored_programs,
)
from throughtime.data.trees.brackets import (
    read_sexpr,
    read_treebank,
    write_sexpr,
    write_treebank,
)
from throughtime.data.trees.examples import TreeExample, TreeSet
from throughtime.data.trees.expressions import expression_trees, spelled
from throughtime.data.trees.lists import from_lists, read_json, to_lists, write_json
from throughtime.data.trees.loading import load_trees, read_trees
from throughtime.data.trees.notations import NOTATIONS, Notation
from throughtime.data.trees.prefix import (
    from_prefix,
    from_symbols,
    read_symbols,
    to_prefix,
    to_symbols,
    write_symbols,
)
from throughtime.data.trees.python import read_python, write_python
from throughtime.data.trees.shell import read_shell, write_shell
from throughtime.data.trees.synthetic import synthetic_trees
from throughtime.data.trees.terms import read_term
from throughtime.data.trees.tree import Tree, TreeError, equal_trees
from throughtime.data.trees.tree_batches import TreeBatch, TreeLabels, collate_trees, pad_trees
from throughtime.data.trees.tree_sets import TREE_SETS

__all__ = [
    "NOTATIONS",
    "TREE_SETS",
    "NoEndError",
    "Notation",
    "Program",
    "ProgramError",
    "ProgramExample",
    "Tree",
    "TreeBatch",
    "TreeError",
    "TreeExample",
    "TreeLabels",
    "TreeSet",
    "collate_trees",
    "equal_trees",
    "expression_trees",
    "from_lists",
    "from_prefix",
    "from_symbols",
    "generate_programs",
    "load_trees",
    "pad_trees",
    "passes",
    "program_type",
    "read_json",
    "read_metaset",
    "read_python",
    "read_sexpr",
    "read_shell",
    "read_symbols",
    "read_term",
    "read_treebank",
    "read_trees",
    "read_type",
    "skeleton",
    "spelled",
    "stored_programs",
    "synthetic_trees",
    "to_lists",
    "to_prefix",
    "to_symbols",
    "write_json",
    "write_python",
    "write_sexpr",
    "write_shell",
    "write_symbols",
    "write_treebank",
]
