/* A block row's samples to latents: G1 for every block, G2 where G1 leaves too much. FORMAT.md section 6. */
#include <string.h>

#include "obc_internal.h"

#if OBC_DSP

typedef uint32_t block[OBC_BLOCK * OBC_BLOCK / 2]; /* samples minus 128 in pairs of halfwords: 0 and 2, 1 and 3, ... */

/* Four samples minus 128 as halfwords: 0 and 2, then 1 and 3. */
static inline void load_four(const uint8_t *from, uint32_t *to) {
    uint32_t four;
    memcpy(&four, from, sizeof four);
    four ^= 0x80808080u;
    to[0] = (uint32_t)__sxtb16((int8x4_t)four);
    to[1] = (uint32_t)__sxtb16((int8x4_t)(four >> 8 | four << 24));
}

/* The sum of four products, and `sum`. */
static inline int32_t add_four(int16x2_t even, int16x2_t odd, const uint32_t *w, int32_t sum) {
    return __smlad(odd, (int16x2_t)w[1], __smlad(even, (int16x2_t)w[0], sum));
}

/* Load 8x8 samples; the energy of the means of 2x2 and, in `a`, the samples' sum over the first unit. */
static inline int32_t measure(const uint8_t *pixels, size_t stride, uint32_t *d, int32_t *a) {
    const uint32_t *w = obc_weights[0], *end = obc_weights[1];
    int32_t energy = 0, sum = 0;
    for (; w < end; pixels += 2u * stride, w += OBC_BLOCK, d += OBC_BLOCK) {
        uint32_t i;
        for (i = 0; i < OBC_BLOCK / 2u; i += 2u) {
            int16x2_t sums;
            load_four(pixels + 2u * i, d + i);
            load_four(pixels + stride + 2u * i, d + OBC_BLOCK / 2 + i);
            sum = add_four((int16x2_t)d[i], (int16x2_t)d[i + 1u], w + i, sum);
            sum = add_four((int16x2_t)d[OBC_BLOCK / 2 + i], (int16x2_t)d[OBC_BLOCK / 2 + i + 1u], w + OBC_BLOCK / 2 + i, sum);
            sums = __sadd16(__sadd16((int16x2_t)d[i], (int16x2_t)d[i + 1u]),
                            __sadd16((int16x2_t)d[OBC_BLOCK / 2 + i], (int16x2_t)d[OBC_BLOCK / 2 + i + 1u]));
            energy = __smlad(sums, sums, energy);
        }
    }
    *a = sum;
    return energy >> 2;
}

/* Four samples by the weights of units 2 to 8: samples are read once, and the sums stay in registers. */
static inline void add_units(const uint32_t *d, const uint32_t *w, int32_t *s) {
    enum { UNIT = OBC_BLOCK * OBC_BLOCK / 2 };
    int16x2_t even = (int16x2_t)d[0], odd = (int16x2_t)d[1];
    s[0] = add_four(even, odd, w, s[0]);
    s[1] = add_four(even, odd, w + UNIT, s[1]);
    s[2] = add_four(even, odd, w + 2 * UNIT, s[2]);
    s[3] = add_four(even, odd, w + 3 * UNIT, s[3]);
    s[4] = add_four(even, odd, w + 4 * UNIT, s[4]);
    s[5] = add_four(even, odd, w + 5 * UNIT, s[5]);
    s[6] = add_four(even, odd, w + 6 * UNIT, s[6]);
}

/* Sums over units 2 to 8. */
static inline void project(const uint32_t *d, int32_t *a) {
    const uint32_t *w = obc_weights[1], *end = obc_weights[2];
    int32_t s[OBC_UNITS] = {0};
    for (; w < end; w += OBC_BLOCK / 2, d += OBC_BLOCK / 2) {
        add_units(d, w, s);
        add_units(d + 2, w + 2, s);
    }
    memcpy(a, s, sizeof s);
}

#else

typedef obc_weight block[OBC_BLOCK * OBC_BLOCK]; /* samples minus 128 */

