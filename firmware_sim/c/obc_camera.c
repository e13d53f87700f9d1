/* Camera rows to rows of planes: RGB565 to 8 bits, box average, colour at half size. FORMAT.md sections 3.1 and 8.2. */
#include "obc_internal.h"

/* A block row of a plane is in its strip: analyse it and make room for the next. */
static void strip_done(obc_encoder *e, uint8_t plane, const uint8_t *strip, size_t stride) {
    obc_plane *p = &e->plane[plane];
    obc_analyse_row(e, plane, strip, stride, p->filled);
    p->filled = 0;
}

uint8_t obc_sample_bytes(uint8_t format) {
    return format == OBC_GREY8 ? 1 : (format == OBC_RGB888 ? 3 : 2);
}

#if OBC_COLOUR || OBC_MAX_SCALE_LOG2 > 0

typedef struct {
    const uint8_t *rows;
    size_t stride;
    uint16_t count, width;
    uint8_t log2, format;
} camera;

#endif

#if OBC_COLOUR

/* R, G and B of a camera sample, 8 bits each. */
static inline void read_colour(const uint8_t *line, uint32_t column, uint8_t format, uint32_t *rgb) {
    if (format == OBC_RGB888) {
        const uint8_t *sample = line + 3u * (size_t)column;
        rgb[0] = sample[0];
        rgb[1] = sample[1];
        rgb[2] = sample[2];
    } else {
        const uint8_t *sample = line + 2u * (size_t)column;
        uint32_t high = sample[format == OBC_RGB565LE], low = sample[format != OBC_RGB565LE];
        uint32_t red = high >> 3, green = (high & 7u) << 3 | low >> 5, blue = low & 31u;
        rgb[0] = red << 3 | red >> 2;
        rgb[1] = green << 2 | green >> 4;
        rgb[2] = blue << 3 | blue >> 2;
    }
}

/* Mean R, G and B of a square of samples, each rounded half up; edges repeat. */
static inline void average_colour(const camera *c, uint32_t x, uint32_t y, uint32_t *mean) {
    uint32_t side = UINT32_C(1) << c->log2, i, j, k;
    uint32_t rgb[3];
    if (c->log2 == 0u) {
        read_colour(c->rows + c->stride * y, x, c->format, mean);
        return;
    }
    mean[0] = mean[1] = mean[2] = (side * side) >> 1;
    for (i = 0; i < side; i++) {
        uint32_t row = (y << c->log2) + i;
        const uint8_t *line = c->rows + c->stride * (row < c->count ? row : c->count - 1u);
        for (j = 0; j < side; j++) {
            uint32_t column = (x << c->log2) + j;
            read_colour(line, column < c->width ? column : c->width - 1u, c->format, rgb);
            for (k = 0; k < 3u; k++) {
                mean[k] += rgb[k];
            }
        }
    }
    for (k = 0; k < 3u; k++) {
        mean[k] >>= 2u * c->log2;
    }
}

/* Samples of a row that are converted at a time: few where memory is short, many where loops become vectors. */
#if OBC_LARGE
enum { TILE = 512 };
#else
enum { TILE = 32 };
#endif

typedef struct {
    uint8_t r[TILE], g[TILE], b[TILE];
} samples;

/* Coded samples of a row from `x` on. */
static void read_tile(const camera *c, uint32_t x, uint32_t y, uint32_t count, samples *s) {
    uint32_t i;
    if (c->format == OBC_RGB888 && c->log2 == 0u) {
        const uint8_t *from = c->rows + c->stride * y + 3u * (size_t)x;
        for (i = 0; i < count; i++, from += 3) {
            s->r[i] = from[0];
            s->g[i] = from[1];
            s->b[i] = from[2];
        }
        return;
    }
    for (i = 0; i < count; i++) {
        uint32_t mean[3];
        average_colour(c, x + i, y, mean);
        s->r[i] = (uint8_t)mean[0];
        s->g[i] = (uint8_t)mean[1];
        s->b[i] = (uint8_t)mean[2];
    }
}

/* Y of samples; their Cb and Cr are added to sums. BT.601 full range. */
static void convert(const samples *restrict s, uint32_t count, uint8_t *restrict luma, uint16_t *restrict cb,
                    uint16_t *restrict cr) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        int32_t r = s->r[i], g = s->g[i], b = s->b[i];
        luma[i] = (uint8_t)((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
        cb[i] = (uint16_t)(cb[i] + ((-11059 * r - 21709 * g + 32768 * b + 8421375) >> 16));
        cr[i] = (uint16_t)(cr[i] + ((32768 * r - 27439 * g - 5329 * b + 8421375) >> 16));
    }
}

