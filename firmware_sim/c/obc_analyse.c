/* A block row's samples to latents: G1 for every block, G2 where G1 leaves too much. FORMAT.md section 6. */
#include <string.h>

#include "obc_internal.h"

/* Blocks that are measured at a time: one where memory is short, many where loops over lines become vectors. */
#if OBC_LARGE
enum { AT_ONCE = 64 };
#else
enum { AT_ONCE = 1 };
#endif

#if OBC_DSP

typedef struct { /* four samples minus 128 as halfwords: 0 and 2, 1 and 3 */
    int16x2_t even, odd;
} four;

static inline four load_four(const uint8_t *from) {
    uint32_t word, bias = 0xFF80FF80u, odd;
    four samples;
    memcpy(&word, from, sizeof word);
    samples.even = (int16x2_t)__uxtab16((uint16x2_t)bias, (uint8x4_t)word);
    /* arm_acle.h has no name for the instruction with its rotation, which is free */
    __asm__("uxtab16 %0, %1, %2, ror #8" : "=r"(odd) : "r"(bias), "r"(word));
    samples.odd = (int16x2_t)odd;
    return samples;
}

/* The sum of four products, and `sum`. */
static inline int32_t add_four(four x, const uint32_t *w, int32_t sum) {
    return __smlad(x.odd, (int16x2_t)w[1], __smlad(x.even, (int16x2_t)w[0], sum));
}

/* The energy of the means of 2x2 of 8x8 samples and, in `a`, the samples' sum over the first unit. */
static inline void measure(const uint8_t *pixels, size_t stride, uint32_t count, int32_t *energy, int32_t *a) {
    const uint32_t *w = obc_weights[0];
    int32_t squares = 0, sum = 0;
    uint32_t y, i;
    (void)count;
    __asm__("" : "+r"(w)); /* else the compiler takes weights from its code, where a load brings one word and not two */
    for (y = 0; y < OBC_BLOCK; y += 2u, pixels += 2u * stride, w += OBC_BLOCK) {
        for (i = 0; i < OBC_BLOCK / 2u; i += 2u) {
            four upper = load_four(pixels + 2u * i), lower = load_four(pixels + stride + 2u * i);
            int16x2_t sums = __sadd16(__sadd16(upper.even, upper.odd), __sadd16(lower.even, lower.odd));
            squares = __smlad(sums, sums, squares);
            sum = add_four(lower, w + OBC_BLOCK / 2 + i, add_four(upper, w + i, sum));
        }
    }
    *a = sum;
    *energy = squares >> 2;
}

/* Four samples by the weights of units 2 to 8: samples are read once, and the sums stay in registers. */
static inline void add_units(four x, const uint32_t *w, int32_t *s) {
    enum { UNIT = OBC_BLOCK * OBC_BLOCK / 2 };
    s[0] = add_four(x, w, s[0]);
    s[1] = add_four(x, w + UNIT, s[1]);
    s[2] = add_four(x, w + 2 * UNIT, s[2]);
    s[3] = add_four(x, w + 3 * UNIT, s[3]);
    s[4] = add_four(x, w + 4 * UNIT, s[4]);
    s[5] = add_four(x, w + 5 * UNIT, s[5]);
    s[6] = add_four(x, w + 6 * UNIT, s[6]);
}

/* Sums over units 2 to 8. */
static inline void project(const uint8_t *pixels, size_t stride, int32_t *a) {
    const uint32_t *w = obc_weights[1], *end = obc_weights[2];
    int32_t s[OBC_UNITS] = {0};
    for (; w < end; w += OBC_BLOCK / 2, pixels += stride) {
        add_units(load_four(pixels), w, s);
        add_units(load_four(pixels + 4), w + 2, s);
    }
    memcpy(a, s, sizeof s);
}

#else

/* 8x8 samples minus 128. */
static inline void load(const uint8_t *pixels, size_t stride, obc_weight *d) {
    uint32_t y, i;
    for (y = 0; y < OBC_BLOCK; y++, pixels += stride, d += OBC_BLOCK) {
        for (i = 0; i < OBC_BLOCK; i++) {
            d[i] = (obc_weight)(pixels[i] - 128);
        }
    }
}