/* Load 8x8 samples; the energy of the means of 2x2 and, in `a`, the samples' sum over the first unit. */
static int32_t measure(const uint8_t *pixels, size_t stride, obc_weight *d, int32_t *a) {
    const obc_weight *w = obc_weights[0];
    int32_t energy = 0, sum = 0;
    uint32_t y, i;
    for (y = 0; y < OBC_BLOCK; y++, pixels += stride) {
        for (i = 0; i < OBC_BLOCK; i++) {
            d[OBC_BLOCK * y + i] = (obc_weight)(pixels[i] - 128);
        }
    }
    for (i = 0; i < OBC_BLOCK * OBC_BLOCK; i++) {
        sum += d[i] * w[i];
    }
    for (y = 0; y < OBC_BLOCK * OBC_BLOCK; y += 2 * OBC_BLOCK) {
        for (i = y; i < y + OBC_BLOCK; i += 2u) {
            int32_t four = d[i] + d[i + 1u] + d[i + OBC_BLOCK] + d[i + OBC_BLOCK + 1u];
            energy += four * four;
        }
    }
    *a = sum;
    return energy >> 2;
}

/* Sums over units 2 to 8. */
static void project(const obc_weight *d, int32_t *a) {
    const obc_weight *w = obc_weights[1];
    uint32_t unit, i;
    for (unit = 0; unit < OBC_UNITS; unit++, w += OBC_BLOCK * OBC_BLOCK) {
        int32_t sum = 0;
        for (i = 0; i < OBC_BLOCK * OBC_BLOCK; i++) {
            sum += d[i] * w[i];
        }
        a[unit] = sum;
    }
}

#endif

static inline int16_t latent(int32_t a, uint8_t unit) {
    uint32_t size = (uint32_t)(a < 0 ? -a : a);
    int32_t z = (int32_t)((size * obc_multiplier[unit] + (UINT32_C(1) << (obc_shift[unit] - 1u))) >> obc_shift[unit]);
    return (int16_t)(a < 0 ? -z : z);
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

void obc_analyse_row(obc_encoder *e, uint8_t plane, const uint8_t *pixels, size_t stride, uint16_t rows) {
    const obc_plane *p = &e->plane[plane];
    int16_t *first = e->first[p->row % 3u] + p->base;
    int16_t(*rest)[OBC_UNITS] = e->rest[p->row & 1u] + p->base;
    uint8_t *candidate = e->candidate[p->row & 1u] + p->base;
    uint64_t step = obc_unit_step(obc_plane_index(e->target, plane), 1);
    int32_t floor = (int32_t)((step * step * OBC_THRESHOLD) >> 16);
    uint32_t at;
    for (at = 0; at < p->columns; at++) {
        block samples;
        uint8_t edge[OBC_BLOCK * OBC_BLOCK];
        const uint8_t *from = pixels + OBC_BLOCK * (size_t)at;
        size_t pitch = stride;
        uint32_t columns = p->width - OBC_BLOCK * at;
        int32_t energy, a, left;
        if (rows < OBC_BLOCK || columns < OBC_BLOCK) {
            complete(from, stride, rows, columns < OBC_BLOCK ? columns : OBC_BLOCK, edge);
            from = edge;
            pitch = OBC_BLOCK;
        }
        energy = measure(from, pitch, samples, &a);
        first[at] = latent(a, 0);
        left = left_by_g1(energy, a);
        if (left >= 1 << (OBC_LEAST_BITS - 1) && plane == 0u) {
            uint32_t bits = obc_bit_length((uint32_t)left);
            e->detail[2u * (bits - OBC_LEAST_BITS) + ((uint32_t)left >> (bits - 2u) & 1u)] += OBC_ROW;
        }
        candidate[at] = left > floor;
        if (candidate[at]) {
            int32_t sums[OBC_UNITS];
            project(samples, sums);
            latents(sums, rest[at]);
        }
    }
}
