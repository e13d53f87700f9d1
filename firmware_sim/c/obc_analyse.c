/* Camera rows to latents: box average, colour, G1 for every block, G2 where G1 leaves too much. */
#include <string.h>

#include "obc_internal.h"

#if OBC_DSP
#include <arm_acle.h>

typedef uint32_t block_word; /* two samples minus 128 */
enum { BLOCK_WORDS = 32 };

static uint32_t load32(const void *from) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* Unpack 8x8 samples; return the block's energy and its sum over the first unit in `a`. */
static int32_t load_block(block_word *d, const uint8_t *pixels, size_t stride, int32_t *a) {
    const uint32_t *weight = obc_weights[0];
    int32_t energy = 0, sum = 0;
    uint32_t y, x;
    for (y = 0; y < 8u; y++, pixels += stride) {
        for (x = 0; x < 8u; x += 4u, weight += 2, d += 2) {
            uint32_t four = load32(pixels + x);
            int16x2_t even = __ssub16((int16x2_t)__uxtb16((uint8x4_t)four), 0x00800080);
            int16x2_t odd = __ssub16((int16x2_t)__uxtb16((uint8x4_t)(four >> 8 | four << 24)), 0x00800080);
            d[0] = (block_word)even;
            d[1] = (block_word)odd;
            energy = __smlad(even, even, energy);
            energy = __smlad(odd, odd, energy);
            sum = __smlad(even, (int16x2_t)weight[0], sum);
            sum = __smlad(odd, (int16x2_t)weight[1], sum);
        }
    }
    *a = sum;
    return energy;
}

/* Four words of samples and of one unit's weights. */
static int32_t add_four(const uint32_t *d, const uint32_t *w, int32_t sum) {
    sum = __smlad((int16x2_t)d[0], (int16x2_t)w[0], sum);
    sum = __smlad((int16x2_t)d[1], (int16x2_t)w[1], sum);
    sum = __smlad((int16x2_t)d[2], (int16x2_t)w[2], sum);
    return __smlad((int16x2_t)d[3], (int16x2_t)w[3], sum);
}

/* Sums over units 2 to 8, three or four at a time: samples are loaded once for all of them. */
static void project(const block_word *d, int32_t *a) {
    const uint32_t *w = obc_weights[1];
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t i;
    for (i = 0; i < BLOCK_WORDS; i += 4u) {
        uint32_t four[4];
        memcpy(four, d + i, sizeof four);
        s0 = add_four(four, w + i, s0);
        s1 = add_four(four, w + BLOCK_WORDS + i, s1);
        s2 = add_four(four, w + 2 * BLOCK_WORDS + i, s2);
        s3 = add_four(four, w + 3 * BLOCK_WORDS + i, s3);
    }
    a[0] = s0;
    a[1] = s1;
    a[2] = s2;
    a[3] = s3;
    w = obc_weights[5];
    s0 = s1 = s2 = 0;
    for (i = 0; i < BLOCK_WORDS; i += 4u) {
        uint32_t four[4];
        memcpy(four, d + i, sizeof four);
        s0 = add_four(four, w + i, s0);
        s1 = add_four(four, w + BLOCK_WORDS + i, s1);
        s2 = add_four(four, w + 2 * BLOCK_WORDS + i, s2);
    }
    a[4] = s0;
    a[5] = s1;
    a[6] = s2;
}

#else

typedef int8_t block_word; /* a sample minus 128 */
enum { BLOCK_WORDS = 64 };

static int32_t load_block(block_word *d, const uint8_t *pixels, size_t stride, int32_t *a) {
    const int8_t *weight = obc_weights[0];
    int32_t energy = 0, sum = 0;
    uint8_t y, x;
    for (y = 0; y < 8u; y++, pixels += stride, d += 8, weight += 8) {
        for (x = 0; x < 8u; x++) {
            int32_t v = (int32_t)pixels[x] - 128;
            d[x] = (block_word)v;
            energy += v * v;
            sum += v * weight[x];
        }
    }
    *a = sum;
    return energy;
}

