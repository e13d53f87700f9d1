/* Layer 1 of a row of a stripe: sign bits by quads, latents 2 to 8 of group 2. FORMAT.md section 5.3. */
#include <string.h>

#include "obc_internal.h"

typedef struct { /* first latents of a row of blocks and of its neighbours */
    const int16_t *above, *own, *below;
    uint32_t last; /* column */
} surroundings;

static surroundings surroundings_of(const obc_encoder *e, const obc_plane *plane, uint16_t row) {
    uint32_t north = row > 0u ? row - 1u : 0u, south = row + 1u < plane->rows ? row + 1u : row;
    surroundings s;
    s.above = e->first[north % 3u] + plane->base;
    s.own = e->first[row % 3u] + plane->base;
    s.below = e->first[south % 3u] + plane->base;
    s.last = plane->columns - 1u;
    return s;
}

#if OBC_DSP

static inline int16x2_t pair(int16_t low, int16_t high) {
    return (int16x2_t)((uint32_t)(uint16_t)low | (uint32_t)(uint16_t)high << 16);
}

#endif

/* What the first latents around foretell of latents 2 to 8. */
static inline void predict(const surroundings *s, uint32_t x, int16_t *prediction) {
    uint32_t west = x > 0u ? x - 1u : 0u, east = x < s->last ? x + 1u : x, k;
    int32_t own = s->own[x];
#if OBC_DSP
    int16x2_t a = pair(s->above[west], s->above[x]), b = pair(s->above[east], s->own[west]);
    int16x2_t c = pair(s->own[east], s->below[west]), d = pair(s->below[x], s->below[east]);
    for (k = 0; k < OBC_UNITS; k++) {
        int32_t sum = 128 + obc_prediction_own[k] * own;
        sum = __smlad(a, (int16x2_t)obc_prediction[k][0], sum);
        sum = __smlad(b, (int16x2_t)obc_prediction[k][1], sum);
        sum = __smlad(c, (int16x2_t)obc_prediction[k][2], sum);
        sum = __smlad(d, (int16x2_t)obc_prediction[k][3], sum);
        prediction[k] = (int16_t)__builtin_arm_ssat(sum >> 8, 16); /* __ssat() does not pass -Wconversion */
    }
#else
    for (k = 0; k < OBC_UNITS; k++) {
        const int16_t *m = obc_prediction[k];
        int32_t sum = 128 + m[8] * own;
        sum += m[0] * s->above[west] + m[1] * s->above[x] + m[2] * s->above[east];
        sum += m[3] * s->own[west] + m[4] * s->own[east];
        sum += m[5] * s->below[west] + m[6] * s->below[x] + m[7] * s->below[east];
        prediction[k] = obc_clamp16(sum >> 8);
    }
#endif
}

/* What a block of group 2 is besides its latents, in one word; 0 for a block of group 1. */
enum {
    SHAPE_MASK = (1 << OBC_UNITS) - 1, /* which latents are not zero */
    SHAPE_LARGE = 1 << OBC_UNITS,      /* one of them is beyond 1 */
    SHAPE_COUNT = 8,                   /* from this bit on: how many, and one more */
    SHAPE_SIGNS = 16                   /* from this bit on: their signs, the last one lowest */
};

static inline uint8_t activity_of(uint32_t shape) {
    return (uint8_t)(shape >> SHAPE_COUNT);
}

