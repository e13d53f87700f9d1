/* A block row's samples to latents: G1 for every block, G2 where G1 leaves too much. FORMAT.md section 6. */
#include <string.h>

#include "obc_internal.h"

#if OBC_DSP

/* Four samples minus 128, as halfwords: 0 and 2, then 1 and 3. */
static inline void load_four(const uint8_t *from, int16x2_t *even, int16x2_t *odd) {
    uint32_t four;
    memcpy(&four, from, sizeof four);
    four ^= 0x80808080u;
    *even = __sxtb16((int8x4_t)four);
    *odd = __sxtb16((int8x4_t)(four >> 8 | four << 24));
}

/* Four samples by two words of one unit's weights. */
static inline int32_t add_four(int16x2_t even, int16x2_t odd, const uint32_t *w, int32_t sum) {
    return __smlad(odd, (int16x2_t)w[1], __smlad(even, (int16x2_t)w[0], sum));
}

/* The energy of 8x8 samples and, in `a`, their sum over the first unit. */
static inline int32_t measure(const uint8_t *pixels, size_t stride, int32_t *a) {
    const uint32_t *w = obc_weights[0], *end = obc_weights[1];
    int32_t energy = 0, sum = 0;
    for (; w < end; pixels += stride, w += OBC_BLOCK / 2) {
        int16x2_t even, odd;
        load_four(pixels, &even, &odd);
        energy = __smlad(odd, odd, __smlad(even, even, energy));
        sum = add_four(even, odd, w, sum);
        load_four(pixels + 4, &even, &odd);
        energy = __smlad(odd, odd, __smlad(even, even, energy));
        sum = add_four(even, odd, w + 2, sum);
    }
    *a = sum;
    return energy;
}

/* Four samples by the weights of units 2 to 8: samples are unpacked once, and the sums stay in registers. */
static inline void add_units(const uint8_t *pixels, const uint32_t *w, int32_t *s) {
    enum { UNIT = OBC_BLOCK * OBC_BLOCK / 2 };
    int16x2_t even, odd;
    load_four(pixels, &even, &odd);
    s[0] = add_four(even, odd, w, s[0]);
    s[1] = add_four(even, odd, w + UNIT, s[1]);
    s[2] = add_four(even, odd, w + 2 * UNIT, s[2]);
    s[3] = add_four(even, odd, w + 3 * UNIT, s[3]);
    s[4] = add_four(even, odd, w + 4 * UNIT, s[4]);
    s[5] = add_four(even, odd, w + 5 * UNIT, s[5]);
    s[6] = add_four(even, odd, w + 6 * UNIT, s[6]);
}

/* Sums over units 2 to 8. */
static inline void project(const uint8_t *pixels, size_t stride, int32_t *a) {
    const uint32_t *w = obc_weights[1], *end = obc_weights[2];
    int32_t s[OBC_UNITS] = {0};
    for (; w < end; w += OBC_BLOCK / 2, pixels += stride) {
        add_units(pixels, w, s);
        add_units(pixels + 4, w + 2, s);
    }
    memcpy(a, s, sizeof s);
}

#else

/* Samples minus 128 of a block. */
static void load(const uint8_t *pixels, size_t stride, obc_weight *d) {
    uint32_t y, x;
    for (y = 0; y < OBC_BLOCK; y++, pixels += stride, d += OBC_BLOCK) {
        for (x = 0; x < OBC_BLOCK; x++) {
            d[x] = (obc_weight)(pixels[x] - 128);
        }
    }
}

/* The energy of 8x8 samples and, in `a`, their sum over the first unit. */
static int32_t measure(const uint8_t *pixels, size_t stride, int32_t *a) {
    const obc_weight *w = obc_weights[0];
    int32_t energy = 0, sum = 0;
    uint32_t i;
    obc_weight d[OBC_BLOCK * OBC_BLOCK];
    load(pixels, stride, d);
    for (i = 0; i < OBC_BLOCK * OBC_BLOCK; i++) {
        energy += d[i] * d[i];
        sum += d[i] * w[i];
    }
    *a = sum;
    return energy;
}

/* Sums over units 2 to 8. */
static void project(const uint8_t *pixels, size_t stride, int32_t *a) {
    const obc_weight *w = obc_weights[1];
    uint32_t unit, i;
    obc_weight d[OBC_BLOCK * OBC_BLOCK];
    load(pixels, stride, d);
    for (unit = 0; unit < OBC_UNITS; unit++, w += OBC_BLOCK * OBC_BLOCK) {
        int32_t sum = 0;
        for (i = 0; i < OBC_BLOCK * OBC_BLOCK; i++) {
            sum += d[i] * w[i];
        }
        a[unit] = sum;
    }
}

#endif

static int16_t latent(int32_t a, uint8_t unit) {
    uint32_t size = (uint32_t)(a < 0 ? -a : a);
    int32_t z = (int32_t)((size * obc_multiplier[unit] + (UINT32_C(1) << (obc_shift[unit] - 1u))) >> obc_shift[unit]);
    return (int16_t)(a < 0 ? -z : z);
}

/* 64 times the mean squared error that G1 leaves. */
static int32_t left_by_g1(int32_t energy, int32_t a) {
    uint32_t size = (uint32_t)(a < 0 ? -a : a);
    return energy - (int32_t)(((uint64_t)size * size * OBC_NORM) >> 40);
}

/* The samples of a block that reaches over the edge, the last row and column repeated. */
static void complete(const uint8_t *from, size_t stride, uint32_t rows, uint32_t columns, uint8_t *block) {
    uint32_t y, x;
    for (y = 0; y < OBC_BLOCK; y++) {
        const uint8_t *line = from + stride * (y < rows ? y : rows - 1u);
        for (x = 0; x < OBC_BLOCK; x++) {
            *block++ = line[x < columns ? x : columns - 1u];
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
    uint32_t block;
    for (block = 0; block < p->columns; block++) {
        uint8_t edge[OBC_BLOCK * OBC_BLOCK];
        const uint8_t *from = pixels + OBC_BLOCK * (size_t)block;
        size_t pitch = stride;
        uint32_t columns = p->width - OBC_BLOCK * block;
        int32_t energy, a;
        if (rows < OBC_BLOCK || columns < OBC_BLOCK) {
            complete(from, stride, rows, columns < OBC_BLOCK ? columns : OBC_BLOCK, edge);
            from = edge;
            pitch = OBC_BLOCK;
        }
        energy = measure(from, pitch, &a);
        first[block] = latent(a, 0);
        candidate[block] = left_by_g1(energy, a) > floor;
        if (candidate[block]) {
            int32_t sums[OBC_UNITS];
            uint8_t unit;
            project(from, pitch, sums);
            for (unit = 0; unit < OBC_UNITS; unit++) {
                rest[block][unit] = latent(sums[unit], (uint8_t)(unit + 1u));
            }
        }
    }
}
