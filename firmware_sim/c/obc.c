/* The encoder's calls: rows in, coding a stripe's row at a time, packets out. onboard/stream.py is the reference. */
#include "obc.h"

#include <string.h>

#include "obc_internal.h"

#if OBC_DSP
#include <arm_acle.h>
#endif

#if OBC_MAX_PACKET < OBC_MIN_PACKET || OBC_MAX_PACKET > 65535 || OBC_MAX_WIDTH < 1 || OBC_MAX_WIDTH > OBC_MAX_SIDE
#error "OBC_MAX_PACKET or OBC_MAX_WIDTH is out of range"
#endif
#if OBC_MAX_SCALE_LOG2 > OBC_MAX_STREAM_SCALE_LOG2 || OBC_MAX_INTERLEAVE_LOG2 > 2
#error "OBC_MAX_SCALE_LOG2 or OBC_MAX_INTERLEAVE_LOG2 is above 2"
#endif

enum { JOB_STEPS = 3, MAGIC = 0xBC };

static const uint16_t *words_of(uint8_t plane_index) {
    return obc_words[(plane_index >= obc_set_limits[0]) + (plane_index >= obc_set_limits[1])];
}

/* --- one row of a stripe ----------------------------------------------------------------------------------------- */

typedef struct {
    obc_run run;
    uint16_t row;
    uint8_t plane, layer, phase, stripe, is_last;
} place;

typedef struct { /* where a slot's bits end */
    uint32_t end;
    uint8_t acc, fill;
} mark;

static mark mark_of(const obc_slot *slot) {
    mark m;
    m.end = slot->end;
    m.acc = slot->acc;
    m.fill = slot->fill;
    return m;
}

static void return_to(obc_slot *slot, const mark *m) {
    slot->end = m->end;
    slot->acc = m->acc;
    slot->fill = m->fill;
}

static uint32_t bits_since(const obc_slot *slot, const mark *m) {
    return 8u * (slot->end - m->end) + slot->fill - m->fill;
}

static uint8_t fits(const obc_slot *slot) {
    return 8u * slot->end + slot->fill <= 8u * slot->limit;
}

/* Layer 0 of a row of a stripe. 1 when the packet is full and must go. */
static uint8_t code_first_run(obc_encoder *e, obc_slot *slot, const place *at) {
    const obc_run *run = &at->run;
    int16_t *first = e->first[at->row % 3u] + run->column;
    int16_t q[OBC_STRIPE] = {0};
    uint8_t size[OBC_STRIPE] = {0}, column, begin, i;
    uint32_t row_first = (uint32_t)(at->row >> (e->config.interleave_log2 == 2u)) * run->width;
    if (obc_open_packet(e, slot, &e->plane[at->plane], at->plane, at->layer, at->phase, at->stripe)) {
        uint8_t index = obc_plane_index(slot->index, at->plane);
        const uint16_t *words = words_of(index);
        uint16_t step = obc_unit_step(index, 0);
        column = begin = (uint8_t)(slot->next - row_first);
        for (i = begin; i < run->width; i++) {
            int32_t z = first[i * run->across];
            uint32_t m = ((uint32_t)(z < 0 ? -z : z) + (step >> 1)) / step;
            q[i] = (int16_t)(z < 0 ? -(int32_t)m : (int32_t)m);
        }
        while (column < run->width) {
            mark m = mark_of(slot);
            uint8_t blocks = obc_code_first(e, slot, run, words, q, size, column);
            uint32_t bits = bits_since(slot, &m);
            if (!fits(slot)) {
                return_to(slot, &m);
                return 1;
            }
            if (!obc_rate_allows(e, bits, at->layer)) {
                return_to(slot, &m);
                obc_stop(e, at->layer);
                return 0;
            }
            obc_rate_count(e, bits, at->layer, slot->index);
            slot->next += blocks;
            for (; blocks > 0u; blocks--, column++) {
                first[column * run->across] = (int16_t)(q[column] * step);
            }
        }
        for (i = begin; i < column; i++) {
            e->above_q[run->parity][run->column + i * run->across] = q[i];
            e->above_size[run->parity][run->column + i * run->across] = size[i];
        }
    }
    return 0;
}

