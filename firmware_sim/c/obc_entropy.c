/* Symbols of the two base layers: contexts and code words. FORMAT.md section 5. */
#include "obc_internal.h"

/* Append bits to the open packet; what does not fit is counted but not written. */
static void put(obc_slot *slot, uint32_t value, uint32_t length) {
    uint32_t acc = (uint32_t)slot->acc << length | value;
    uint32_t fill = slot->fill + length;
    while (fill >= 8u) {
        fill -= 8u;
        if (slot->end < slot->limit) {
            slot->packet[slot->end] = (uint8_t)(acc >> fill);
        }
        slot->end++;
    }
    slot->acc = (uint8_t)(acc & ((1u << fill) - 1u));
    slot->fill = (uint8_t)fill;
}

static void put_word(obc_slot *slot, uint16_t word) {
    put(slot, (uint32_t)word >> 4, word & 15u);
}

/* Bucket of a value past the direct range; `raw` is what its b + 1 raw bits say. */
static uint8_t bucket(uint32_t excess, uint32_t *raw) {
    uint8_t b = 0;
    while (excess >= (UINT32_C(4) << b) - 2u) {
        b++;
    }
    *raw = excess - ((UINT32_C(2) << b) - 2u);
    return b;
}

static uint32_t distance(int32_t a, int32_t b) {
    return (uint32_t)(a < b ? b - a : a - b);
}

/* Context of six times the mean of what the neighbours say. */
static uint8_t first_context(uint32_t sum, uint32_t terms) {
    uint32_t total = terms == 6u ? sum : 6u * sum / terms;
    return obc_first_context[total < sizeof obc_first_context ? total : sizeof obc_first_context - 1u];
}

typedef struct { /* what first latents see of the row above and of their own */
    const int16_t *above_q, *q;
    const uint8_t *above_size, *size;
    uint8_t across, width;
} neighbours;

/* Prediction of the first latent at `column`, `at` blocks behind the section's first; its context in `context`. */
static int32_t predict_first(const neighbours *s, uint8_t column, uint32_t at, uint8_t *context) {
    uint8_t west = column > 0u && at >= 1u;
    int32_t prediction, north;
    uint32_t total, terms = 1;
    const int16_t *above = s->above_q + column * s->across;
    const uint8_t *above_size = s->above_size + column * s->across;
    if (at < s->width) {
        if (!west) {
            *context = OBC_FIRST_ALONE;
            return 0;
        }
        *context = first_context(s->size[column - 1u], 1);
        return s->q[column - 1u];
    }
    north = *above;
    prediction = north;
    total = *above_size;
    if (column + 1u < s->width) {
        total += above_size[s->across] + distance(north, above[s->across]);
        terms += 2u;
    }
    if (west) {
        int32_t left = s->q[column - 1u];
        prediction = left;
        total += s->size[column - 1u];
        terms++;
        if (at > s->width) {
            int32_t corner = *(above - s->across);
            int32_t low = left < north ? left : north, high = left < north ? north : left;
            total += distance(left, corner) + distance(north, corner);
            terms += 2u;
            prediction = corner >= high ? low : (corner <= low ? high : left + north - corner);
        }
    }
    *context = first_context(total, terms);
    return prediction;
}

uint8_t obc_code_first(const obc_encoder *e, obc_slot *slot, const obc_run *run, const uint16_t *words,
                       const int16_t *q, uint8_t *size, uint8_t column) {
    neighbours s;
    uint32_t at = slot->next - slot->begin;
    uint8_t context, other;
    int32_t r;
    uint32_t magnitude;
    s.above_q = e->above_q[run->parity] + run->column;
    s.above_size = e->above_size[run->parity] + run->column;
    s.q = q;
    s.size = size;
    s.across = run->across;
    s.width = run->width;
    r = q[column] - predict_first(&s, column, at, &context);
    magnitude = (uint32_t)(r < 0 ? -r : r);
    size[column] = (uint8_t)(magnitude < 31u ? magnitude : 31u);
    words += OBC_FIRST_BASE + context * OBC_FIRST_SYMBOLS;
    if (r == 0 && context < 2u) {
        uint8_t longest = context == 0u ? 4 : 2, length = 1;
        while (length < longest && column + length < run->width &&
               q[column + length] == predict_first(&s, (uint8_t)(column + length), at + length, &other)) {
            size[column + length] = 0;
            length++;
        }
        if (length > 1u) {
            put_word(slot, words[length == 4u ? OBC_FIRST_FOUR : OBC_FIRST_PAIR]);
            return (uint8_t)(length & ~1u);
        }
    }
    if (magnitude <= OBC_FIRST_DIRECT) {
        put_word(slot, words[OBC_FIRST_DIRECT + r]);
    } else {
        uint32_t raw;
        uint8_t b = bucket(magnitude - OBC_FIRST_DIRECT - 1u, &raw);
        put_word(slot, words[2 * OBC_FIRST_DIRECT + 1 + b]);
        put(slot, raw << 1 | (r < 0), b + 2u);
    }
    return 1;
}

