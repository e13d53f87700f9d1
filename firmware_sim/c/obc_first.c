/* Layer 0 of a row of a stripe: first latents, quantised, predicted, coded. FORMAT.md section 5.2. */
#include "obc_internal.h"

typedef struct { /* a row of a stripe, quantised; residuals with the sign that is coded */
    int16_t q[OBC_STRIPE], residual[OBC_STRIPE];
    uint8_t size[OBC_STRIPE], context[OBC_STRIPE];
} first_row;

/* Context of six times the mean of what the neighbours say. */
static uint8_t context_of(uint32_t total) {
    return obc_first_context[total < sizeof obc_first_context ? total : sizeof obc_first_context - 1u];
}

static int32_t median(int32_t west, int32_t north, int32_t corner) {
    int32_t low = west < north ? west : north, high = west < north ? north : west;
#if OBC_LARGE
    int32_t plane = west + north - corner;
    return plane < low ? low : (plane > high ? high : plane);
#else
    return corner >= high ? low : (corner <= low ? high : west + north - corner);
#endif
}

/* One context is two, by how much the neighbours lean to one side. */
static inline uint8_t split(uint8_t context, int32_t lean) {
#if OBC_LARGE
    return ((context == OBC_FIRST_SPLIT) & (obc_distance(lean, 0) >= OBC_STRONG_LEAN)) ? OBC_FIRST_STRONG : context;
#else
    return context == OBC_FIRST_SPLIT && (lean >= OBC_STRONG_LEAN || lean <= -OBC_STRONG_LEAN) ? OBC_FIRST_STRONG
                                                                                                : context;
#endif
}

/* A latent closer to its prediction than `zero` becomes that, any other the nearest multiple of `step`. */
static int32_t quantise(int32_t z, int32_t prediction, uint16_t step, uint32_t zero) {
    uint32_t m;
    if (obc_distance(z, prediction * step) < zero) {
        return prediction;
    }
    m = (obc_distance(z, 0) + (step >> 1)) / step;
    return z < 0 ? -(int32_t)m : (int32_t)m;
}

/* Quantise the columns from `begin` on; the first of them is `at` blocks behind the section's first. */
static void quantise_row(const obc_encoder *e, const obc_run *run, uint8_t begin, uint32_t at, const int16_t *z,
                         uint16_t step, uint32_t zero, first_row *row) {
    int across = run->across;
    const int16_t *above = e->above_q[run->parity] + run->column + begin * across;
    const uint8_t *above_size = e->above_size[run->parity] + run->column + begin * across;
    uint32_t width = run->width, column;
    int32_t west = 0;
    uint32_t west_size = 0, corner_far = 0; /* corner_far: from N to NW */
    if (begin > 0u && at > 0u) {
        west = row->q[begin - 1u];
        west_size = row->size[begin - 1u];
        corner_far = at > width ? obc_distance(above[0], above[-across]) : 0u;
    }
    z += begin * across;
    for (column = begin; column < width; column++, at++) {
        uint8_t has_west = column > 0u && at >= 1u, context;
        int32_t prediction = west, lean = 0, q, turn;
        uint32_t size;
        if (at > width && has_west && column + 1u < width) { /* nearly always: all neighbours are at hand */
            int32_t north = above[0], corner = above[-across];
            uint32_t far = obc_distance(north, above[across]);
            prediction = median(west, north, corner);
            lean = 2 * west + north + above[across] - 4 * prediction;
            context = context_of(above_size[0] + above_size[across] + west_size + far + corner_far +
                                 obc_distance(west, corner));
            corner_far = far;
        } else if (at < width) {
            context = has_west ? context_of(6u * west_size) : (uint8_t)OBC_FIRST_ALONE;
        } else {
            int32_t north = above[0], north_east = north;
            uint32_t total = above_size[0], terms = 1;
            corner_far = 0;
            if (column + 1u < width) {
                north_east = above[across];
                corner_far = obc_distance(north, north_east);
                total += above_size[across] + corner_far;
                terms = 3;
            }
            if (has_west) {
                total += west_size;
                terms++;
                if (at > width) {
                    int32_t corner = above[-across];
                    total += obc_distance(west, corner) + obc_distance(north, corner);
                    terms += 2u;
                    prediction = median(west, north, corner);
                }
            } else {
                prediction = north;
            }
            lean = 2 * (has_west ? west : north) + north + north_east - 4 * prediction;
            context = context_of(6u * total / terms);
        }
        context = split(context, lean);
        q = quantise(*z, prediction, step, zero);
        turn = -(int32_t)(lean < 0);
        size = obc_distance(q, prediction);
        row->context[column] = context;
        row->q[column] = (int16_t)q;
        row->residual[column] = (int16_t)(((q - prediction) ^ turn) - turn); /* the negative one if `turn` is -1 */
        row->size[column] = (uint8_t)(west_size = size < 31u ? size : 31u);
        west = q;
        z += across;
        above += across;
        above_size += across;
    }
}