static inline int32_t product(const obc_weight *d, const obc_weight *w) {
    int32_t sum = 0;
    uint32_t i;
    for (i = 0; i < OBC_BLOCK * OBC_BLOCK; i++) {
        sum += d[i] * w[i];
    }
    return sum;
}

/* The samples' sum over the first unit. */
static inline int32_t first_sum(const uint8_t *pixels, size_t stride) {
    const obc_weight *w = obc_weights[0];
    int32_t sum = 0;
    uint32_t y, i;
    for (y = 0; y < OBC_BLOCK; y++, pixels += stride, w += OBC_BLOCK) {
        for (i = 0; i < OBC_BLOCK; i++) {
            sum += (pixels[i] - 128) * w[i];
        }
    }
    return sum;
}

#if OBC_LARGE

/* The energy of the means of 2x2 of 8x8 samples and the samples' sum over the first unit, of blocks in a row. Loops over
 * whole lines become vector instructions: pairs are read as halfwords, whose bytes may be added in any order. */
static inline void measure(const uint8_t *restrict pixels, size_t stride, uint32_t count, int32_t *restrict energy,
                           int32_t *restrict a) {
    enum { PAIRS = OBC_BLOCK / 2 };
    int32_t squares[AT_ONCE * PAIRS] = {0};
    uint32_t y, i;
    for (y = 0; y < OBC_BLOCK; y += 2u) {
        const uint8_t *line = pixels + y * stride;
        for (i = 0; i < count * PAIRS; i++) {
            uint16_t upper, lower;
            int16_t sum;
            memcpy(&upper, line + 2u * i, sizeof upper);
            memcpy(&lower, line + stride + 2u * i, sizeof lower);
            sum = (int16_t)((upper & 255) + (upper >> 8) + (lower & 255) + (lower >> 8) - 512);
            squares[i] += sum * sum;
        }
    }
    for (i = 0; i < count; i++) {
        const int32_t *of = squares + PAIRS * i;
        energy[i] = (of[0] + of[1] + of[2] + of[3]) >> 2;
    }
    for (i = 0; i < count; i++) {
        a[i] = first_sum(pixels + OBC_BLOCK * i, stride);
    }
}

#else

/* The energy of the means of 2x2 of 8x8 samples and the samples' sum over the first unit. */
static inline void measure(const uint8_t *pixels, size_t stride, uint32_t count, int32_t *energy, int32_t *a) {
    int32_t squares = 0;
    uint32_t y, i;
    (void)count;
    *a = first_sum(pixels, stride);
    for (y = 0; y < OBC_BLOCK; y += 2u, pixels += 2u * stride) {
        const uint8_t *lower = pixels + stride;
        for (i = 0; i < OBC_BLOCK; i += 2u) {
            int32_t sums = pixels[i] + pixels[i + 1u] + lower[i] + lower[i + 1u] - 512;
            squares += sums * sums;
        }
    }
    *energy = squares >> 2;
}

#endif

/* Sums over units 2 to 8. */
static void project(const uint8_t *pixels, size_t stride, int32_t *a) {
    obc_weight d[OBC_BLOCK * OBC_BLOCK];
    uint32_t unit;
    load(pixels, stride, d);
    for (unit = 0; unit < OBC_UNITS; unit++) {
        a[unit] = product(d, obc_weights[unit + 1u]);
    }
}

#endif

/* a * multiplier / 2^shift, halves away from zero. Latents are below 28672 and shifts 16 at
 * most (the model and `onboard-train export-c` see to it), so that products are below 2^31. */
static inline int16_t latent(int32_t a, uint8_t unit) {
    int32_t half = INT32_C(1) << (obc_shift[unit] - 1u);
    return (int16_t)((a * (int32_t)obc_multiplier[unit] + half - (a < 0)) >> obc_shift[unit]);
}

/* Latents 2 to 8; in a row, so that the compiler knows every multiplier. */
static inline void latents(const int32_t *sums, int16_t *rest) {
    rest[0] = latent(sums[0], 1);
    rest[1] = latent(sums[1], 2);
    rest[2] = latent(sums[2], 3);
    rest[3] = latent(sums[3], 4);
    rest[4] = latent(sums[4], 5);
    rest[5] = latent(sums[5], 6);
    rest[6] = latent(sums[6], 7);
}