/* What the first latents around foretell of latents 2 to 8. */
static void predict(const obc_encoder *e, const obc_plane *plane, uint16_t row, uint16_t x, int16_t *prediction) {
    uint16_t north = (uint16_t)(row > 0u ? row - 1u : 0u);
    uint16_t south = (uint16_t)(row + 1u < plane->rows ? row + 1u : row);
    uint16_t west = (uint16_t)(x > 0u ? x - 1u : 0u), east = (uint16_t)(x + 1u < plane->columns ? x + 1u : x);
    const int16_t *above = e->first[north % 3u] + plane->base, *own = e->first[row % 3u] + plane->base;
    const int16_t *below = e->first[south % 3u] + plane->base;
    int16_t around[8];
    uint32_t k;
    around[0] = above[west];
    around[1] = above[x];
    around[2] = above[east];
    around[3] = own[west];
    around[4] = own[east];
    around[5] = below[west];
    around[6] = below[x];
    around[7] = below[east];
#if OBC_DSP
    {
        uint32_t pair[4];
        memcpy(pair, around, sizeof pair);
        for (k = 0; k < OBC_UNITS; k++) {
            int32_t sum = 128 + obc_prediction_own[k] * own[x];
            sum = __smlad((int16x2_t)pair[0], (int16x2_t)obc_prediction[k][0], sum);
            sum = __smlad((int16x2_t)pair[1], (int16x2_t)obc_prediction[k][1], sum);
            sum = __smlad((int16x2_t)pair[2], (int16x2_t)obc_prediction[k][2], sum);
            sum = __smlad((int16x2_t)pair[3], (int16x2_t)obc_prediction[k][3], sum);
            prediction[k] = obc_clamp16(sum >> 8);
        }
    }
#else
    for (k = 0; k < OBC_UNITS; k++) {
        int32_t sum = 128 + obc_prediction[k][8] * own[x];
        uint32_t i;
        for (i = 0; i < 8u; i++) {
            sum += obc_prediction[k][i] * around[i];
        }
        prediction[k] = obc_clamp16(sum >> 8);
    }
#endif
}

/* Quantise latents 2 to 8 of a candidate; 1 when they are worth their bits. */
static uint8_t quantise_rest(const int16_t *latents, const int16_t *prediction, const uint16_t *steps, uint64_t worth,
                             int16_t *q) {
    int64_t gain = 0;
    uint32_t bits = 4;
    uint8_t k;
    for (k = 0; k < OBC_UNITS; k++) {
        int32_t z = latents[k], off = z - prediction[k], step = steps[k];
        uint32_t m = ((uint32_t)(off < 0 ? -off : off) + ((uint32_t)step * OBC_DEAD_ZONE >> 8)) / (uint32_t)step;
        uint32_t size;
        int32_t left;
        q[k] = (int16_t)(off < 0 ? -(int32_t)m : (int32_t)m);
        for (size = m; size > 0u; size >>= 1) {
            bits += 2u;
        }
        left = off - q[k] * step;
        gain += (int64_t)(z * z) - left * left;
    }
    return gain > (int64_t)((worth * bits) >> 8);
}

/* Block `n` of a stripe: from the row at hand or from those that wait. Its latents; 0 when it is no candidate. */
static uint8_t fetch(const obc_encoder *e, const place *at, uint32_t n, uint32_t row_first, int16_t *prediction,
                     const int16_t **latents) {
    const obc_waiting *w = &e->waiting[at->plane][at->phase];
    uint16_t x;
    if (n < row_first) {
        uint32_t i = n + w->count - row_first;
        memcpy(prediction, w->prediction[i], sizeof w->prediction[i]);
        *latents = w->latents[i];
        return w->candidate[i];
    }
    x = (uint16_t)(at->run.column + (n - row_first) * at->run.across);
    *latents = e->rest[at->row & 1u][x];
    if (!e->candidate[at->row & 1u][x]) {
        return 0;
    }
    predict(e, &e->plane[at->plane], at->row, (uint16_t)(x - e->plane[at->plane].base), prediction);
    return 1;
}

/* Keep the blocks of a quad that reaches into the next row. */
static void keep_waiting(obc_encoder *e, const place *at, uint32_t begin, uint32_t row_first) {
    obc_waiting *w = &e->waiting[at->plane][at->phase];
    uint32_t n, end = row_first + at->run.width;
    uint8_t kept = 0;
    for (n = begin; n < end; n++, kept++) {
        int16_t prediction[7];
        const int16_t *latents;
        w->candidate[kept] = fetch(e, at, n, row_first, prediction, &latents);
        if (w->candidate[kept]) {
            memmove(w->latents[kept], latents, sizeof w->latents[kept]);
            memcpy(w->prediction[kept], prediction, sizeof prediction);
        }
    }
    w->count = kept;
}

/* Send the last group-2 block of some to group 1; 0 when there is none. */
static uint8_t thin(uint8_t *group, uint8_t blocks) {
    while (blocks > 0u) {
        if (group[--blocks]) {
            group[blocks] = 0;
            return 1;
        }
    }
    return 0;
}

