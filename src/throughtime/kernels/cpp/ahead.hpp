// The products with W of later steps, which a kernel computes between its products with R.
//
// With one row, a product with R takes the time in which R is read from the second cache, and the
// units that multiply idle for most of it. Meanwhile they multiply the inputs of later steps with W,
// of which each vector that is read serves several steps.
#pragma once

#include "simd.hpp"

namespace throughtime {

// A value over time. Step t begins at base + (t & mask) * time elements; generated code adds the
// offset of the row and the unit. With mask -1 all steps are stored, with mask 1 two of them, which
// steps use alternately, with mask 0 one.
struct Array {
    char* base;
    int64_t time, mask;
};

template <class S> TT_INLINE char* at_time(const Array& a, int64_t t) {
    return a.base + (t & a.mask) * a.time * int64_t(sizeof(S));
}

// y = x A + b for a few rows; `inputs` and `outputs` are the numbers of elements of x and y.
struct Linear {
    const char* panel;  // A, packed by pack_linear in elements of type Q; null: y = b
    const char* bias;   // in the compute type, padded to whole tiles
    int64_t inputs, outputs;
};

constexpr int NV_LINEAR = BYTES == 64 ? 8 : 4;  // vectors of outputs in a tile of pack_linear
// A tile of products of later steps: so many steps, and vectors of outputs.
constexpr int STEPS_AHEAD = 8, NV_AHEAD = 2;
// Its sums and those of a product with R need more registers than there are of shorter vectors.
constexpr bool CAN_COMPUTE_AHEAD = BYTES == 64;

// The products y = x A + b of `count` steps from `begin` on, whose x are all known. Those of the
// first block of STEPS_AHEAD steps are computed before; each further block is computed during the
// steps of the block before it. y has room for these two blocks at least.
struct Ahead {
    const Linear& map;
    Array x, y;
    char* columns;        // memory for the x of a block, (inputs, STEPS_AHEAD)
    int64_t begin, count;
    // How many inputs of tiles have been multiplied, and how many must have been at the end of the
    // current step.
    int64_t done = 0, due = 0;
    // The place of the next product; `step` is the first one of its block.
    int64_t step = STEPS_AHEAD, output = 0, input = 0;
    // The sums of the products with the inputs before `input`.
    alignas(BYTES) char sums[STEPS_AHEAD * NV_AHEAD * BYTES] = {};

    // Sets `due` for the i-th step.
    template <class T> void set_due(int64_t i) {
        constexpr int64_t tile = NV_AHEAD * Simd<T>::LANES;
        const int64_t of_block = map.inputs * ((map.outputs + tile - 1) / tile);
        const int64_t blocks = (count - 1) / STEPS_AHEAD;
        const int64_t until = (i + 1) * of_block / STEPS_AHEAD, all = blocks * of_block;
        due = until < all ? until : all;
    }
};

// A part of one tile: the products that one call computes, with the next `left` inputs.
template <class T> struct TileAhead {
    static constexpr int64_t LANES = Simd<T>::LANES;
    static constexpr int SUMS = STEPS_AHEAD * NV_AHEAD;
    Ahead& ahead;
    Vec<T> sums[SUMS];
    const T *x, *panel;
    int64_t left;

    TT_INSIDE explicit TileAhead(Ahead& a) : ahead(a) {
        const int64_t ready = a.due - a.done, rest = a.map.inputs - a.input;
        left = ready < rest ? ready : rest;
        if (left > 0 && a.input + a.output == 0) read_columns();
        constexpr int64_t tile = NV_LINEAR * LANES;
        panel = (const T*)a.map.panel + a.output / tile * tile * a.map.inputs + a.input * tile +
                a.output % tile;
        x = (const T*)a.columns + a.input * STEPS_AHEAD;
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; ++i) sums[i] = load((const T*)a.sums + i * LANES);
        a.done += left;
        a.input += left;
    }

    // Multiplies one input.
    TT_INSIDE void multiply() {
        Vec<T> w[NV_AHEAD];
#pragma GCC unroll 2
        for (int n = 0; n < NV_AHEAD; ++n) w[n] = load(panel + n * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < STEPS_AHEAD; ++m) {
            const Vec<T> of_step = splat<T>(x[m]);
#pragma GCC unroll 2
            for (int n = 0; n < NV_AHEAD; ++n) sums[m * NV_AHEAD + n] += of_step * w[n];
        }
        panel += NV_LINEAR * LANES;
        x += STEPS_AHEAD;
        --left;
    }

    // Keeps the sums for the next call, or writes them if they are complete.
    TT_INSIDE void leave() {
        Ahead& a = ahead;
        a.done -= left;
        a.input -= left;
        if (a.input == a.map.inputs) write();
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; ++i) store((T*)a.sums + i * LANES, sums[i]);
    }

    void read_columns() {
        for (int64_t m = 0; m < STEPS_AHEAD; ++m) {
            // The last block may have fewer steps: nobody reads the products of those after them.
            const T* from = (const T*)at_time<T>(ahead.x, ahead.begin + ahead.step + m);
            for (int64_t k = 0; k < ahead.map.inputs; ++k)
                ((T*)ahead.columns)[k * STEPS_AHEAD + m] = from[k];
        }
    }

    TT_INSIDE void write() {
        Ahead& a = ahead;
        Vec<T> bias[NV_AHEAD];
        for (int n = 0; n < NV_AHEAD; ++n)
            bias[n] = load((const T*)a.map.bias + a.output + n * LANES);
#pragma GCC unroll 8
        for (int m = 0; m < STEPS_AHEAD; ++m) {
            T* to = (T*)at_time<T>(a.y, a.begin + a.step + m) + a.output;
#pragma GCC unroll 2
            for (int n = 0; n < NV_AHEAD; ++n) {
                Vec<T>& sum = sums[m * NV_AHEAD + n];
                // The outputs are whole vectors, and their bias and the panel are padded.
                if (a.output + n * LANES < a.map.outputs) store(to + n * LANES, sum + bias[n]);
                sum = Vec<T>{};
            }
        }
        a.input = 0;
        a.output += NV_AHEAD * LANES;
        if (a.output >= a.map.outputs) {
            a.output = 0;
            a.step += STEPS_AHEAD;
        }
    }
};

// Multiplies what is due and has not been multiplied between products with R.
template <class T> __attribute__((noinline)) void finish_due(Ahead& ahead) {
    while (ahead.done < ahead.due) {
        TileAhead<T> tile(ahead);
        while (tile.left > 0) tile.multiply();
        tile.leave();
    }
}

}  // namespace throughtime