/* Sizes above 1 and signs, one by one. */
static void code_sizes(obc_slot *slot, const uint16_t *sizes, const int16_t *q, uint8_t nonzero) {
    uint8_t ones = 0, before = 0, u;
    for (u = 0; before < nonzero; u++) {
        uint32_t size = obc_distance(q[u], 0), sign = q[u] < 0, raw;
        const uint16_t *table;
        uint16_t word;
        if (!size) {
            continue;
        }
        table = ones == nonzero - 1u && before == ones ? sizes + OBC_SIZE_FORCED * OBC_SIZE_SYMBOLS
                                                       : sizes + (4u * (u > 1u) + (nonzero < 6u ? nonzero : 6u) / 2u) *
                                                                     OBC_SIZE_SYMBOLS;
        before++;
        ones = (uint8_t)(ones + (size == 1u));
        if (size <= OBC_SIZE_DIRECT) {
            word = table[size - 1u];
            obc_put(slot, (uint32_t)word >> 4 << 1 | sign, (word & 15u) + 1u);
        } else {
            uint8_t b = obc_bucket(size - 1u - OBC_SIZE_DIRECT, &raw);
            obc_put_word(slot, table[OBC_SIZE_DIRECT + b]);
            obc_put(slot, raw << 1 | sign, b + 2u);
        }
    }
}

/* Latents 2 to 8 of a block. */
static void code_block(obc_slot *slot, const uint16_t *words, const int16_t *q, uint32_t shape, uint8_t context) {
    const uint16_t *masks = words + OBC_MASK_BASE + context * OBC_MASK_SYMBOLS;
    uint32_t mask = shape & SHAPE_MASK;
    uint8_t nonzero = (uint8_t)(activity_of(shape) - 1u);
    if (shape & SHAPE_LARGE) {
        obc_put_word(slot, masks[mask]);
        code_sizes(slot, words + OBC_SIZE_BASE, q, nonzero);
    } else { /* nothing but signs behind the mask */
        uint16_t word = masks[mask ? mask + 128u : mask];
        obc_put(slot, (uint32_t)word >> 4 << nonzero | shape >> SHAPE_SIGNS, (word & 15u) + nonzero);
    }
}

/* Which of the first `blocks` of a quad are in group 2, the first one highest. */
static inline uint8_t signs(const uint32_t *shape, uint8_t blocks) {
    uint8_t i, s = 0;
    for (i = 0; i < blocks; i++) {
        s = (uint8_t)(s | (shape[i] > 0u) << (3u - i));
    }
    return s;
}

static void restore_count(obc_encoder *e, const obc_slot *slot, const obc_run *run, const uint8_t *old, uint8_t blocks) {
    uint8_t *count = e->count[run->parity] + run->column;
    while (blocks > 0u) {
        blocks--;
        count[(slot->next + blocks) % run->width * run->across] = old[blocks];
    }
}

static uint8_t code_quads(obc_encoder *e, obc_slot *slot, const obc_run *run, const uint16_t *words, const uint32_t *shape,
                      int16_t (*rest)[7], uint8_t blocks, uint8_t *old) {
    uint8_t *row = e->count[run->parity] + run->column, *end_of_row = row + (run->width - 1u) * run->across, *own;
    uint32_t at = slot->next - slot->begin, column = slot->next % run->width, i;
    uint32_t north = at < run->width ? run->width - at : 0u; /* from this block on, the one above is in the section */
    uint8_t *begin = row + column * run->across;
    uint8_t west = column > 0u && at > 0u ? *(begin - run->across) : 0, last = blocks < OBC_QUAD ? blocks : OBC_QUAD;
    uint8_t symbol = signs(shape, last), context;
    uint32_t activity = 2u * west;
    for (i = 0, own = begin; i < last && i < run->width; i++, own = own == end_of_row ? row : own + run->across) {
        activity += i >= north ? *own : 0u;
    }
    activity = activity < sizeof obc_quad_context ? activity : sizeof obc_quad_context - 1u;
    context = (uint8_t)(2u * obc_quad_context[activity] + (west > 0u));
    if (symbol == 0u || symbol == 15u) {
        uint8_t longest = symbol == 0u && context == 0u ? 4 : 2, quads = 1;
        while (quads < longest && OBC_QUAD * (quads + 1) <= blocks &&
               signs(shape + OBC_QUAD * quads, OBC_QUAD) == symbol) {
            quads++;
        }
        if (quads > 1u) {
            quads = (uint8_t)(quads & ~1u);
            last = (uint8_t)(OBC_QUAD * quads);
            symbol = symbol ? OBC_QUAD_ONES : (quads == 4u ? OBC_QUAD_ZEROS4 : OBC_QUAD_ZEROS);
        }
    }
    obc_put_word(slot, words[OBC_QUAD_BASE + context * OBC_QUAD_SYMBOLS + symbol]);
    for (i = 0, own = begin; i < last; i++, own = own == end_of_row ? row : own + run->across) {
        old[i] = *own;
        if (shape[i]) {
            uint32_t near = i >= north ? *own : 0u;
            if (own != row && at + i > 0u) {
                near += *(own - run->across);
            }
            code_block(slot, words, rest[i], shape[i], near >= OBC_MASK_LEVEL);
        }
        *own = activity_of(shape[i]);
    }
    return last;
}