/* Layer 1 of a row of a stripe, as far as its quads are complete. 1 when the packet is full and must go. */
static uint8_t code_rest_run(obc_encoder *e, obc_slot *slot, const place *at) {
    const obc_run *run = &at->run;
    uint32_t row_first = (uint32_t)(at->row >> (e->config.interleave_log2 == 2u)) * run->width;
    uint32_t end = row_first + run->width, n;
    uint8_t group[OBC_RUN_BLOCKS], i = 0;
    if (end < run->total) {
        end &= ~(uint32_t)(OBC_QUAD - 1);
    }
    if (slot->next < end && obc_open_packet(e, slot, &e->plane[at->plane], at->plane, at->layer, at->phase, at->stripe)) {
        uint8_t index = obc_plane_index(slot->index, at->plane), k;
        const uint16_t *words = words_of(index);
        uint64_t worth = obc_unit_step(obc_plane_index(e->target, at->plane), 1);
        uint16_t steps[OBC_UNITS];
        worth = worth * worth * OBC_PRICE;
        for (k = 0; k < OBC_UNITS; k++) {
            steps[k] = obc_unit_step(index, (uint8_t)(k + 1u));
        }
        for (n = slot->next; n < end; n++, i++) {
            int16_t prediction[7];
            const int16_t *latents;
            group[i] = fetch(e, at, n, row_first, prediction, &latents) &&
                       quantise_rest(latents, prediction, steps, worth, e->scratch[i]);
        }
        i = 0;
        while (slot->next < end) {
            mark m = mark_of(slot);
            uint8_t old[4 * OBC_QUAD], blocks, fit;
            uint32_t bits;
            blocks = obc_code_rest(e, slot, run, words, group + i, e->scratch + i, (uint8_t)(end - slot->next), old);
            bits = bits_since(slot, &m);
            fit = fits(slot);
            if (fit && obc_rate_allows(e, bits, at->layer)) {
                obc_rate_count(e, bits, at->layer, slot->index);
                slot->next += blocks;
                i = (uint8_t)(i + blocks);
                continue;
            }
            return_to(slot, &m);
            if (!fit && !obc_is_empty(slot)) {
                return 1;
            }
            obc_restore_count(e, slot, run, old, blocks);
            if (!thin(group + i, blocks)) {
                obc_stop(e, at->layer);
                return 0;
            }
        }
    }
    if (at->is_last && !e->stopped[at->layer]) {
        keep_waiting(e, at, slot->next, row_first);
    }
    return 0;
}

/* --- calls ------------------------------------------------------------------------------------------------------- */

static uint32_t ceil_shift(uint32_t n, uint32_t log2) {
    return (n + (UINT32_C(1) << log2) - 1u) >> log2;
}

obc_status obc_reset(obc_encoder *e, const obc_config *config) {
    uint32_t base = 0, slots = 0, across, width, packet_size;
    uint8_t i, planes;
    if (!e || !config) {
        return OBC_ERROR_NULL;
    }
    memset(e, 0, sizeof *e);
    width = config->width;
    packet_size = config->packet_size;
    if (width < 1u || width > OBC_MAX_WIDTH || config->height < 1u || packet_size < OBC_MIN_PACKET ||
        packet_size > OBC_MAX_PACKET ||
        (config->quota && (config->quota < OBC_MIN_PACKET || config->quota > OBC_MAX_QUOTA)) ||
        config->index > OBC_MAX_INDEX || config->scale_log2 > OBC_MAX_SCALE_LOG2 ||
        config->interleave_log2 > OBC_MAX_INTERLEAVE_LOG2 ||
        config->format > (OBC_COLOUR ? OBC_RGB888 : OBC_GREY8)) {
        return OBC_ERROR_CONFIG;
    }
    e->config = *config;
    e->target = config->index;
    planes = config->format == OBC_RGB888 ? 3 : 1;
    across = config->interleave_log2 ? 1 : 0;
    for (i = 0; i < planes; i++) {
        obc_plane *p = &e->plane[i];
        uint32_t log2 = (uint32_t)config->scale_log2 + (i > 0u);
        p->width = (uint16_t)ceil_shift(config->width, log2);
        p->height = (uint16_t)ceil_shift(config->height, log2);
        p->columns = (uint16_t)ceil_shift(p->width, 3);
        p->rows = (uint16_t)ceil_shift(p->height, 3);
        p->stripes = (uint16_t)((ceil_shift(p->columns, across) + OBC_STRIPE - 1u) / OBC_STRIPE);
        p->base = (uint16_t)base;
        p->slots = (uint16_t)slots;
        base += p->columns;
        slots += p->stripes;
    }
    e->phase_slots = (uint16_t)slots;
    e->layer_slots = (uint16_t)(slots << config->interleave_log2);
    e->planes = planes;
    obc_rate_begin(e);
    e->magic = MAGIC;
    return OBC_OK;
}

