// Runs a training step of one layer: its forward call in one function, its backward call with the
// gradients of all weights in another.
//
// It does what forward.py and backward.py do, for a sequence of one chunk whose rows all have all
// steps, and for cells whose only input is x. Such a call takes a few microseconds, and its
// preparation in Python would take most of the time.
#pragma once

#include "recurrence.hpp"
#include "thread_memory.hpp"

namespace throughtime {

// Which memory an array of a kernel is; `number` counts those of one kind. training_code.py names
// them in this order.
enum Kind : int64_t {
    FIXED,       // memory that never changes
    KEPT,        // an array that the forward call writes for the backward call
    INITIAL,     // an initial state
    INPUT,       // x, if the equations read it unit by unit, for all steps
    HOISTED,     // the products with the input
    BIAS,        // the bias of all slots
    PARAMETERS,  // the per-unit parameters
    SPILL,       // values that a later stage reads
    ZEROS,
    D_OUTPUT,
    D_LAST,     // the gradient of a last state
    D_STATE,    // the gradient of a state at one step
    D_INITIAL,  // the gradient of an initial state
    D_INPUT,    // the part of the gradient of x that those equations give
    D_SLOTS,
};

struct Source {
    int64_t kind, number;
    const char* fixed;
};

// One direction of the cell. Python fills it; training_code.py declares the same fields in order.
struct Direction {
    void (*run)(const Context*);
    void (*pack)(const Context*, const void* blocks, char* to);
    int64_t (*packed_size)(const Context*);
    int64_t (*partials_size)(const Context*);
    int64_t arrays;
    const Source* source;
    int64_t spilled;
};

// An array of the forward kernel: its values for each row of W units. That of a state has one step
// more, the initial state, so that the states before all steps lie side by side.
struct Kept {
    int64_t values, state;  // the number of the state, or -1
};

// Neighbouring slots whose blocks of W are neighbours too.
struct InputProduct {
    int64_t column, count, row;  // the first column in the slots, their number, the first row of W
};

// Neighbouring slots with neighbouring blocks of R that multiply one operand.
struct RecurrentProduct {
    int64_t kept, column, count, width, row, adds;
};

struct BiasTerm {
    int64_t slot, is_recurrent, block;
};

// A sum over rows and steps that is, or is added to, a part of a gradient.
struct SumTerm {
    int64_t sum, tensor, block;
};

// A layer. Python fills it; training_code.py declares the same fields in order.
struct Training {
    Direction forward, backward;
    const void* matmul;
    int64_t units, width, narrow, features;   // H, H with padding, P of a projection, I
    int64_t reverse, slots, hoisted, sums;    // hoisted: the slots with a block of W
    int64_t parameters, states, reads_x;      // reads_x: whether the equations read x unit by unit
    int64_t kept_arrays, output;              // output: the number of its array
    const Kept* kept;
    int64_t input_products;
    const InputProduct* input_product;
    int64_t recurrent_products;
    const RecurrentProduct* recurrent_product;
    int64_t bias_terms;
    const BiasTerm* bias_term;
    int64_t sum_terms;
    const SumTerm* sum_term;
    // The elements of W and of R, if some of them enter no product; else 0.
    int64_t zeros_of_input, zeros_of_recurrent;
};

// The first numbers of a call; the addresses of its tensors follow, in the order of Call.tensors.
struct Numbers {
    int64_t steps, rows, seed, threads;
    int64_t groups[2], members[2];  // of the forward and of the backward direction
};
enum Tensor : int64_t { X, WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, PARAMETER };

// Cuts memory into parts; with a null pointer it only counts.
struct Cutter {
    char* memory;
    int64_t used;
    char* bytes(int64_t n) {
        char* part = memory ? memory + used : nullptr;
        used += round_up(n, 64);
        return part;
    }
};

inline Scratch& memory_of_thread() {
    static thread_local Scratch memory;
    return memory;
}

// Copies rows of n elements to rows of `width`, the rest of which is zero.
template <class S> void widen_rows(const S* from, int64_t rows, int64_t n, S* to, int64_t width) {
    if (n == width) {
        memcpy(to, from, size_t(rows * n) * sizeof(S));
        return;
    }
    for (int64_t row = 0; row < rows; ++row) {
        memcpy(to + row * width, from + row * n, size_t(n) * sizeof(S));
        memset(to + row * width + n, 0, size_t(width - n) * sizeof(S));
    }
}

// Copies the first n elements of rows of `width`.
template <class S> void narrow_rows(const S* from, int64_t rows, int64_t width, S* to, int64_t n) {
    if (n == width) {
        memcpy(to, from, size_t(rows * n) * sizeof(S));
        return;
    }
    for (int64_t row = 0; row < rows; ++row)
        memcpy(to + row * n, from + row * width, size_t(n) * sizeof(S));
}

template <class S> void clear(S* to, int64_t n) { memset(to, 0, size_t(n) * sizeof(S)); }

template <class S> struct TrainingCall {
    using MatMul = int (*)(
        int64_t m, int64_t n, int64_t k, const S* a, int64_t a_row, int64_t a_col, const S* b,
        int64_t b_row, int64_t b_col, S* c, int64_t c_row, const void* bias, int bias_is_sum,
        int accumulate, int threads);

    const Training& p;
    const Numbers& call;
    const int64_t* tensors;
    const Direction& direction;
    int side;  // 0 forward, 1 backward
    int64_t T, B, H, W, of_state;
    S* kept_memory;

    // Scratch memory.
    Context* context;
    char *packed, *partials;
    S *parameters, *spill, *zeros, *input, *bias, *hoisted;
    S *d_output, *d_last, *d_state, *d_initial, *d_input, *d_slots, *sums;
    S* spread;  // W with its blocks in the order of the slots, and padded
    bool has_d_output = false;

    TrainingCall(const Training& p, const int64_t* numbers, bool is_backward)
        : p(p), call(*(const Numbers*)numbers),
          tensors(numbers + sizeof(Numbers) / sizeof(int64_t)),
          direction(is_backward ? p.backward : p.forward), side(is_backward), T(call.steps),
          B(call.rows), H(p.units), W(p.width), of_state(B * W) {
        kept_memory = (S*)after_tensors()[0];
    }

    // Whether W has its blocks in the order of the slots, without padding.
    bool is_in_order() const { return p.input_products == 1 && H == W; }
    int64_t first_state() const { return PARAMETER + p.parameters; }
    const S* tensor(int64_t i) const { return (const S*)tensors[i]; }
    // The addresses and strides that follow the tensors: those of the kept arrays come first.
    const int64_t* after_tensors() const { return tensors + first_state() + p.states; }

    // The kept array at the first step.
    S* kept(int64_t number) const {
        S* at = kept_memory;
        for (int64_t i = 0; i < number; ++i)
            at += (T * p.kept[i].values + (p.kept[i].state >= 0)) * of_state;
        return at + (p.kept[number].state >= 0 && !p.reverse ? of_state : 0);
    }
    S* initial(int64_t state) const {
        int64_t number = 0;
        while (p.kept[number].state != state) ++number;
        return kept(number) + (p.reverse ? T : -1) * of_state;
    }
    // A kept array as an operand of products: that of a state from the initial state on.
    const S* operand(int64_t number) const {
        const int64_t shift = p.kept[number].state < 0 ? 0 : p.reverse ? 1 : -1;
        return kept(number) + shift * of_state;
    }

    void fill(Context& c) const {
        c.rows = B, c.units = H, c.width = W, c.narrow = p.narrow;
        c.steps = T, c.reverse = p.reverse, c.seed = call.seed;
        c.groups = call.groups[side], c.members = call.members[side];
    }

    void cut(Cutter& cutter) {
        const auto take = [&](int64_t n) { return (S*)cutter.bytes(n * int64_t(sizeof(S))); };
        const int64_t all = T * of_state;
        Context head = {};
        fill(head);
        context = (Context*)cutter.bytes(
            int64_t(sizeof(Context)) + direction.arrays * int64_t(sizeof(Array)));
        parameters = take(p.parameters * W);
        input = take(p.reads_x * all);
        spill = take(B * direction.spilled * W);
        zeros = take(of_state);
        partials = cutter.bytes(direction.partials_size(&head));
        if (side) {
            d_output = take(all);
            d_last = take(p.states * of_state);
            d_state = take(p.states * of_state);
            d_initial = take(p.states * of_state);
            d_input = take(p.reads_x * all);
            sums = take(head.groups * p.sums * W);
            spread = take(is_in_order() ? 0 : p.hoisted * W * p.features);
            // One step more at each end.
            d_slots = take((T + 2) * B * p.slots * W);
        } else {
            bias = take(p.slots * W);
            hoisted = take(T * B * p.hoisted * W);
        }
        packed = cutter.bytes(tensor(WEIGHT_HH) ? direction.packed_size(&head) : 0);
    }

    // Cuts the memory of the thread; false if there is none.
    bool allocate() {
        Cutter count = {nullptr, 0};
        cut(count);
        Cutter cutter = {memory_of_thread().get(count.used), 0};
        if (!cutter.memory) return false;
        cut(cutter);
        return true;
    }

    int product(
        int64_t m, int64_t n, int64_t k, const S* a, int64_t a_row, int64_t a_col, const S* b,
        int64_t b_row, int64_t b_col, S* c, int64_t c_row, const S* with, bool adds) const {
        return MatMul(p.matmul)(
            m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row, with, 1, adds, int(call.threads));
    }

    Array array(const Source& source) const {
        const int64_t n = source.number;
        const auto fixed = [](const void* base) { return Array{(char*)base, 0, 0}; };
        const auto over_time = [](const void* base, int64_t time) {
            return Array{(char*)base, time, -1};
        };
        switch (source.kind) {
            case FIXED: return fixed(source.fixed);
            case KEPT: return over_time(kept(n), p.kept[n].values * of_state);
            case INITIAL: return fixed(initial(n));
            case INPUT: return over_time(input, of_state);
            case HOISTED: return over_time(hoisted, B * p.hoisted * W);
            case BIAS: return fixed(bias);
            case PARAMETERS: return fixed(parameters);
            case SPILL: return fixed(spill);
            case D_OUTPUT: return has_d_output ? over_time(d_output, of_state) : fixed(zeros);
            case D_LAST: return fixed(d_last + n * of_state);
            case D_STATE: return fixed(d_state + n * of_state);
            case D_INITIAL: return fixed(d_initial + n * of_state);
            case D_INPUT: return over_time(d_input, of_state);
            case D_SLOTS: return over_time(d_slots + B * p.slots * W, B * p.slots * W);
            default: return fixed(zeros);
        }
    }

    // Packs the weights and runs the kernel over `count` steps.
    void run_kernel(int64_t begin, int64_t count, int64_t step) {
        for (int64_t i = 0; i < p.parameters; ++i)
            widen_rows(tensor(PARAMETER + i), 1, H, parameters + i * W, W);
        if (p.reads_x) widen_rows(tensor(X), T * B, H, input, W);
        clear(zeros, of_state);
        memset((void*)context, 0, sizeof(Context));
        fill(*context);
        context->begin = begin, context->count = count, context->direction = step;
        context->weights = packed, context->partials = partials, context->sums = (char*)sums;
        for (int64_t i = 0; i < direction.arrays; ++i)
            context->arrays[i] = array(direction.source[i]);
        if (tensor(WEIGHT_HH)) direction.pack(context, tensor(WEIGHT_HH), packed);
        direction.run(context);
    }

    void add_biases() {
        clear(bias, p.slots * W);
        for (int64_t i = 0; i < p.bias_terms; ++i) {
            const BiasTerm& term = p.bias_term[i];
            const S* from = tensor(term.is_recurrent ? BIAS_HH : BIAS_IH);
            S* to = bias + term.slot * W;
            if (from)
                for (int64_t u = 0; u < H; ++u) to[u] += from[term.block * H + u];
        }
    }

    // Writes the kept arrays, the output (T, B, H), and the last states (B, H).
    int forward() {
        sums = nullptr;
        if (!allocate()) return 1;
        const int64_t rows = T * B, slots = p.hoisted * W;
        add_biases();
        // The products leave the padding of the units as it is.
        if (H != W) clear(hoisted, rows * slots);
        for (int64_t i = 0; i < p.input_products; ++i) {
            const InputProduct& one = p.input_product[i];
            const S* w = tensor(WEIGHT_IH) + one.row * p.features;
            if (product(rows, one.count, p.features, tensor(X), p.features, 1, w, 1, p.features,
                        hoisted + one.column, slots, bias + one.column, false))
                return 1;
        }
        for (int64_t i = 0; i < p.states; ++i)
            widen_rows(tensor(first_state() + i), B, H, initial(i), W);
        run_kernel(p.reverse ? T - 1 : 0, T, p.reverse ? -1 : 1);
        const int64_t* results = after_tensors() + 1;
        narrow_rows(kept(p.output), rows, W, (S*)results[0], H);
        for (int64_t i = 0; i < p.kept_arrays; ++i)
            if (p.kept[i].state >= 0)
                narrow_rows(kept(i) + (p.reverse ? 0 : T - 1) * of_state, B, W,
                            (S*)results[1 + p.kept[i].state], H);
        memory_of_thread().trim();
        return 0;
    }

    // Copies the gradients of the results, of which null pointers stand for zero.
    void read_gradients() {
        // The gradient of the output, with its strides; those of the last states, (B, H).
        const int64_t* d_results = after_tensors() + 1;
        const S* from = (const S*)d_results[0];
        has_d_output = from != nullptr;
        S* to = d_output;
        for (int64_t t = 0; from && t < T; ++t)
            for (int64_t b = 0; b < B; ++b, to += W) {
                const S* row = from + t * d_results[1] + b * d_results[2];
                const int64_t stride = d_results[3];
                if (stride == 1) {
                    widen_rows(row, 1, H, to, W);
                } else {
                    for (int64_t u = 0; u < W; ++u) to[u] = u < H ? row[u * stride] : S(0);
                }
            }
        for (int64_t i = 0; i < p.states; ++i) {
            const S* last = (const S*)d_results[4 + i];
            if (last) widen_rows(last, B, H, d_last + i * of_state, W);
            else clear(d_last + i * of_state, of_state);
        }
        clear(d_initial, p.states * of_state);
    }

    // Writes the gradients of the tensors, except of those with a null pointer in their place.
    int backward() {
        if (!allocate()) return 1;
        read_gradients();
        clear(sums, call.groups[1] * p.sums * W);
        // The kernel takes one step more, in which it completes the gradients of the initial states.
        run_kernel(p.reverse ? 0 : T - 1, T + 1, p.reverse ? 1 : -1);
        const int64_t* gradients = after_tensors() + 5 + p.states;
        const int failed = of_matrices(gradients);
        of_vectors(gradients);
        of_states(gradients);
        memory_of_thread().trim();
        return failed;
    }

    int of_matrices(const int64_t* gradients) const {
        S *dx = (S*)gradients[X], *dW = (S*)gradients[WEIGHT_IH], *dR = (S*)gradients[WEIGHT_HH];
        const int64_t rows = T * B, width = p.slots * W, I = p.features;
        const S* d = d_slots + B * width;
        int failed = 0;
        if (dW) clear(dW, p.zeros_of_input);
        if (dx && p.input_products == 0) clear(dx, rows * I);
        if (dx && !is_in_order()) clear(spread, p.hoisted * W * I);
        for (int64_t i = 0; i < p.input_products; ++i) {
            const InputProduct& one = p.input_product[i];
            const int64_t place = one.row * I;
            if (dW)
                failed |= product(one.count, I, rows, d + one.column, 1, width, tensor(X), I, 1,
                                  dW + place, I, nullptr, false);
            if (dx && !is_in_order())
                memcpy(spread + one.column * I, tensor(WEIGHT_IH) + place,
                       size_t(one.count * I) * sizeof(S));
        }
        // One product, so that the order of the sum is that of a general call.
        if (dx && p.input_products > 0)
            failed |= product(rows, I, p.hoisted * W, d, width, 1,
                              is_in_order() ? tensor(WEIGHT_IH) + p.input_product[0].row * I
                                            : spread,
                              I, 1, dx, I, nullptr, false);
        for (int64_t row = 0; dx && p.reads_x && row < rows; ++row)
            for (int64_t u = 0; u < H; ++u) dx[row * H + u] += d_input[row * W + u];
        if (dR) clear(dR, p.zeros_of_recurrent);
        for (int64_t i = 0; dR && i < p.recurrent_products; ++i) {
            const RecurrentProduct& one = p.recurrent_product[i];
            failed |= product(one.count, one.width, rows, d + one.column, 1, width,
                              operand(one.kept), W, 1, dR + one.row * H, H, nullptr, one.adds);
        }
        return failed;
    }

    void of_vectors(const int64_t* gradients) const {
        const int64_t groups = call.groups[1];
        for (int64_t group = 1; group < groups; ++group)
            for (int64_t i = 0; i < p.sums * W; ++i) sums[i] += sums[group * p.sums * W + i];
        for (int64_t i = 0; i < p.sum_terms; ++i) {
            const SumTerm& term = p.sum_term[i];
            S* to = (S*)gradients[term.tensor];
            if (!to) continue;
            to += term.block * H;
            // Terms of one place are neighbours: the first of them is copied.
            const bool is_first = i == 0 || p.sum_term[i - 1].tensor != term.tensor ||
                                  p.sum_term[i - 1].block != term.block;
            for (int64_t u = 0; u < H; ++u) {
                const S value = term.sum < 0 ? S(0) : sums[term.sum * W + u];
                to[u] = is_first ? value : to[u] + value;
            }
        }
    }

    void of_states(const int64_t* gradients) const {
        for (int64_t i = 0; i < p.states; ++i) {
            S* to = (S*)gradients[first_state() + i];
            if (to) narrow_rows(d_initial + i * of_state, B, W, to, H);
        }
    }
};

}  // namespace throughtime