typedef struct { /* how latents 2 to 8 are quantised in a packet */
    uint16_t step[OBC_UNITS], offset[OBC_UNITS];
    uint32_t zero[OBC_UNITS]; /* what is smaller becomes 0: at the target's step, where that is coarser */
    uint64_t worth;           /* of a bit, times 256 */
} quantiser;

enum { NONZERO = 1 << 16 }; /* counts latents above the count of their bits */

static void quantiser_of(const obc_encoder *e, const obc_slot *slot, uint8_t plane, quantiser *quant) {
    uint8_t index = obc_plane_index(slot->index, plane), coarser = obc_coarser_index(e, index, plane), k;
    uint64_t step = obc_unit_step(obc_plane_index(e->target, plane), 1);
    quant->worth = step * step * OBC_PRICE;
    for (k = 0; k < OBC_UNITS; k++) {
        uint16_t own = obc_unit_step(index, (uint8_t)(k + 1u));
        uint32_t wide = obc_unit_step(coarser, (uint8_t)(k + 1u));
        quant->step[k] = own;
        quant->offset[k] = (uint16_t)((uint32_t)own * OBC_DEAD_ZONE >> 8);
        quant->zero[k] = wide - (wide * OBC_DEAD_ZONE >> 8);
    }
}

/* Quantise latents 2 to 8 of a candidate; their shape, 0 when they are not worth their bits. */
static uint32_t quantise(const int16_t *latents, const int16_t *prediction, const quantiser *quant, int16_t *q) {
    int64_t gain = 0;
    uint32_t bits = 4, mask = 0, signs_of = 0, nonzero;
    uint8_t k;
    for (k = 0; k < OBC_UNITS; k++) {
        int32_t z = latents[k], left = z - prediction[k], coded = 0;
        uint32_t far = obc_distance(left, 0), m;
        if (far >= quant->zero[k] && (m = (far + quant->offset[k]) / quant->step[k]) > 0u) {
            uint32_t sign = left < 0;
            bits += 2u * obc_bit_length(m) + NONZERO;
            mask |= 1u << k;
            signs_of = signs_of << 1 | sign;
            coded = sign ? -(int32_t)m : (int32_t)m;
            left -= coded * quant->step[k];
        }
        q[k] = (int16_t)coded;
        gain += (int64_t)(z - left) * (z + left); /* the squares' difference */
    }
    nonzero = bits / NONZERO;
    bits %= NONZERO;
    if (gain <= (int64_t)((quant->worth * bits) >> 8)) {
        return 0;
    }
    return mask | (bits > 4u + 2u * nonzero ? SHAPE_LARGE : 0u) | (nonzero + 1u) << SHAPE_COUNT | signs_of << SHAPE_SIGNS;
}

/* Block `n` of a stripe: from the row at hand or from those that wait. Its latents; 0 when it is no candidate. */
static inline uint8_t fetch(const obc_encoder *e, const obc_place *at, const surroundings *around, uint32_t n,
                            uint32_t row_first, int16_t *prediction, const int16_t **latents) {
    const obc_waiting *w = &e->waiting[at->plane][at->phase];
    uint32_t x;
    if (n < row_first) {
        uint32_t i = n + w->count - row_first;
        memcpy(prediction, w->prediction[i], sizeof w->prediction[i]);
        *latents = w->latents[i];
        return w->candidate[i];
    }
    x = at->run.column + (n - row_first) * at->run.across;
    *latents = e->rest[at->row & 1u][x];
    if (!e->candidate[at->row & 1u][x]) {
        return 0;
    }
    predict(around, x - e->plane[at->plane].base, prediction);
    return 1;
}

