/* Rate control of the streaming mode: the target index from what is left of the quota. onboard/stream_rate.py. */
#include "obc_internal.h"

uint32_t obc_rate_room(const obc_encoder *e, uint8_t layer) {
    uint32_t held = e->spent + (layer ? e->reserve : 0u), quota = 8u * e->config.quota;
    return !quota ? UINT32_MAX - quota : (held < quota ? quota - held : 0u);
}

void obc_rate_count(obc_encoder *e, uint32_t bits, uint8_t layer, uint8_t index) {
    if (e->config.quota) {
        e->spent += bits;
        if (layer == OBC_LAYER_FIRST) { /* a row has less than 2^18 bits, a fall less than 2^9, three rows count */
            e->cost += bits * obc_fall(index > e->target ? index : e->target);
        }
    }
}

void obc_rate_begin(obc_encoder *e) {
    const obc_plane *luma = &e->plane[0];
    int32_t larger = (int32_t)obc_logarithm(UINT64_C(64) * luma->rows * luma->columns) - OBC_USUAL_SIZE;
    int32_t usual = (int32_t)obc_logarithm(UINT64_C(64) * luma->columns) - (e->planes == 1u ? OBC_GREY : 0);
    usual = 256 * usual - OBC_SIZE_FALL * larger;
    e->target = e->config.quota ? OBC_FIRST_TARGET : e->config.index;
    e->usual = (uint32_t)obc_power(usual > 0 ? (uint32_t)usual >> 8 : 0u);
    e->cost = (uint32_t)((uint64_t)OBC_USUAL_COST * e->usual >> 6);
}

/* Bits that layer 0 of the rows below `row` needs at least, so that there is no hole: hardly any symbols. */
static uint32_t least(const obc_encoder *e, uint32_t row) {
    uint32_t blocks = 0, more = row + 1u == e->plane[0].rows ? OBC_LEAST_LAST - 1u : 0u;
    uint32_t plane;
    for (plane = 0; plane < OBC_PLANES; plane++) { /* what the picture does not have has no columns */
        const obc_plane *p = &e->plane[plane];
        blocks += p->columns * (p->rows - (plane ? p->row : row + 1u) + (plane ? more : 0u));
    }
    return blocks / 2u;
}

/* That many bits of layer 0 with the packets that must be opened for them. */
static uint32_t with_packets(const obc_encoder *e, uint32_t bits) {
    uint32_t each = bits / e->layer_slots, slot;
    for (slot = 0; slot < e->layer_slots; slot++) {
        const obc_slot *s = &e->slot[slot];
        bits += s->open == OBC_OPEN && obc_packet_room(s) >= each ? 0u : OBC_OPEN_BITS;
    }
    return bits;
}

/* Bytes of parity that come with a source packet in the mean. */
static uint32_t parity_share(const obc_encoder *e) {
    const obc_config *c = &e->config;
    uint32_t share = 0, layer;
    for (layer = 0; layer < 2u; layer++) {
        share += c->parity[layer] ? (uint32_t)c->packet_size * c->parity[layer] / c->group[layer] : 0u;
    }
    return share / 2u;
}

/* Set the target to the finest index at which `left` rows of layer 0 and `more` of layer 1 fit; return what would be left
 * at the last index. Costs are in bits times 256, from half octave to half octave, along a line between two. `first`: of
 * a row of layer 0 at the coarsest index, below 2^27; it grows by a factor of six. Blocks are in 256ths, less than 2^22
 * with the usual ones, and cost less than 2^7: a picture of 2^13 rows stays below 2^44. */
static uint64_t set_target(obc_encoder *e, uint32_t left, uint32_t more, uint32_t share, uint32_t first, uint64_t have) {
    uint32_t scale = (share << 8) / e->weight, usual = e->usual * (256u - share);
    uint32_t blocks = 0, further = 0, half = OBC_HALVES, last = (e->last_index + OBC_HALF / 2u) / OBC_HALF;
    uint64_t before = 0, bits, unspent = 0;
    e->target = 0;
    while (half-- > 0u) {
        further += blocks;
        blocks += (e->detail[half] * scale >> 8) + (obc_usual_detail[half] * usual >> 16);
        if (half > OBC_MAX_INDEX / OBC_HALF) {
            continue;
        }
        bits = (uint64_t)first * left + (uint64_t)(OBC_DETAIL_BITS * blocks + OBC_HALF_BITS * further) * more;
        if (bits > have) {
            uint32_t coarser = OBC_HALF * (half + 1u);
            coarser -= before ? (uint32_t)(OBC_HALF * (have - before) / (bits - before)) : 0u;
            e->target = (uint8_t)(coarser < OBC_MAX_INDEX ? coarser : OBC_MAX_INDEX);
            break;
        }
        if (e->opened && half == last) {
            unspent = have - bits;
        }
        before = bits;
        first += first / 14u;
    }
    return unspent;
}

/* What rows so far weigh, when one more comes. */
static void forget(obc_encoder *e) {
    uint32_t half;
    e->weight = e->weight * OBC_KEEP >> 8;
    e->cost = (uint32_t)((uint64_t)e->cost * OBC_KEEP >> 8);
    for (half = 0; half < OBC_HALVES; half++) {
        e->detail[half] = e->detail[half] * OBC_KEEP >> 8;
    }
}

void obc_rate_aim(obc_encoder *e, uint16_t row) {
    uint32_t quota = 8u * e->config.quota, rows = e->plane[0].rows, left = rows - (uint32_t)row, below;
    uint32_t share = 128u + 128u * row / rows;
    uint64_t have = quota > e->spent ? quota - e->spent : 0u, cost, bits, unspent;
    e->weight += OBC_ROW;
    cost = ((uint64_t)e->cost * ((share << 8) / e->weight) >> 10) +
           ((uint64_t)OBC_USUAL_COST * e->usual * (256u - share) >> 14);
    have = have * (uint32_t)(e->config.packet_size - OBC_PACKET_COST) / (e->config.packet_size + parity_share(e));
    have = have * (256u * rows - OBC_CAUTION * left) / rows;
    unspent = set_target(e, left, left + (row > 0u), share, (uint32_t)((cost << 8) / obc_fall(OBC_MAX_INDEX)), have);
    e->held = unspent > (uint64_t)OBC_MUCH * quota ? 0u : 8u * OBC_CLOSE_BYTES;
    below = least(e, row);
    bits = cost * (left - 1u) / obc_fall(e->target);
    bits = bits > below ? bits : below;
    e->reserve = with_packets(e, bits < quota ? (uint32_t)bits : quota);
    e->least = 2u * with_packets(e, below + (uint32_t)e->plane[0].columns * OBC_LEAST_ROW / 2u);
    forget(e);
}