/* Means of two rows' sums in pairs of columns; an odd last column counts twice. */
static void halve(uint16_t *restrict sum, uint32_t count, uint8_t *restrict out) {
    uint32_t i;
    sum[count] = sum[count - 1u];
    for (i = 0; i < (count + 1u) / 2u; i++) {
        out[i] = (uint8_t)((sum[2u * i] + sum[2u * i + 1u] + 2u) >> 2);
    }
}

/* Coded rows y and y + 1 (the last row counts twice, and so does the last column) to luma and one row of chroma. */
static void colour_rows(obc_encoder *e, const camera *c, uint32_t y, uint8_t two) {
    obc_plane *luma = &e->plane[0];
    uint8_t row = e->plane[1].filled;
    uint32_t x, width = luma->width, plane;
    for (x = 0; x < width; x += TILE) {
        uint32_t count = width - x < TILE ? width - x : TILE;
        uint16_t cb[TILE + 1] = {0}, cr[TILE + 1] = {0};
        samples s;
        read_tile(c, x, y, count, &s);
        convert(&s, count, e->strip[luma->filled] + x, cb, cr);
        read_tile(c, x, y + two, count, &s);
        convert(&s, count, e->strip[luma->filled + two] + x, cb, cr);
        for (plane = 0; plane < 2u; plane++) {
            halve(plane ? cr : cb, count, e->chroma[plane][row] + x / 2u);
        }
    }
    luma->filled = (uint8_t)(luma->filled + 1u + two);
    e->plane[1].filled = e->plane[2].filled = (uint8_t)(row + 1u);
}

static void take_colour(obc_encoder *e, const camera *c, uint32_t coded) {
    uint32_t y;
    for (y = 0; y < coded; y += 2u) {
        colour_rows(e, c, y, y + 1u < coded);
    }
    if (e->row_done) {
        strip_done(e, 0, e->strip[0], sizeof e->strip[0]);
        if (e->job_planes == 3) {
            strip_done(e, 1, e->chroma[0][0], sizeof e->chroma[0][0]);
            strip_done(e, 2, e->chroma[1][0], sizeof e->chroma[1][0]);
        }
    }
}

#endif

#if OBC_MAX_SCALE_LOG2 > 0

/* Mean of a square of grey samples, rounded half up; edges repeat. */
static uint8_t average(const camera *c, uint32_t x, uint32_t y) {
    uint32_t side = UINT32_C(1) << c->log2, sum = (side * side) >> 1, i, j;
    for (i = 0; i < side; i++) {
        uint32_t row = (y << c->log2) + i;
        const uint8_t *line = c->rows + c->stride * (row < c->count ? row : c->count - 1u);
        for (j = 0; j < side; j++) {
            uint32_t column = (x << c->log2) + j;
            sum += line[column < c->width ? column : c->width - 1u];
        }
    }
    return (uint8_t)(sum >> (2u * c->log2));
}

static void take_averages(obc_encoder *e, const camera *c, uint32_t coded) {
    uint32_t x, y;
    for (y = 0; y < coded; y++) {
        uint8_t *line = e->strip[e->plane[0].filled++];
        for (x = 0; x < e->plane[0].width; x++) {
            line[x] = average(c, x, y);
        }
    }
    if (e->row_done) {
        strip_done(e, 0, e->strip[0], sizeof e->strip[0]);
    }
}

#endif

void obc_take_rows(obc_encoder *e, const uint8_t *rows, size_t stride, uint16_t count) {
#if OBC_COLOUR || OBC_MAX_SCALE_LOG2 > 0
    uint32_t coded = ((uint32_t)count + (1u << e->config.scale_log2) - 1u) >> e->config.scale_log2;
    camera c;
    c.rows = rows;
    c.stride = stride;
    c.count = count;
    c.width = e->config.width;
    c.log2 = e->config.scale_log2;
    c.format = e->config.format;
#endif
#if OBC_COLOUR
    if (e->config.format != OBC_GREY8) {
        take_colour(e, &c, coded);
        return;
    }
#endif
#if OBC_MAX_SCALE_LOG2 > 0
    if (e->config.scale_log2 > 0u) {
        take_averages(e, &c, coded);
        return;
    }
#endif
    e->plane[0].filled = (uint8_t)count;
    strip_done(e, 0, rows, stride);
}