/* Keep the blocks of a quad that reaches into the next row. */
static void keep_waiting(obc_encoder *e, const obc_place *at, uint32_t begin, uint32_t row_first) {
    obc_waiting *w = &e->waiting[at->plane][at->phase];
    surroundings around = surroundings_of(e, &e->plane[at->plane], at->row);
    uint32_t n, end = row_first + at->run.width;
    uint8_t kept = 0;
    for (n = begin; n < end; n++, kept++) {
        int16_t prediction[7];
        const int16_t *latents;
        w->candidate[kept] = fetch(e, at, &around, n, row_first, prediction, &latents);
        if (w->candidate[kept]) {
            memmove(w->latents[kept], latents, sizeof w->latents[kept]);
            memcpy(w->prediction[kept], prediction, sizeof prediction);
        }
    }
    w->count = kept;
}

/* Send the last group-2 block of some to group 1; 0 when there is none. */
static uint8_t thin(uint32_t *shape, uint8_t blocks) {
    while (blocks > 0u) {
        if (shape[--blocks]) {
            shape[blocks] = 0;
            return 1;
        }
    }
    return 0;
}

uint8_t obc_code_rest_row(obc_encoder *e, obc_slot *slot, const obc_place *at) {
    const obc_run *run = &at->run;
    uint32_t row_first = (uint32_t)(at->row >> (e->config.interleave_log2 == 2u)) * run->width;
    uint32_t end = row_first + run->width;
    uint8_t full = 0;
    if (end < run->total) {
        end &= ~(uint32_t)(OBC_QUAD - 1);
    }
    if (slot->next < end && obc_open_packet(e, slot, at)) {
        const uint16_t *words = obc_words_of(obc_plane_index(slot->index, at->plane));
        uint32_t allowed = obc_rate_room(e, OBC_LAYER_REST);
        uint32_t shape[OBC_RUN_BLOCKS], n, spent = 0;
        uint8_t i = 0;
        surroundings around = surroundings_of(e, &e->plane[at->plane], at->row);
        quantiser quant;
        quantiser_of(e, slot, at->plane, &quant);
        for (n = slot->next; n < end; n++, i++) {
            int16_t prediction[OBC_UNITS];
            const int16_t *latents;
            shape[i] = 0;
            if (fetch(e, at, &around, n, row_first, prediction, &latents)) {
                shape[i] = quantise(latents, prediction, &quant, e->scratch[i]);
            }
        }
        i = 0;
        while (slot->next < end) {
            obc_mark mark = obc_mark_of(slot);
            uint8_t old[4 * OBC_QUAD], fit;
            uint8_t blocks = code_quads(e, slot, run, words, shape + i, e->scratch + i, (uint8_t)(end - slot->next), old);
            uint32_t bits = obc_bits_since(slot, &mark) + spent;
            fit = obc_fits(slot);
            if (fit && bits <= allowed) {
                spent = bits;
                slot->next += blocks;
                i = (uint8_t)(i + blocks);
                continue;
            }
            obc_return_to(slot, &mark);
            if (!fit && !obc_is_empty(slot)) {
                full = 1;
                break;
            }
            restore_count(e, slot, run, old, blocks);
            if (!thin(shape + i, blocks)) {
                obc_stop(e, OBC_LAYER_REST);
                break;
            }
        }
        obc_rate_count(e, spent, OBC_LAYER_REST, slot->index);
    }
    if (at->is_last && !full && !e->stopped[OBC_LAYER_REST]) {
        keep_waiting(e, at, slot->next, row_first);
    }
    return full;
}
