/* The functions that printed C calls. Each is written into a file only if the file calls it.

   `real` stands for float or double, R(0.5) for a number of that type, R(log1p) for the function of
   math.h for that type, EITHER(a, b) for a if the type is float and for b if it is double, BITS for
   the unsigned integer of its size and INT for the signed one, `weight` for the type of the stored
   matrices, and my_ for the prefix of all names of the file. A function with HEIGHT in its name, or
   a loop with HEIGHT in another one, is written once for each height of a block (BLOCKS in
   c_functions.py). A blank line separates the functions. A line `float:` or `double:` begins one
   that only that type has. The errors in units in the last place (ulp) are measured in tests. */

/* The bits of a number, and the number of some bits. */
static inline BITS my_bits_of(real x)
{
    union { real value; BITS word; } u;
    u.value = x;
    return u.word;
}

static inline real my_of_bits(BITS b)
{
    union { real value; BITS word; } u;
    u.word = b;
    return u.value;
}

/* x, but at least low (below 0) and at most high (above 0); NaN stays NaN. The bits of numbers
   above 0 are in their order, also as signed integers; those of numbers below 0 are in the reverse
   order as unsigned integers. A comparison of floating-point numbers might raise an exception, for
   which some compilers leave a loop without vector instructions. */
static inline real my_clamp(real x, real low, real high)
{
    const INT bits = (INT)my_bits_of(x), most = (INT)my_bits_of(high);
    const BITS below = (BITS)(bits < most ? bits : most), least = my_bits_of(low);
    return my_of_bits((below < least ? below : least) | ((BITS)0 - (BITS)(x != x)));
}

/* A choice between two values that are both computed. It chooses between their bits, so that a loop
   with it has no branch. */
static inline real my_select(int mask, real yes, real no)
{
    const BITS chosen = (BITS)0 - (BITS)(mask != 0);
    return my_of_bits((my_bits_of(yes) & chosen) | (my_bits_of(no) & ~chosen));
}

float:
/* e^r - 1 for |r| <= ln(2) / 2. */
static inline float my_expm1_reduced(float r)
{
    const float p = 0.5f + r * (0.166665769896987757f + r * (0.0416665546172045742f
        + r * (0.00836317905272257737f + r * 0.00139261835877134945f)));
    return r + (r * r) * p;
}

double:
/* e^r - 1 for |r| <= ln(2) / 2. */
static inline double my_expm1_reduced(double r)
{
    const double z = r * r;
    const double even = 0.500000000000000102 + z * (0.0416666666666241279
        + z * (0.00138888889172137169 + z * (0.0000248015212959543551
        + z * 2.76200884454097482e-7)));
    const double odd = 0.166666666666666675 + z * (0.00833333333333006183
        + z * (0.000198412698630536169 + z * (2.75572684599970648e-6
        + z * 2.51003854955103191e-8)));
    return r + z * (even + r * odd);
}

/* e^a for a between -104 and 89 (in double -746 and 710). Adding 1.5 * 2^23 (in double 1.5 * 2^52)
   rounds a / ln(2) to a whole number n, which is then in the low bits; e^a is 2^n times
   e^(a - n ln(2)). 2^n has two factors, because n reaches from below the smallest numbers to above
   the largest one. */
static inline real my_exp_of_clamped(real a)
{
    const real shift = EITHER(12582912.0f + 254.0f, 6755399441055744.0 + 2046.0);
    const BITS whole = my_bits_of(a * R(1.44269504088896340736) + shift);
    const BITS half = whole >> 1;
    const real n = (real)((int32_t)(whole - my_bits_of(shift)));
    const real r = (a - n * EITHER(0.693359375f, 6.93147180369123816490e-01))
        - n * EITHER(-2.12194440054690583e-4f, 1.90821492927058770002e-10);
    const real p = my_expm1_reduced(r) + R(1.0);
    return p * my_of_bits(half << EITHER(23, 52)) * my_of_bits((whole - half) << EITHER(23, 52));
}

/* e^x with an error of at most 2 ulp. */
static inline real my_exp(real x)
{
    return my_exp_of_clamped(my_clamp(x, EITHER(-104.0f, -746.0), EITHER(89.0f, 710.0)));
}

/* tanh(x) with an error of at most 3 ulp: t / (t + 2), where t = e^2|x| - 1 is precise near 0. */
static inline real my_tanh(real x)
{
    const real most = EITHER(20.0f, 40.0), a = R(fabs)(my_clamp(x, -most, most));
    const real shift = EITHER(12582912.0f + 127.0f, 6755399441055744.0 + 1023.0);
    const BITS whole = my_bits_of(a * R(2.88539008177792681) + shift);
    const real n = (real)((int32_t)(whole - my_bits_of(shift)));
    const real power = my_of_bits(whole << EITHER(23, 52));
    const real t = my_expm1_reduced((a + a) - n * R(0.69314718055994531)) * power
        + (power - R(1.0));
    return R(copysign)(t / (t + R(2.0)), x);
}

/* 1 / (1 + e^-x) with an error of at most 3 ulp, also for large negative x. */
static inline real my_sigmoid(real x)
{
    const real e = my_exp_of_clamped(my_clamp(x, EITHER(-104.0f, -746.0), R(40.0)));
    return e / (e + R(1.0));
}

float:
/* log(1 + e) for e between 0 and 1: the series of 2 atanh(s) with s = e / (2 + e), at most 1/3. */
static inline float my_log1p_of_fraction(float e)
{
    const float s = e / (e + 2.0f), z = s * s;
    const float sum = 0.333333333f + z * (0.2f + z * (0.142857143f + z * (0.111111111f
        + z * (0.0909090909f + z * (0.0769230769f + z * 0.0666666667f)))));
    return 2.0f * s + 2.0f * s * z * sum;
}

