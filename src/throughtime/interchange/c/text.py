"""The text of the C file and of its header."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from throughtime.interchange.c.network import Network
from throughtime.kernels.printing.c_functions import functions
from throughtime.kernels.printing.c_text import function_text, identifier

__all__ = ["header_text", "source_text"]

_BYTES = {"float": 4, "double": 8}


def header_text(name: str, network: Network, about: str) -> str:
    """The header: the state, the functions, and what they cost.

    Args:
        name: the name of the network.
        network: what is written.
        about: a description of the module.
    """
    upper, arrays, real = name.upper(), network.arrays, network.real
    bytes_of_state = _BYTES[real] * (sum(network.fields.values()) + network.scratch)
    size = f"INPUTS {network.input_size}" if network.input_size else f"TOKENS {network.tokens}"
    fields = [f"    {real} {field}[{width}];" for field, width in network.fields.items()]
    if network.scratch:
        fields.append(f"    {real} scratch[{network.scratch}];")
    if arrays.is_binary:
        fields.insert(0, "    const void *weights;")
    lines = [
        *_about(network, about, bytes_of_state),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stddef.h>",
        "",
        f"#define {upper}_{size}",
        *(f"#define {upper}_{identifier(n).upper()} {w}" for n, w in network.inputs.items()),
        f"#define {upper}_OUTPUTS {network.output_size}",
        f"#define {upper}_STATE_BYTES {bytes_of_state}",
        f"#define {upper}_WEIGHT_BYTES {arrays.size}",
        f"#define {upper}_MULTIPLICATIONS {network.multiplications}",
        f'#define {upper}_WEIGHTS_HASH "{arrays.hash}"',
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        *_comment("The state of one sequence, and memory that a step uses in passing."),
        "typedef struct {",
        *fields,
        f"}} {name}_state;",
        "",
        *_declarations(name, network),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _about(network: Network, about: str, bytes_of_state: int) -> list[str]:
    """The comment at the beginning of the header."""
    arrays = network.arrays
    calls = ", ".join(f"{n} of {function}" for function, n in sorted(network.calls.items()))
    pointer = " and a pointer" * arrays.is_binary
    stored = f"as {network.real}"
    if arrays.is_int8:
        stored = "8 bits for each weight of a matrix, the rest as float"
    described = [
        f"     {line}".rstrip()
        for line in about.replace("*/", "* /").replace("/*", "/ *").splitlines()
    ]
    return [
        "/* A recurrent network that runs one step at a time, written by throughtime.",
        "",
        *described,
        "",
        *_paragraph(
            f"Memory: the state of a sequence has {bytes_of_state} bytes{pointer}, all weights "
            f"have {arrays.size} bytes ({stored})."
        ),
        *_paragraph(
            f"One step: {network.multiplications} multiplications with weights, each with an "
            f"addition; {network.operations} other operations; {calls or 'no'} function calls."
        ),
        *_paragraph(
            "Errors in units in the last place: exp at most 2, tanh, sigmoid, softplus and "
            "log_sigmoid at most 3. NaN and infinity in an input pass through. Nothing is "
            "allocated, and there are no variables outside the state, so that each thread may run "
            "a state of its own. */"
        ),
    ]


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="   ", subsequent_indent="   ")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(f"/* {text} */", 100, subsequent_indent="   ")


def _declarations(name: str, network: Network) -> list[str]:
    """The declarations of the functions, with their comments."""
    upper = name.upper()
    init = "Begins the first sequence of a state; to be called before all others."
    if network.arrays.is_binary:
        init += (
            f" `weights` is the content of {name}.bin at an address that is a multiple of "
            f"sizeof({network.real}), where it must stay. Returns 0; or 1 if it is not the file of "
            f"this header, not at such an address, or in another byte order than that of this "
            f"machine, and then no other function may be called."
        )
    reads = f"the number of a token, below {upper}_TOKENS"
    returns = " Returns 0; or 1 for a number that is no token, which changes nothing."
    if network.input_size:
        reads, returns = f"{upper}_INPUTS numbers x", ""
    for further in map(identifier, network.inputs):
        reads += f", {upper}_{further.upper()} numbers u_{further}"
    step = (
        f"Runs one step: reads {reads}, and writes {upper}_OUTPUTS numbers y, "
        f"{network.model.writes}. The arrays must not overlap.{returns}"
    )
    return [
        *_comment(init),
        f"{_init(name, network)};",
        "",
        *_comment("Begins a new sequence."),
        f"void {name}_reset({name}_state *state);",
        "",
        *_comment(step),
        f"{_step(name, network)};",
    ]


def _init(name: str, network: Network) -> str:
    if network.arrays.is_binary:
        return f"int {name}_init({name}_state *state, const void *weights, size_t size)"
    return f"void {name}_init({name}_state *state)"


def _step(name: str, network: Network) -> str:
    real = network.real
    if not network.input_size:
        return f"int {name}_step({name}_state *state, int token, {real} *y)"
    read = "".join(f", const {real} *{n}" for n in ("x", *_names_of_inputs(network)))
    return f"void {name}_step({name}_state *state{read}, {real} *y)"


def _names_of_inputs(network: Network) -> list[str]:
    return [f"u_{identifier(n)}" for n in network.inputs]


def source_text(name: str, network: Network) -> str:
    """The C file."""
    real, arrays = network.real, network.arrays
    step = network.step
    if not network.input_size:
        refusal = f"if (token < 0 || token >= {name.upper()}_TOKENS) return 1;"
        step = [refusal, *step, "return 0;"]
    body = "\n\n".join(
        [
            *network.functions,
            function_text(
                f"void {name}_reset({name}_state *state)", _with_weights(network, network.reset)
            ),
            function_text(_init(name, network), _init_lines(name, network)),
            function_text(_step(name, network), _with_weights(network, step)),
        ]
    )
    library = functions(body, f"{name}_", real, arrays.weight)
    lines = [
        f"/* See {name}.h. */",
        f'#include "{name}.h"',
        "",
        "#include <float.h>",
        "#include <math.h>",
        "#include <stdint.h>",
        "",
        "#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD > 0 && FLT_EVAL_METHOD < 3",
        "#error The processor must not add digits to numbers: compile with -msse2 -mfpmath=sse.",
        "#endif",
        "",
        *arrays.declarations(),
        "",
        library,
        "",
        body,
    ]
    return "\n".join(lines) + "\n"


def _with_weights(network: Network, lines: Sequence[str]) -> list[str]:
    """The statements, after the declarations of what they use."""
    real, arrays, text = network.real, network.arrays, "\n".join(lines)
    start = f"(const {real} *)state->weights + {arrays.HEADER // _BYTES[real]}"
    declarations = {
        "k": "int k;",
        "weights": f"const {real} *const weights = {start};",
        "bytes": f"const int8_t *const bytes = (const int8_t *)({start} + {arrays.num_reals});",
    }
    used = {"k": "(k = " in text}
    used |= {n: any(f"{before}{n}" in text for before in ("(", ", ")) for n in network.weight_names}
    return [*(line for n, line in declarations.items() if used.get(n)), *lines]


def _init_lines(name: str, network: Network) -> list[str]:
    if not network.arrays.is_binary:
        return [f"{name}_reset(state);"]
    real, size = network.real, network.arrays.HEADER + network.arrays.size
    one = f"((const {real} *)weights)[{16 // _BYTES[real]}]"
    return [
        f"const char hash[] = {name.upper()}_WEIGHTS_HASH;",
        "const char *const letters = (const char *)weights;",
        "int k;",
        f"if (size != {size} || (uintptr_t)weights % sizeof({real}) != 0) return 1;",
        "for (k = 0; k < 16; ++k)",
        "    if (letters[k] != hash[k]) return 1;",
        f"if ({one} < 1 || {one} > 1) return 1;",
        "state->weights = weights;",
        f"{name}_reset(state);",
        "return 0;",
    ]
