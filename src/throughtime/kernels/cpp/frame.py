"""The C++ around the equations: a struct for each stage, and the functions that Python calls."""

from __future__ import annotations

from collections.abc import Iterable

from throughtime.kernels.cpp.arrays import COMPUTE, Arrays
from throughtime.kernels.cpp.context import LAYOUT
from throughtime.kernels.cpp.pointwise import Pointwise
from throughtime.kernels.cpp.stages import Input, Products, Stages
from throughtime.kernels.cpp.threads import vectors_of_tile

__all__ = ["file_text", "stage_text"]

# The registers for the sums of a tile: 24 of 32 with 64 bytes, 12 of 16 with shorter vectors. The
# others hold weights and an element of an operand.
_REGISTERS = "(BYTES == 64 ? 24 : 12)"


def stage_text(number: int, products: Products, pointwise: Pointwise, waits: bool) -> str:
    """The C++ struct of a stage: its products with blocks of R, and the equations on their sums.

    Args:
        number: the number of the stage.
        products: its products.
        pointwise: the lines of its equations.
        waits: whether the threads of a group wait for each other after it.
    """
    return "\n".join(
        [
            f"struct Stage{number} {{",
            "    using S = throughtime::S;",
            "    using Q = throughtime::Q;",
            *_stage_constants(products, waits),
            "    template <int MR> TT_INLINE void products(",
            "        const Step& s, const int64_t* rows, const Q* panel,",
            "        V (&acc)[MR][WIDTH * NV ? WIDTH * NV : 1]) {",
            "        const int64_t W = s.call->width;",
            "        (void)W, (void)rows, (void)panel, (void)acc;",
            *(line for one in products.inputs for line in _accumulate_lines(one)),
            "    }",
            "    static void pointwise(const Step& s, int64_t row, int64_t unit, int64_t tile,",
            "                          int vectors, const V* acc) {",
            "        const int64_t W = s.call->width;",
            "        (void)acc, (void)W, (void)tile;",
            *(f"        {line}" for line in pointwise.prelude),
            *(f"        {line}" for line in pointwise.before),
            "        for (int v = 0; v < vectors; ++v) {",
            "            const int64_t u = unit + v * L, left = s.call->units - u;",
            "            (void)left;",
            *(f"            {line}" for line in pointwise.inside),
            "        }",
            *(f"        {line}" for line in pointwise.after),
            "    }",
            "};",
        ]
    )


def _stage_constants(products: Products, waits: bool) -> list[str]:
    """The constants of a stage, which recurrence.hpp reads."""
    inputs, width = products.inputs, len(products.accumulators)
    # A tile has as many rows as registers can hold sums for.
    rows = f"{_REGISTERS} / (WIDTH * NV)" if width else "8"
    sizes = [len(one.members) for one in inputs]
    most = max(sizes, default=1)
    narrow = [int(one.is_narrow) for one in inputs]
    blocks, places = (
        ", ".join(
            f"{{{_list([*(member[i] for member in one.members), *[0] * (most - size)])}}}"
            for one, size in zip(inputs, sizes, strict=True)
        )
        for i in (0, 1)
    )
    to_narrow = _bool(bool(inputs) and products.are_narrow)
    vectors = vectors_of_tile(width)
    return [
        f"    static constexpr int WIDTH = {width}, NV = {vectors}, MOST = {rows};",
        "    static constexpr int ROWS = MOST < 1 ? 1 : MOST > 8 ? 8 : MOST;",
        f"    static constexpr int INPUTS = {len(inputs)}, MEMBERS = {sum(sizes)};",
        f"    static constexpr int SIZES[] = {{{_list(sizes) or '0'}}};",
        f"    static constexpr bool NARROW[] = {{{_list(narrow) or '0'}}};",
        f"    static constexpr bool TO_NARROW = {to_narrow};",
        f"    static constexpr int BLOCKS[][{most}] = {{{blocks or '{0}'}}};",
        f"    static constexpr int PLACES[][{most}] = {{{places or '{0}'}}};",
        f"    static constexpr bool WAITS = {_bool(waits)};",
    ]


def _accumulate_lines(operand: Input) -> list[str]:
    """The C++ that adds the products with one operand to the sums of a tile."""
    places = ", ".join(str(place) for _, place in operand.members)
    return [
        "        {",
        "            const S* a[MR];",
        "            for (int m = 0; m < MR; ++m) {",
        "                const int64_t row = rows[m];",
        f"                a[m] = {operand.pointer};",
        "            }",
        f"            panel = accumulate<S, Q, MR, NV, WIDTH * NV, {places}>"
        f"(acc, a, panel, s.call->{'narrow' if operand.is_narrow else 'units'}, s.call->ahead);",
        "        }",
    ]


