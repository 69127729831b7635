// Runs a network in one call: stacked layers, each of which is a compiled cell with its product with
// W, and optionally a table of embeddings before them and a linear map after them.
//
// All weights are packed and all memory is allocated before the first step. A chunk of steps runs
// through one layer after the other, so that several steps share each weight that is read. One
// thread runs all steps: for the few rows that a plan is made for, waking a second one takes longer.
#pragma once

#include "recurrence.hpp"

namespace throughtime {

// The arguments of one layer. Python fills it; plan.py declares the same fields in this order.
struct Layer {
    void (*run)(const Context*);  // the compiled cell
    Context* context;
    Array x;  // the input, rows of x_width elements
    int64_t x_width;
    Linear input;    // the products with W
    Array hoisted;   // their results, rows of input.outputs elements
    Array output;    // rows of context->width elements
    Array sum;       // of a residual layer: the output plus x, rows of context->width; else null
    char* columns;   // memory for Ahead::columns, if the kernel computes products ahead; else null
};

// A network. Python fills it; plan.py declares the same fields in this order.
struct Plan {
    int64_t rows, time;  // B; the number of steps that have run
    int64_t chunk;       // the most steps of a chunk; the arrays of a layer hold as many
    int64_t layers;
    const uint8_t* flags;  // (chunk, rows) zeros: no step starts from an initial state
    Array x;               // rows of x_width elements, to which the input is copied
    int64_t x_width, inputs;
    const char* table;  // embeddings, (tokens, inputs), whose rows the tokens of the caller name;
    int64_t tokens;     // null: the caller passes the inputs themselves
    Array y;            // the output of the last layer, rows of y_width elements
    int64_t y_width;
    Linear head;     // the linear map after the last layer; its bias is null if there is none
    char* results;   // (chunk, rows, outputs of the head), in the compute type
    int64_t outputs;  // the elements of a row of the result
    Layer layer[1];
};

constexpr int ROWS_LINEAR = 3;

// The elements of the panel of one tile, without its scales.
template <class S, class Q> TT_INLINE int64_t panel_of_linear(int64_t inputs) {
    return round_up(inputs, Product<S, Q>::TOGETHER) * NV_LINEAR * Simd<Compute<S>>::LANES;
}

template <class S, class Q> TT_INLINE int64_t tile_bytes(int64_t inputs) {
    return panel_of_linear<S, Q>(inputs) * int64_t(sizeof(Q)) +
           (IS_SCALED<Q> ? NV_LINEAR * BYTES : 0);
}

// One tile of outputs for MR rows, of which the first `outputs` exist.
template <class S, class Q, int MR>
TT_INLINE void linear_tile(
    const S* const (&a)[MR], const Q* panel, int64_t K, const Compute<S>* bias, Compute<S>* y,
    int64_t y_width, int64_t outputs) {
    constexpr int64_t LANES = Simd<Compute<S>>::LANES;
    Vec<Compute<S>> acc[MR][NV_LINEAR] = {};
    panel = accumulate<S, Q, MR, NV_LINEAR, NV_LINEAR, 0>(acc, a, panel, K);
#pragma GCC unroll 4
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 8
        for (int n = 0; n < NV_LINEAR; ++n) {
            auto total = acc[m][n];
            if constexpr (IS_SCALED<Q>) total *= load((const float*)panel + n * LANES);
            total += load(bias + n * LANES);
            const int64_t left = outputs - n * LANES;
            Compute<S>* to = y + m * y_width + n * LANES;
            if (left >= LANES) store(to, total);
            else if (left > 0) memcpy(to, &total, size_t(left) * sizeof(Compute<S>));
        }
}

template <class S, class Q, int MR>
TT_INLINE void linear_rows(
    int rows, const S* x, int64_t x_width, const Q* panel, int64_t K, const Compute<S>* bias,
    Compute<S>* y, int64_t y_width, int64_t outputs) {
    if constexpr (MR > 0) {
        if (rows < MR)
            return linear_rows<S, Q, MR - 1>(
                rows, x, x_width, panel, K, bias, y, y_width, outputs);
        const S* a[MR];
        for (int m = 0; m < MR; ++m) a[m] = x + m * x_width;
        linear_tile<S, Q, MR>(a, panel, K, bias, y, y_width, outputs);
    }
}

// y (rows, outputs) = x A + b; the rows of x are x_width elements apart.
template <class S, class Q>
__attribute__((noinline)) void linear(
    const Linear& map, const S* x, int64_t x_width, Compute<S>* y, int64_t rows) {
    constexpr int64_t tile = NV_LINEAR * Simd<Compute<S>>::LANES;
    const char* panel = map.panel;
    const int64_t size = tile_bytes<S, Q>(map.inputs);
    for (int64_t n = 0; n < map.outputs; n += tile, panel += size)
        for (int64_t row = 0; row < rows; row += ROWS_LINEAR)
            linear_rows<S, Q, ROWS_LINEAR>(
                int(rows - row < ROWS_LINEAR ? rows - row : ROWS_LINEAR), x + row * x_width,
                x_width, (const Q*)panel, map.inputs, (const Compute<S>*)map.bias + n,
                y + row * map.outputs + n, map.outputs, map.outputs - n);
}

template <class S, class Q> int64_t linear_size(int64_t inputs, int64_t outputs) {
    const int64_t tile = NV_LINEAR * Simd<Compute<S>>::LANES;
    return (outputs + tile - 1) / tile * tile_bytes<S, Q>(inputs);
}

// Packs one vector of outputs in another type than that of the matrix.
template <class Q>
void pack_narrow_outputs(
    Q* to, int64_t stride, const float* rows, int64_t inputs, int64_t outputs, float* scales) {
    constexpr int64_t TOGETHER = Product<float, Q>::TOGETHER;
    for (int64_t l = 0; l < int64_t(Simd<float>::LANES); ++l) {
        float largest = 0;
        for (int64_t k = 0; l < outputs && k < inputs; ++k)
            largest = larger(largest, rows[l * inputs + k]);
        const float scale = scale_of(largest), inverse = inverse_of(scale);
        for (int64_t k = 0; k < round_up(inputs, TOGETHER); ++k)
            narrow_weight(
                to + k / TOGETHER * stride + l * TOGETHER + k % TOGETHER,
                l < outputs && k < inputs ? rows[l * inputs + k] : 0, inverse);
        if (IS_SCALED<Q>) scales[l] = scale;
    }
}

// Packs a matrix (outputs, inputs) in the order in which `linear` reads it.
template <class S, class Q>
void pack_linear(const S* matrix, int64_t inputs, int64_t outputs, char* to) {
    constexpr int64_t LANES = Simd<Compute<S>>::LANES, TOGETHER = Product<S, Q>::TOGETHER;
    constexpr int64_t tile = NV_LINEAR * LANES;
    for (int64_t n = 0; n < outputs; n += tile, to += tile_bytes<S, Q>(inputs))
        for (int64_t v = 0; v < NV_LINEAR; ++v) {
            const int64_t unit = n + v * LANES, left = outputs - unit;
            const int64_t lanes = left < 0 ? 0 : left < LANES ? left : LANES;
            Q* p = (Q*)to + v * LANES * TOGETHER;
            if constexpr (is_equal<S, Q>) {
                pack_units(p, tile * TOGETHER, matrix, inputs, inputs, unit, lanes, true);
            } else {
                auto* scales = (float*)((Q*)to + panel_of_linear<S, Q>(inputs)) + v * LANES;
                pack_narrow_outputs(p, tile * TOGETHER, matrix + unit * inputs, inputs, lanes, scales);
            }
        }
}

// A piece of a sequence; strides are in elements of x and of y.
struct Piece {
    const char* x;  // numbers of the storage type, or tokens of int64_t
    int64_t x_time, x_row;
    char* y;
    int64_t y_time, y_row;
    int64_t steps;
};

// Some steps of a piece: from step `first` of the piece on, which is step `time` of the plan.
struct Chunk {
    int64_t first, time, steps;
};

// False if a token has no embedding.
inline bool has_valid_tokens(const Plan& plan, const Piece& piece) {
    for (int64_t i = 0; i < piece.steps; ++i)
        for (int64_t row = 0; row < plan.rows; ++row) {
            const int64_t token = ((const int64_t*)piece.x)[i * piece.x_time + row * piece.x_row];
            if (token < 0 || token >= plan.tokens) return false;
        }
    return true;
}

// Copies the input of a chunk to the plan's memory.
template <class S>
TT_INLINE void read_input(const Plan& plan, const Piece& piece, const Chunk& chunk) {
    S* to = (S*)at_time<S>(plan.x, chunk.time);
    for (int64_t i = chunk.first; i < chunk.first + chunk.steps; ++i)
        for (int64_t row = 0; row < plan.rows; ++row, to += plan.x_width) {
            const int64_t place = i * piece.x_time + row * piece.x_row;
            const S* from = plan.table
                ? (const S*)plan.table + ((const int64_t*)piece.x)[place] * plan.inputs
                : (const S*)piece.x + place;
            memcpy((void*)to, (const void*)from, size_t(plan.inputs) * sizeof(S));
        }
}

// The products with W of some steps from step t on, whose x lie side by side.
template <class S, class Q>
TT_INLINE void multiply_input(const Plan& plan, const Layer& layer, int64_t t, int64_t steps) {
    const S* x = (const S*)at_time<S>(layer.x, t);
    while (steps > 0) {
        // The products lie side by side until the array begins anew.
        const int64_t room = layer.hoisted.mask + 1 - (t & layer.hoisted.mask);
        const int64_t count = steps < room ? steps : room;
        linear<S, Q>(layer.input, x, layer.x_width,
                     (Compute<S>*)at_time<Compute<S>>(layer.hoisted, t), count * plan.rows);
        x += count * plan.rows * layer.x_width;
        t += count;
        steps -= count;
    }
}

// Runs a chunk through one layer.
template <class S, class Q>
TT_INLINE void run_layer(const Plan& plan, const Layer& layer, const Chunk& chunk) {
    const int64_t rows = chunk.steps * plan.rows;
    const S* x = (const S*)at_time<S>(layer.x, chunk.time);
    Context& c = *layer.context;
    // With memory for it, all but the first products are left to the kernel.
    const bool leaves = layer.columns && rows > STEPS_AHEAD;
    Ahead ahead{layer.input, layer.x, layer.hoisted, layer.columns, chunk.time, rows};
    c.ahead = leaves ? &ahead : nullptr;
    if (layer.input.panel)
        multiply_input<S, Q>(plan, layer, chunk.time, leaves ? STEPS_AHEAD : chunk.steps);
    c.begin = chunk.time;
    c.count = chunk.steps;
    // Random numbers are numbered from the first step of the piece, as in a call of the layer.
    c.offset = chunk.first - chunk.time;
    c.flags = plan.flags - (chunk.first + 1) * plan.rows;
    layer.run(&c);
    if (layer.sum.base) {
        const S* y = (const S*)at_time<S>(layer.output, chunk.time);
        S* sum = (S*)at_time<S>(layer.sum, chunk.time);
        constexpr int64_t LANES = Simd<Compute<S>>::LANES;
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t u = 0; u < c.width; u += LANES)
                store(sum + row * c.width + u,
                      load(y + row * c.width + u) + load(x + row * layer.x_width + u));
    }
}

