"""Helpers of the tests of C files: they compile files and run sequences through them."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


def compiler(name="gcc"):
    """The path of a compiler; skips the test if it is missing."""
    path = shutil.which(name)
    if path is None:
        # A compiler is a program of the system, which pip cannot install.
        pytest.skip(f"{name} is not installed")
    return path


def driver(header):
    """A C function NAME_run that runs all steps of a sequence, for the network of a header."""
    text = Path(header).read_text()
    name = Path(header).stem
    head = re.search(rf"(?:int|void) {name}_step\((.*?)\);", text)[1]
    real = "double" if "double *y" in head else "float"
    arguments = [part.split()[-1].lstrip("*") for part in head.split(",")]
    upper = name.upper()
    sizes = {"x": "INPUTS", "y": "OUTPUTS"} | {
        a: a[2:].upper() for a in arguments if a.startswith("u_")
    }
    calls = [
        "&state"
        if a == "state"
        else "tokens[t]"
        if a == "token"
        else f"{a} + t * {upper}_{sizes[a]}"
        for a in arguments
    ]
    parameters = [
        "const int *tokens" if a == "token" else f"{'const ' * (a != 'y')}{real} *{a}"
        for a in arguments
        if a != "state"
    ]
    binary = "const void *weights, size_t size, " * ("size_t size" in text)
    init = "&state, weights, size" if binary else "&state"
    # A pointer to the weights may be followed by padding.
    size = f"sizeof({name}_state) == {upper}_STATE_BYTES"
    if binary:
        size = f"sizeof({name}_state) - {upper}_STATE_BYTES - sizeof(void *) < sizeof(void *)"
    return f"""#include "{header}"
typedef char {name}_size[{size} ? 1 : -1];
void {name}_run({binary}int steps, {", ".join(parameters)});
void {name}_run({binary}int steps, {", ".join(parameters)})
{{
    {name}_state state;
    int t;
    {name}_init({init});
    for (t = 0; t < steps; ++t)
        {name}_step({", ".join(calls)});
}}
"""


def one_file(folder, headers, main=""):
    """A C file that contains the networks of some headers, with their drivers, and ``main``.

    The names of a network begin with its own name, so that files can be put together, which is
    much faster to compile than each alone.
    """
    includes = [f'#include "{header.with_suffix(".c")}"\n' for header in headers]
    path = folder / "networks.c"
    path.write_text("".join([*includes, *map(driver, headers), main]))
    return path


def compiled(folder, headers, flags=("-O1",), command="gcc"):
    """A shared library of the networks of some headers."""
    library = folder / "networks.so"
    built([one_file(folder, headers)], library, [*flags, "-shared", "-fPIC"], command)
    return ctypes.CDLL(str(library))


def built(sources, program, flags, command="gcc"):
    """Compiles C files without a warning."""
    words = [compiler(command), *STRICT, *flags, *map(str, sources), "-o", str(program), "-lm"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


def ran(library, name, arrays, outputs, dtype, weights=None):
    """The outputs (T, outputs) of a network of a library.

    Args:
        arrays: the sequences (T, …): x or tokens, and the further inputs.
        weights: the content of the binary file, if there is one.
    """
    T = len(arrays[0])
    y = np.zeros((T, outputs), dtype)
    arrays = [np.ascontiguousarray(a, np.int32 if a.dtype.kind == "i" else dtype) for a in arrays]
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, y)]
    binary = [] if weights is None else [weights, ctypes.c_size_t(len(weights))]
    getattr(library, f"{name}_run")(*binary, T, *pointers)
    return torch.from_numpy(y)