def file_text(stages: Stages, memory: Arrays, structs: list[str], weights: str) -> str:
    """The whole C++ file.

    Args:
        stages: the stages of the step.
        memory: the arrays that the stages use.
        structs: the :func:`stage_text` of each stage, in the order of the stages.
        weights: the C++ type of the packed weights.
    """
    cell = stages.program.cell
    direction = "backward" if stages.backward else "forward"
    tiles_of_stages = ", ".join(f"tiles<Stage{n}>(c)" for n in range(len(structs)))
    return "\n".join(
        [
            f"// {cell.title}, {direction}, {memory.storage}, weights {weights}",
            '#include "recurrence.hpp"',
            "namespace throughtime {",
            f"using S = {memory.storage};",
            f"using Q = {weights};",
            f"using T = {COMPUTE[memory.storage]};",
            "using V = Vec<T>;",
            "constexpr int64_t L = Simd<T>::LANES;",
            f"constexpr int64_t REDUCTIONS = {max(len(stages.reductions), 1)};",
            f"[[maybe_unused]] constexpr int64_t SPILLED = {len(memory.spilled)};",
            "int64_t most_tiles(const Context& c);",
            *structs,
            "int64_t most_tiles(const Context& c) {",
            f"    const int64_t all[] = {{{tiles_of_stages}}};",
            "    int64_t most = 0;",
            "    for (int64_t n : all) most = n > most ? n : most;",
            "    return most;",
            "}",
            *_kernel_struct(stages, memory, len(structs)),
            "}  // namespace throughtime",
            *_exports(stages, len(structs)),
            "",
        ]
    )


def _kernel_struct(stages: Stages, memory: Arrays, num_stages: int) -> list[str]:
    """The C++ struct with which recurrence.hpp runs one step."""
    keys = [
        f"        keys[{i}] = random_key(c.seed, {i}, {'at' if spec.drawn == 'step' else '-1'});"
        for i, spec in enumerate(stages.program.cell.drawn_inputs.values())
    ]
    steps = []
    for n in range(num_stages):
        steps += [
            f"        stage<Stage{n}>(s, share, active, weights);",
            f"        weights += tiles<Stage{n}>(c) * panel_bytes<Stage{n}>(c);",
        ]
    return [
        "struct Kernel {",
        f"    using T = {COMPUTE[memory.storage]};",
        f"    static constexpr int VIEWS = {len(memory.views)}, SUMS = {len(stages.sums)};",
        f"    static constexpr int STREAMS = {len(keys)};",
        "    TT_INLINE void look(const Context& c, int64_t now, int64_t before,",
        "                        int64_t after, char** view) {",
        "        (void)now, (void)before, (void)after;",
        *_view_lines(memory),
        "    }",
        "    TT_INLINE void draw(const Context& c, int64_t at, uint64_t* keys) {",
        "        (void)c, (void)at, (void)keys;",
        *keys,
        "    }",
        "    TT_INLINE void step(const Step& s, const Share& share, int64_t active) {",
        "        const Context& c = *s.call;",
        "        const char* weights = c.weights;",
        *steps,
        "        (void)weights;",
        "    }",
        "};",
    ]


def _view_lines(memory: Arrays) -> list[str]:
    """The C++ that points all views to the current step; it runs once for each step."""
    lines = []
    for (name, when), i in memory.views.items():
        array = f"c.arrays[{memory.index[name]}]"
        lines.append(
            f"        view[{i}] = {array}.base + "
            f"(({'0' if when == 'fixed' else when}) & {array}.mask) * "
            f"{array}.time * int64_t(sizeof({memory.type_of(name)}));"
        )
    return lines


def _exports(stages: Stages, num_stages: int) -> list[str]:
    """The C functions that Python calls; see :class:`~throughtime.kernels.cpp.library.Library`."""
    numbers = range(num_stages)
    transposed = _bool(not stages.backward)
    packs = [f"    to = pack<Stage{n}>(to, R, c, {transposed});" for n in numbers]
    sizes = " + ".join(f"tiles<Stage{n}>(c) * panel_bytes<Stage{n}>(c)" for n in numbers)
    return [
        "using namespace throughtime;",
        '#define PUBLIC extern "C" __attribute__((visibility("default")))',
        "PUBLIC void run_steps(const Context* c) { run<Kernel>(*c); }",
        "PUBLIC void pack_weights(const Context* call, const void* blocks, char* to) {",
        "    const Context& c = *call;",
        "    const S* R = (const S*)blocks;",
        "    (void)R, (void)c;",
        *packs,
        "}",
        "PUBLIC int64_t packed_size(const Context* call) {",
        "    const Context& c = *call;",
        "    (void)c;",
        f"    return {sizes};",
        "}",
        "PUBLIC int64_t partials_size(const Context* c) {",
        "    return c->rows * REDUCTIONS * most_tiles(*c) * int64_t(sizeof(T));",
        "}",
        "PUBLIC int64_t vector_bytes() { return BYTES; }",
        "PUBLIC void context_layout(int64_t* to) {",
        "    const int64_t values[] = {",
        *(f"        {expression}," for expression in LAYOUT),
        "    };",
        "    for (const int64_t value : values) *to++ = value;",
        "}",
    ]


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(v) for v in values)