TT_INLINE void write_row(float* to, const float* from, int64_t n) {
    memcpy(to, from, size_t(n) * sizeof(float));
}
TT_INLINE void write_row(double* to, const double* from, int64_t n) {
    memcpy(to, from, size_t(n) * sizeof(double));
}
TT_INLINE void write_row(bfloat16* to, const bfloat16* from, int64_t n) {
    memcpy((void*)to, from, size_t(n) * sizeof(bfloat16));
}
TT_INLINE void write_row(bfloat16* to, const float* from, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = to_bfloat16(from[i]);
}

// Writes the results of a chunk: rows of the output of the last layer, or of the head.
template <class S, class T>
TT_INLINE void write_output(
    const Plan& plan, const Piece& piece, const Chunk& chunk, const T* from, int64_t width) {
    for (int64_t i = chunk.first; i < chunk.first + chunk.steps; ++i)
        for (int64_t row = 0; row < plan.rows; ++row, from += width)
            write_row((S*)piece.y + i * piece.y_time + row * piece.y_row, from, plan.outputs);
}

// Runs all steps of a piece. Returns 0, and runs none, if a token has no embedding.
template <class S, class Q> int run_plan(Plan& plan, const Piece& piece) {
    if (plan.table && !has_valid_tokens(plan, piece)) return 0;
    Chunk chunk = {0, plan.time, 0};
    for (; chunk.first < piece.steps; chunk.first += chunk.steps, chunk.time += chunk.steps) {
        // A chunk ends where the arrays end, which hold `chunk` steps in turn.
        const int64_t left = piece.steps - chunk.first;
        const int64_t room = plan.chunk - (chunk.time & (plan.chunk - 1));
        chunk.steps = left < room ? left : room;
        read_input<S>(plan, piece, chunk);
        for (int64_t l = 0; l < plan.layers; ++l) run_layer<S, Q>(plan, plan.layer[l], chunk);
        const S* last = (const S*)at_time<S>(plan.y, chunk.time);
        if (plan.head.bias) {
            auto* results = (Compute<S>*)plan.results;
            linear<S, Q>(plan.head, last, plan.y_width, results, chunk.steps * plan.rows);
            write_output<S>(plan, piece, chunk, results, plan.outputs);
        } else {
            write_output<S>(plan, piece, chunk, last, plan.y_width);
        }
    }
    plan.time = chunk.time;
    return 1;
}

}  // namespace throughtime