obc_status obc_sink_rows(obc_encoder *e, const uint8_t *rows, size_t stride, uint16_t count) {
    uint32_t due, block_rows;
    if (!e || !rows) {
        return OBC_ERROR_NULL;
    }
    if (e->magic != MAGIC || e->ended || e->rows_seen == e->config.height) {
        return OBC_ERROR_STATE;
    }
    due = (uint32_t)e->config.height - e->rows_seen;
    if (count != (due < 8u ? due : 8u) || stride < (size_t)e->config.width * (e->planes == 3u ? 3u : 1u)) {
        return OBC_ERROR_ROWS;
    }
    if (e->job_plane < e->job_planes) {
        return OBC_BUSY;
    }
    if (e->config.quota && ((uint32_t)e->rows_seen >> e->config.scale_log2) % 8u == 0u) {
        e->target = obc_rate_target(e, e->plane[0].row);
    }
    e->rows_seen = (uint16_t)(e->rows_seen + count);
    block_rows = ceil_shift(e->rows_seen, e->config.scale_log2);
    e->row_done = block_rows % 8u == 0u || count == due;
    if (e->row_done) {
        e->job_plane = e->job_step = e->job_phase = e->job_stripe = 0;
        e->job_planes = e->planes == 3u && (e->plane[0].row % 2u || count == due) ? 3 : 1;
    }
    obc_take_rows(e, rows, stride, count);
    return OBC_OK;
}

/* Code on where the last call stopped. 1 when a slot's packet must go, 0 when the rows at hand are done. */
static uint8_t work(obc_encoder *e, obc_slot **full) {
    uint8_t split = e->config.interleave_log2 == 2u, across = e->config.interleave_log2 > 0u;
    for (; e->job_plane < e->job_planes; e->job_plane++, e->job_step = 0) {
        const obc_plane *p = &e->plane[e->job_plane];
        for (; e->job_step < JOB_STEPS; e->job_step++, e->job_phase = 0) {
            uint16_t row = (uint16_t)(p->row - (e->job_step == 1u));
            if ((e->job_step == 1u && p->row == 0u) || (e->job_step == 2u && p->row + 1u < p->rows)) {
                continue;
            }
            for (; e->job_phase >> e->config.interleave_log2 == 0u; e->job_phase++, e->job_stripe = 0) {
                uint8_t parity = split ? e->job_phase >> 1 : 0, shift = across ? e->job_phase & 1u : 0;
                uint32_t columns = (p->columns - shift + (uint32_t)across) >> across;
                uint32_t rows = (p->rows - parity + (uint32_t)split) >> split;
                if (split && (row & 1u) != parity) {
                    continue;
                }
                for (; (uint32_t)e->job_stripe * OBC_STRIPE < columns; e->job_stripe++) {
                    place at;
                    obc_slot *slot;
                    int far;
                    uint32_t left = columns - (uint32_t)e->job_stripe * OBC_STRIPE;
                    at.plane = e->job_plane;
                    at.layer = e->job_step > 0u;
                    at.phase = e->job_phase;
                    at.stripe = e->job_stripe;
                    at.row = row;
                    at.is_last = left <= OBC_STRIPE;
                    at.run.width = (uint8_t)(left < OBC_STRIPE ? left : OBC_STRIPE);
                    at.run.total = at.run.width * rows;
                    at.run.across = (uint8_t)(1u + across);
                    at.run.parity = parity;
                    at.run.column = (uint16_t)(p->base + shift + ((uint32_t)e->job_stripe * OBC_STRIPE << across));
                    slot = &e->slot[at.layer * e->layer_slots + e->job_phase * e->phase_slots + p->slots + at.stripe];
                    far = (int)e->target - (int)slot->index;
                    if ((slot->open && !obc_is_empty(slot) && (far >= OBC_CLOSE_COARSER || far <= -OBC_CLOSE_FINER)) ||
                        (at.layer ? code_rest_run(e, slot, &at) : code_first_run(e, slot, &at))) {
                        *full = slot;
                        return 1;
                    }
                }
            }
        }
    }
    return 0;
}

obc_status obc_poll_packet(obc_encoder *e, const uint8_t **packet, uint16_t *size) {
    obc_slot *full;
    if (!e || !packet || !size) {
        return OBC_ERROR_NULL;
    }
    *packet = NULL;
    *size = 0;
    if (e->magic != MAGIC) {
        return OBC_ERROR_STATE;
    }
    if (e->job_plane < e->job_planes) {
        uint8_t i;
        if (work(e, &full)) {
            return obc_emit(e, full, packet, size);
        }
        for (i = 0; i < e->job_planes; i++) {
            e->plane[i].row++;
        }
        e->job_plane = e->job_planes = 0;
    }
    return e->ended ? obc_flush(e, packet, size) : OBC_EMPTY;
}

obc_status obc_finish(obc_encoder *e) {
    if (!e) {
        return OBC_ERROR_NULL;
    }
    if (e->magic != MAGIC) {
        return OBC_ERROR_STATE;
    }
    e->ended = 1;
    return OBC_OK;
}