double:
/* log(1 + e) for e between 0 and 1: the series of 2 atanh(s) with s = e / (2 + e), at most 1/3. */
static inline double my_log1p_of_fraction(double e)
{
    const double s = e / (e + 2.0), z = s * s;
    double sum = 1.0 / 35.0;
    sum = 1.0 / 29.0 + z * (1.0 / 31.0 + z * (1.0 / 33.0 + z * sum));
    sum = 1.0 / 23.0 + z * (1.0 / 25.0 + z * (1.0 / 27.0 + z * sum));
    sum = 1.0 / 17.0 + z * (1.0 / 19.0 + z * (1.0 / 21.0 + z * sum));
    sum = 1.0 / 11.0 + z * (1.0 / 13.0 + z * (1.0 / 15.0 + z * sum));
    sum = 1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0 + z * sum));
    return 2.0 * s + 2.0 * s * z * (1.0 / 3.0 + z * sum);
}

/* log(1 + e^x). Beyond 20, PyTorch takes the function for the identity. */
static inline real my_softplus(real x)
{
    const real e = my_select(x > R(20.0), R(0.0), my_exp(-R(fabs)(x)));
    return my_clamp(x, R(-0.0), (real)INFINITY) + my_log1p_of_fraction(e);
}

static inline real my_log_sigmoid(real x)
{
    return my_clamp(x, -(real)INFINITY, R(0.0)) - my_log1p_of_fraction(my_exp(-R(fabs)(x)));
}

/* NaN stays NaN in this function and in those below, as in PyTorch. */
static inline real my_relu(real x)
{
    return my_select(x <= R(0.0), R(0.0), x);
}

static inline real my_maximum(real a, real b)
{
    return my_select((a > b) | (a != a), a, b);
}

static inline real my_minimum(real a, real b)
{
    return my_select((a < b) | (a != a), a, b);
}

/* 0 for NaN. */
static inline real my_sign(real x)
{
    return (real)((x > R(0.0)) - (x < R(0.0)));
}

/* The remainder with the sign of b. */
static inline real my_remainder(real a, real b)
{
    const real rest = R(fmod)(a, b);
    return (rest < R(0.0)) != (b < R(0.0)) && (rest < R(0.0) || rest > R(0.0)) ? rest + b : rest;
}

/* The sum of n numbers, as eight partial sums that a compiler can compute side by side. */
static inline real my_row_sum(int n, const real *restrict a)
{
    const int whole = n - n % 8;
    real part[8] = {R(0.0)}, rest = R(0.0);
    int i, k;
    for (k = 0; k < whole; k += 8)
        for (i = 0; i < 8; ++i)
            part[i] += a[k + i];
    for (; k < n; ++k)
        rest += a[k];
    return ((part[0] + part[4]) + (part[1] + part[5]))
        + ((part[2] + part[6]) + (part[3] + part[7])) + rest;
}

static inline real my_row_max(int n, const real *restrict a)
{
    real most = a[0];
    int k;
    for (k = 1; k < n; ++k)
        most = ((a[k] > most) | (a[k] != a[k])) ? a[k] : most;
    return most;
}

/* y += W x for a W that is stored row by row. Each sum has sixteen parts, which a compiler can
   compute side by side. */
static void my_product_by_rows(int rows, int columns, const weight *restrict w,
                               const real *restrict x, real *restrict y)
{
    const int whole = columns - columns % 16;
    int i, j, l;
    for (i = 0; i < rows; ++i) {
        real part[16] = {R(0.0)}, rest = R(0.0);
        for (j = 0; j < whole; j += 16)
            for (l = 0; l < 16; ++l)
                part[l] += (real)w[j + l] * x[j + l];
        for (; j < columns; ++j)
            rest += (real)w[j] * x[j];
        for (l = 0; l < 8; ++l)
            part[l] += part[l + 8];
        y[i] += ((part[0] + part[4]) + (part[1] + part[5]))
            + ((part[2] + part[6]) + (part[3] + part[7])) + rest;
        w += columns;
    }
}

/* y += W x for a block of HEIGHT rows, which is stored column by column. */
static inline void my_block_HEIGHT(int columns, const weight *restrict w, const real *restrict x,
                                   real *restrict y)
{
    const int whole = columns - columns % 4;
    int i, j;
    for (j = 0; j < whole; j += 4) {
#if defined(__GNUC__) && __GNUC__ >= 8
#pragma GCC unroll 8
#endif
        for (i = 0; i < HEIGHT; ++i)
            y[i] += (real)w[i] * x[j] + (real)w[HEIGHT + i] * x[j + 1]
                + (real)w[2 * HEIGHT + i] * x[j + 2] + (real)w[3 * HEIGHT + i] * x[j + 3];
        w += 4 * HEIGHT;
    }
    for (; j < columns; ++j) {
        for (i = 0; i < HEIGHT; ++i)
            y[i] += (real)w[i] * x[j];
        w += HEIGHT;
    }
}

/* y += W x for a W that is stored in blocks of rows, and what is left of it row by row. The sums of
   a block do not depend on each other, so that a compiler can compute them side by side and, as it
   knows how many there are, in registers. The products of a sum stand in the order of their weights
   in memory, because compilers then read memory in that order, from its beginning to its end. */
static void my_product(int rows, int columns, const weight *restrict w, const real *restrict x,
                       real *restrict y)
{
    int first = 0;
    for (; first + HEIGHT <= rows; first += HEIGHT)
        my_block_HEIGHT(columns, w + (size_t)first * (size_t)columns, x, y + first);
    if (first < rows)
        my_product_by_rows(rows - first, columns, w + (size_t)first * (size_t)columns, x,
                           y + first);
}