/* Latents 2 to 8 of a block; returns how many are not zero. */
static uint8_t code_block(obc_slot *slot, const uint16_t *words, const int16_t *q, uint8_t context) {
    const uint16_t *sizes = words + OBC_SIZE_BASE;
    uint32_t mask = 0, largest = 0;
    uint8_t nonzero = 0, ones = 0, before = 0, u;
    for (u = 0; u < OBC_UNITS; u++) {
        uint32_t size = distance(q[u], 0);
        if (size) {
            mask |= 1u << u;
            nonzero++;
            largest = size > largest ? size : largest;
        }
    }
    words += OBC_MASK_BASE + context * OBC_MASK_SYMBOLS;
    put_word(slot, words[largest == 1u ? mask + 128u : mask]);
    for (u = 0; u < OBC_UNITS; u++) {
        uint32_t size = distance(q[u], 0);
        if (!size) {
            continue;
        }
        if (largest > 1u) {
            uint8_t forced = ones == nonzero - 1u && before == ones;
            uint8_t kind = (uint8_t)(forced ? OBC_SIZE_FORCED : 4u * (u > 1u) + (nonzero < 6u ? nonzero : 6u) / 2u);
            const uint16_t *table = sizes + kind * OBC_SIZE_SYMBOLS;
            before++;
            ones = (uint8_t)(ones + (size == 1u));
            if (size <= OBC_SIZE_DIRECT) {
                put_word(slot, table[size - 1u]);
            } else {
                uint32_t raw;
                uint8_t b = bucket(size - 1u - OBC_SIZE_DIRECT, &raw);
                put_word(slot, table[OBC_SIZE_DIRECT + b]);
                put(slot, raw, b + 1u);
            }
        }
        put(slot, q[u] < 0, 1);
    }
    return nonzero;
}

static uint8_t signs(const uint8_t *group, uint8_t blocks) {
    uint8_t i, s = 0;
    for (i = 0; i < blocks; i++) {
        s = (uint8_t)(s | group[i] << (3u - i));
    }
    return s;
}

void obc_restore_count(obc_encoder *e, const obc_slot *slot, const obc_run *run, const uint8_t *old, uint8_t blocks) {
    uint8_t *count = e->count[run->parity] + run->column;
    while (blocks > 0u) {
        blocks--;
        count[(slot->next + blocks) % run->width * run->across] = old[blocks];
    }
}

uint8_t obc_code_rest(obc_encoder *e, obc_slot *slot, const obc_run *run, const uint16_t *words, const uint8_t *group,
                      int16_t (*rest)[7], uint8_t blocks, uint8_t *old) {
    uint8_t *count = e->count[run->parity] + run->column;
    uint32_t at = slot->next - slot->begin;
    uint8_t column = (uint8_t)(slot->next % run->width);
    uint8_t west = (uint8_t)(column > 0u && at >= 1u ? count[(column - 1u) * run->across] : 0u);
    uint8_t last = blocks < OBC_QUAD ? blocks : OBC_QUAD;
    uint8_t symbol = signs(group, last), context, i, x = column;
    uint32_t activity = 2u * west;
    for (i = 0; i < last; i++) {
        if (at + i >= run->width && i < run->width) {
            activity += count[x * run->across];
        }
        x = (uint8_t)(x + 1u < run->width ? x + 1u : 0u);
    }
    activity = activity < sizeof obc_quad_context ? activity : sizeof obc_quad_context - 1u;
    context = (uint8_t)(2u * obc_quad_context[activity] + (west > 0u));
    if (symbol == 0u || symbol == 15u) {
        uint8_t longest = symbol == 0u && context == 0u ? 4 : 2, quads = 1;
        while (quads < longest && OBC_QUAD * (quads + 1) <= blocks &&
               signs(group + OBC_QUAD * quads, OBC_QUAD) == symbol) {
            quads++;
        }
        if (quads > 1u) {
            quads = (uint8_t)(quads & ~1u);
            last = (uint8_t)(OBC_QUAD * quads);
            symbol = symbol ? OBC_QUAD_ONES : (quads == 4u ? OBC_QUAD_ZEROS4 : OBC_QUAD_ZEROS);
        }
    }
    put_word(slot, words[OBC_QUAD_BASE + context * OBC_QUAD_SYMBOLS + symbol]);
    x = column;
    for (i = 0; i < last; i++) {
        uint8_t *own = &count[x * run->across];
        uint8_t activity_here = 0;
        old[i] = *own;
        if (group[i]) {
            uint32_t near = at + i >= run->width ? *own : 0u;
            if (x > 0u && at + i >= 1u) {
                near += *(own - run->across);
            }
            activity_here = (uint8_t)(1u + code_block(slot, words, rest[i], near >= OBC_MASK_LEVEL));
        }
        *own = activity_here;
        x = (uint8_t)(x + 1u < run->width ? x + 1u : 0u);
    }
    return last;
}
