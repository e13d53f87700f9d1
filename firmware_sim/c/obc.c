/* The encoder's calls: rows in, coding a stripe's row at a time, packets out. onboard/stream.py is the reference. */
#include "obc.h"

#include <string.h>

#include "obc_internal.h"

#if OBC_MAX_PACKET < OBC_MIN_PACKET || OBC_MAX_PACKET > 65535 || OBC_MAX_WIDTH < 1 || OBC_MAX_WIDTH > OBC_MAX_SIDE
#error "OBC_MAX_PACKET or OBC_MAX_WIDTH is out of range"
#endif
#if OBC_MAX_SCALE_LOG2 > OBC_MAX_STREAM_SCALE_LOG2 || OBC_MAX_INTERLEAVE_LOG2 > 2
#error "OBC_MAX_SCALE_LOG2 or OBC_MAX_INTERLEAVE_LOG2 is above 2"
#endif
#if OBC_MAX_PARITY < 0 || OBC_MAX_PARITY > 16
#error "OBC_MAX_PARITY is not 0 to 16"
#endif

#if OBC_HALVES != 34
#error "obc_encoder.detail has not as many half octaves as the model"
#endif

enum { JOB_STEPS = 3, MAGIC = 0xBC };

static uint32_t ceil_shift(uint32_t n, uint32_t log2) {
    return (n + (UINT32_C(1) << log2) - 1u) >> log2;
}

/* Whether a configuration is in range, and within what memory is kept for. */
static int fits(const obc_config *config) {
    uint32_t width = config->width, packet_size = config->packet_size;
    uint8_t i;
    if (width < 1u || width > OBC_MAX_WIDTH || config->height < 1u || packet_size < OBC_MIN_PACKET ||
        packet_size > OBC_MAX_PACKET ||
        (config->quota && (config->quota < OBC_MIN_PACKET || config->quota > OBC_MAX_QUOTA)) ||
        config->index > OBC_MAX_INDEX || config->scale_log2 > OBC_MAX_SCALE_LOG2 ||
        config->interleave_log2 > OBC_MAX_INTERLEAVE_LOG2 ||
        config->format > (OBC_COLOUR ? OBC_RGB565BE : OBC_GREY8)) {
        return 0;
    }
    for (i = 0; i < 2u; i++) {
        if (config->parity[i] > OBC_MAX_PARITY ||
            (config->parity[i] && (packet_size < OBC_MIN_PACKET + OBC_ENTRY_BYTES + OBC_PARITY_EXCESS ||
                                   config->group[i] < 1u || config->group[i] + config->parity[i] > OBC_MAX_GROUP))) {
            return 0;
        }
    }
    return 1;
}

OBC_ONCE obc_status obc_reset_sized(obc_encoder *e, size_t size, const obc_config *given) {
    obc_config settings;
    const obc_config *config = &settings;
    uint32_t base = 0, slots = 0, across;
    uint8_t i, planes;
    if (!e || !given) {
        return OBC_ERROR_NULL;
    }
    if (size != sizeof *e) {
        return OBC_ERROR_CONFIG; /* before anything is written: the caller's may be smaller */
    }
    settings = *given; /* which may be those of the encoder */
    memset(e, 0, sizeof *e);
    if (!fits(config)) {
        return OBC_ERROR_CONFIG;
    }
    e->config = settings;
    planes = config->format == OBC_GREY8 ? 1 : 3;
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
#if OBC_MAX_PARITY
    obc_parity_begin(e);
#endif
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
    if (count != (due < 8u ? due : 8u) || stride < (size_t)e->config.width * obc_sample_bytes(e->config.format)) {
        return OBC_ERROR_ROWS;
    }
    if (e->job_plane < e->job_planes) {
        return OBC_BUSY;
    }
#if OBC_MAX_PARITY
    if (e->due) {
        return OBC_BUSY;
    }
#endif
    e->rows_seen = (uint16_t)(e->rows_seen + count);
    block_rows = ceil_shift(e->rows_seen, e->config.scale_log2);
    e->row_done = block_rows % 8u == 0u || count == due;
    if (e->row_done) {
        e->job_plane = e->job_step = e->job_phase = 0;
        e->job_stripe = 0;
        e->job_planes = e->planes == 3u && (e->plane[0].row % 2u || count == due) ? 3 : 1;
    }
    obc_take_rows(e, rows, stride, count);
    if (e->config.quota && e->row_done) {
        obc_rate_aim(e, e->plane[0].row);
    }
    return OBC_OK;
}

/* Whether the target is so far from the packet's index that another packet is worth its header. */
static uint8_t is_far(const obc_encoder *e, const obc_slot *slot) {
    int far = (int)e->target - (int)slot->index;
    return e->plane[0].rows > e->plane[0].row + OBC_CLOSE_ROWS &&
           (far >= OBC_CLOSE_COARSER || (far <= -OBC_CLOSE_FINER && obc_bits(slot) >= e->held));
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
                    obc_place at;
                    obc_slot *slot;
                    uint32_t left = columns - (uint32_t)e->job_stripe * OBC_STRIPE;
                    at.plane = e->job_plane;
                    at.layer = e->job_step > 0u;
                    at.phase = e->job_phase;
                    at.stripe = (uint8_t)e->job_stripe;
                    at.row = row;
                    at.is_last = left <= OBC_STRIPE;
                    at.run.width = (uint8_t)(left < OBC_STRIPE ? left : OBC_STRIPE);
                    at.run.total = at.run.width * rows;
                    at.run.across = (uint8_t)(1u + across);
                    at.run.parity = parity;
                    at.run.column = (uint16_t)(p->base + shift + ((uint32_t)e->job_stripe * OBC_STRIPE << across));
                    slot = &e->slot[at.layer * e->layer_slots + e->job_phase * e->phase_slots + p->slots + at.stripe];
                    if ((slot->open && !obc_is_empty(slot) && is_far(e, slot)) ||
                        (at.layer ? obc_code_rest_row(e, slot, &at) : obc_code_first_row(e, slot, &at))) {
                        *full = slot;
                        return 1;
                    }
                    if (row + (UINT32_C(1) << split) >= p->rows) {
                        obc_complete(e, slot, at.layer);
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
#if OBC_MAX_PARITY
    if (e->due) {
        return obc_parity_poll(e, packet, size);
    }
    if (e->leaving) {
        uint16_t number = (uint16_t)(e->leaving - 1u);
        e->leaving = 0;
        return obc_emit(e, &e->slot[number], number >= e->layer_slots, packet, size);
    }
#endif
    if (e->job_plane < e->job_planes) {
        uint8_t i;
        if (work(e, &full)) {
            return obc_emit(e, full, (uint8_t)(e->job_step > 0u), packet, size);
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