typedef struct {
    uint16_t word;
    uint8_t raw_bits; /* that follow the word */
    uint32_t raw;
} symbol;

/* The symbol at `column`: a run of zeros, or one residual. Returns its blocks. */
static uint8_t symbol_at(const first_row *row, uint8_t column, uint8_t width, const uint16_t *words, symbol *s) {
    int32_t r = row->residual[column];
    uint32_t magnitude = obc_distance(r, 0);
    uint8_t context = row->context[column];
    words += OBC_FIRST_BASE + context * OBC_FIRST_SYMBOLS;
    s->raw_bits = 0;
    if (r == 0 && context < 2u) {
        uint8_t longest = context == 0u ? 4 : 2, length = 1;
        while (length < longest && column + length < width && row->residual[column + length] == 0) {
            length++;
        }
        if (length > 1u) {
            s->word = words[length == 4u ? OBC_FIRST_FOUR : OBC_FIRST_PAIR];
            return (uint8_t)(length & ~1u);
        }
    }
    if (magnitude <= OBC_FIRST_DIRECT) {
        s->word = words[OBC_FIRST_DIRECT + r];
    } else {
        uint8_t b = obc_bucket(magnitude - OBC_FIRST_DIRECT - 1u, &s->raw);
        s->word = words[2 * OBC_FIRST_DIRECT + 1 + b];
        s->raw = s->raw << 1 | (r < 0);
        s->raw_bits = (uint8_t)(b + 2u);
    }
    return 1;
}

uint8_t obc_code_first_row(obc_encoder *e, obc_slot *slot, const obc_place *at) {
    const obc_run *run = &at->run;
    int16_t *first = e->first[at->row % 3u] + run->column;
    uint32_t row_first = (uint32_t)(at->row >> (e->config.interleave_log2 == 2u)) * run->width;
    uint32_t room, allowed, near, spent = 0;
    uint16_t step;
    uint8_t index, column, begin, full = 0, smeared = 0;
    const uint16_t *words;
    first_row row;
    if (!obc_open_packet(e, slot, at)) {
        return 0;
    }
    index = obc_plane_index(slot->index, at->plane);
    step = obc_unit_step(index, 0);
    words = obc_words_of(index);
    room = obc_packet_room(slot);
    allowed = obc_rate_room(e, OBC_LAYER_FIRST);
    column = begin = (uint8_t)(slot->next - row_first);
    near = obc_unit_step(obc_coarser_index(e, index, at->plane), 0);
    near = near * (e->config.quota ? OBC_NEAR_QUOTA : OBC_NEAR) >> 8;
    quantise_row(e, run, begin, slot->next - slot->begin, first, step, near, &row);
    while (column < run->width) {
        symbol s;
        uint8_t blocks = symbol_at(&row, column, run->width, words, &s);
        uint32_t bits = spent + (s.word & 15u) + s.raw_bits;
        uint32_t least = e->least > blocks ? e->least - blocks : 0u;
        if (bits > room) {
            full = 1;
            break;
        }
        if (smeared < 2u && bits + 3u * least * (3u - smeared) / 16u > allowed) {
            quantise_row(e, run, column, slot->next - slot->begin, first, step, smeared ? UINT32_MAX : OBC_JUMP, &row);
            smeared++;
            continue;
        }
        if (bits > allowed) {
            obc_stop(e, OBC_LAYER_FIRST);
            break;
        }
        spent = bits;
        e->least = least;
        obc_put_word(slot, s.word);
        if (s.raw_bits) {
            obc_put(slot, s.raw, s.raw_bits);
        }
        slot->next += blocks;
        column = (uint8_t)(column + blocks);
    }
    obc_rate_count(e, spent, OBC_LAYER_FIRST, slot->index);
    for (; begin < column; begin++) {
        uint32_t x = (uint32_t)begin * run->across;
        first[x] = (int16_t)(row.q[begin] * step);
        e->above_q[run->parity][run->column + x] = row.q[begin];
        e->above_size[run->parity][run->column + x] = row.size[begin];
    }
    return full;
}