/* Sums over units 2 to 8. */
static void project(const block_word *d, int32_t *a) {
    const int8_t *weight = obc_weights[1];
    uint32_t unit, i;
    for (unit = 0; unit < OBC_UNITS; unit++) {
        int32_t sum = 0;
        for (i = 0; i < BLOCK_WORDS; i++) {
            sum += d[i] * *weight++;
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

void obc_analyse_row(obc_encoder *e, uint8_t plane, const uint8_t *pixels, size_t stride, uint16_t rows) {
    const obc_plane *p = &e->plane[plane];
    int16_t *first = e->first[p->row % 3u] + p->base;
    int16_t(*rest)[7] = e->rest[p->row & 1u] + p->base;
    uint8_t *candidate = e->candidate[p->row & 1u] + p->base;
    uint64_t step = obc_unit_step(obc_plane_index(e->target, plane), 1);
    int32_t floor = (int32_t)((step * step * OBC_THRESHOLD) >> 16);
    uint16_t block;
    for (block = 0; block < p->columns; block++) {
        block_word d[BLOCK_WORDS];
        uint8_t edge[OBC_BLOCK * OBC_BLOCK];
        const uint8_t *from = pixels + 8u * (size_t)block;
        size_t pitch = stride;
        int32_t energy, a;
        uint8_t unit;
        if (rows < 8u || 8u * (block + 1u) > p->width) { /* repeat the last row and column */
            uint8_t y, x;
            uint8_t wide = (uint8_t)(8u * (block + 1u) > p->width ? p->width - 8u * block : 8u);
            for (y = 0; y < 8u; y++) {
                const uint8_t *line = from + stride * (y < rows ? y : rows - 1u);
                for (x = 0; x < 8u; x++) {
                    edge[8u * y + x] = line[x < wide ? x : wide - 1u];
                }
            }
            from = edge;
            pitch = 8;
        }
        energy = load_block(d, from, pitch, &a);
        first[block] = latent(a, 0);
        candidate[block] = left_by_g1(energy, a) > floor;
        if (candidate[block]) {
            int32_t sums[OBC_UNITS];
            project(d, sums);
            for (unit = 0; unit < OBC_UNITS; unit++) {
                rest[block][unit] = latent(sums[unit], (uint8_t)(unit + 1u));
            }
        }
    }
}

/* A block row of a plane is in its strip: analyse it and make room for the next. */
static void strip_done(obc_encoder *e, uint8_t plane, const uint8_t *strip, size_t stride) {
    obc_plane *p = &e->plane[plane];
    obc_analyse_row(e, plane, strip, stride, p->filled);
    p->filled = 0;
}

#if OBC_COLOUR || OBC_MAX_SCALE_LOG2 > 0

typedef struct {
    const uint8_t *rows;
    size_t stride;
    uint16_t count, width;
    uint8_t log2, pitch; /* pitch: bytes from sample to sample */
} camera;

/* Mean of a square of samples, rounded half up; edges repeat. */
static uint8_t average(const camera *c, uint32_t x, uint32_t y, uint8_t channel) {
    uint32_t side = UINT32_C(1) << c->log2;
    uint32_t sum = (side * side) >> 1;
    uint32_t i, j;
    for (i = 0; i < side; i++) {
        uint32_t row = (y << c->log2) + i;
        const uint8_t *line = c->rows + c->stride * (row < c->count ? row : c->count - 1u) + channel;
        for (j = 0; j < side; j++) {
            uint32_t column = (x << c->log2) + j;
            sum += line[(size_t)c->pitch * (column < c->width ? column : c->width - 1u)];
        }
    }
    return (uint8_t)(sum >> (2u * c->log2));
}

#endif

#if OBC_COLOUR

/* Y of a sample; its Cb and Cr are added to the sums. BT.601 full range. */
static uint8_t colour(const camera *c, uint32_t x, uint32_t y, uint32_t *cb, uint32_t *cr) {
    int32_t r, g, b;
    if (c->log2 == 0u) {
        const uint8_t *sample = c->rows + c->stride * y + 3u * (size_t)x;
        r = sample[0];
        g = sample[1];
        b = sample[2];
    } else {
        r = average(c, x, y, 0);
        g = average(c, x, y, 1);
        b = average(c, x, y, 2);
    }
    *cb += (uint32_t)(-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16;
    *cr += (uint32_t)(32768 * r - 27439 * g - 5329 * b + 8421375) >> 16;
    return (uint8_t)((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
}

/* Coded rows y and y + 1 (the last row counts twice) to luma and one row of chroma. */
static void colour_rows(obc_encoder *e, const camera *c, uint32_t y, uint8_t two) {
    obc_plane *luma = &e->plane[0];
    uint8_t *above = e->strip[luma->filled], *below = e->strip[luma->filled + two];
    uint8_t row = e->plane[1].filled;
    uint32_t x, width = luma->width;
    for (x = 0; x < width; x += 2u) {
        uint32_t right = x + 1u < width ? x + 1u : x;
        uint32_t cb = 2, cr = 2;
        above[x] = colour(c, x, y, &cb, &cr);
        above[right] = colour(c, right, y, &cb, &cr);
        below[x] = colour(c, x, y + two, &cb, &cr);
        below[right] = colour(c, right, y + two, &cb, &cr);
        e->chroma[0][row][x / 2u] = (uint8_t)(cb >> 2);
        e->chroma[1][row][x / 2u] = (uint8_t)(cr >> 2);
    }
    luma->filled = (uint8_t)(luma->filled + 1u + two);
    e->plane[1].filled = e->plane[2].filled = (uint8_t)(row + 1u);
}

#endif

void obc_take_rows(obc_encoder *e, const uint8_t *rows, size_t stride, uint16_t count) {
#if OBC_COLOUR || OBC_MAX_SCALE_LOG2 > 0
    camera c;
    uint32_t y, x, coded = ((uint32_t)count + (1u << e->config.scale_log2) - 1u) >> e->config.scale_log2;
    c.rows = rows;
    c.stride = stride;
    c.count = count;
    c.width = e->config.width;
    c.log2 = e->config.scale_log2;
    c.pitch = e->config.format == OBC_RGB888 ? 3 : 1;
#endif
#if OBC_COLOUR
    if (e->config.format == OBC_RGB888) {
        for (y = 0; y < coded; y += 2u) {
            colour_rows(e, &c, y, y + 1u < coded);
        }
        if (e->row_done) {
            strip_done(e, 0, e->strip[0], sizeof e->strip[0]);
            if (e->job_planes == 3) {
                strip_done(e, 1, e->chroma[0][0], sizeof e->chroma[0][0]);
                strip_done(e, 2, e->chroma[1][0], sizeof e->chroma[1][0]);
            }
        }
        return;
    }
#endif
#if OBC_COLOUR || OBC_MAX_SCALE_LOG2 > 0
    if (e->config.scale_log2 > 0u) {
        for (y = 0; y < coded; y++) {
            uint8_t *line = e->strip[e->plane[0].filled++];
            for (x = 0; x < e->plane[0].width; x++) {
                line[x] = average(&c, x, y, 0);
            }
        }
        if (e->row_done) {
            strip_done(e, 0, e->strip[0], sizeof e->strip[0]);
        }
        return;
    }
#endif
    e->plane[0].filled = (uint8_t)count;
    strip_done(e, 0, rows, stride);
}