/* 64 times the mean square that G1 leaves. */
static int32_t left_by_g1(int32_t energy, int32_t a) {
    uint32_t size = (uint32_t)(a < 0 ? -a : a);
    return energy - (int32_t)(((uint64_t)size * size * OBC_NORM) >> 40);
}

/* The samples of a block that reaches over the edge, the last row and column repeated. */
static void complete(const uint8_t *from, size_t stride, uint32_t rows, uint32_t columns, uint8_t *to) {
    uint32_t y, x;
    for (y = 0; y < OBC_BLOCK; y++) {
        const uint8_t *line = from + stride * (y < rows ? y : rows - 1u);
        for (x = 0; x < OBC_BLOCK; x++) {
            *to++ = line[x < columns ? x : columns - 1u];
        }
    }
}

/* Count a luma block by the half octave of what G1 leaves of it. */
static inline void count_detail(obc_encoder *e, int32_t left) {
    if (left >= 1 << (OBC_LEAST_BITS - 1)) {
        uint32_t bits = obc_bit_length((uint32_t)left);
        e->detail[2u * (bits - OBC_LEAST_BITS) + ((uint32_t)left >> (bits - 2u) & 1u)] += OBC_ROW;
    }
}

/* First latents of whole blocks, and which of them are candidates for the others. */
OBC_STAGE static void analyse_first(obc_encoder *e, uint8_t plane, uint32_t begin, uint32_t end, const uint8_t *pixels,
                                    size_t stride) {
    const obc_plane *p = &e->plane[plane];
    int16_t *first = e->first[p->row % 3u] + p->base;
    uint8_t *candidate = e->candidate[p->row & 1u] + p->base;
    uint64_t step = obc_unit_step(e->target, 1);
    int32_t floor = (int32_t)((step * step * OBC_THRESHOLD) >> 16);
    while (begin < end) {
        int32_t left[AT_ONCE], a[AT_ONCE]; /* `left`: the energy at first */
        uint32_t count = end - begin < AT_ONCE ? end - begin : AT_ONCE, i;
        measure(pixels, stride, count, left, a);
        for (i = 0; i < count; i++) {
            left[i] = left_by_g1(left[i], a[i]);
            first[begin + i] = latent(a[i], 0);
            candidate[begin + i] = left[i] > floor;
        }
        begin += count;
        if (plane == 0u) { /* in a loop of its own, so that the other becomes vector instructions */
            for (i = 0; i < count; i++) {
                count_detail(e, left[i]);
            }
        }
        pixels += OBC_BLOCK * count;
    }
}

/* Latents 2 to 8 of the candidates among them. */
OBC_STAGE static void analyse_rest(obc_encoder *e, uint8_t plane, uint32_t begin, uint32_t end, const uint8_t *pixels,
                                   size_t stride) {
    const obc_plane *p = &e->plane[plane];
    int16_t(*rest)[OBC_UNITS] = e->rest[p->row & 1u] + p->base;
    const uint8_t *candidate = e->candidate[p->row & 1u] + p->base;
    for (; begin < end; begin++, pixels += OBC_BLOCK) {
        if (candidate[begin]) {
            int32_t sums[OBC_UNITS];
            project(pixels, stride, sums);
            latents(sums, rest[begin]);
        }
    }
}

void obc_analyse_row(obc_encoder *e, uint8_t plane, const uint8_t *pixels, size_t stride, uint16_t rows) {
    const obc_plane *p = &e->plane[plane];
    uint32_t at = rows < OBC_BLOCK ? 0u : p->width / OBC_BLOCK;
    analyse_first(e, plane, 0, at, pixels, stride);
    analyse_rest(e, plane, 0, at, pixels, stride);
    for (; at < p->columns; at++) {
        uint8_t edge[OBC_BLOCK * OBC_BLOCK];
        uint32_t columns = p->width - OBC_BLOCK * at;
        complete(pixels + OBC_BLOCK * at, stride, rows, columns < OBC_BLOCK ? columns : OBC_BLOCK, edge);
        analyse_first(e, plane, at, at + 1u, edge, OBC_BLOCK);
        analyse_rest(e, plane, at, at + 1u, edge, OBC_BLOCK);
    }
}
