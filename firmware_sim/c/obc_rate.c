/* Rate control of the streaming mode: the target index from what is left of the quota. onboard/stream.py, _Rate. */
#include "obc_internal.h"

uint32_t obc_rate_room(const obc_encoder *e, uint8_t layer) {
    uint32_t held = e->spent + (layer ? e->reserve : 0u), quota = 8u * e->config.quota;
    return !quota ? UINT32_MAX - quota : (held < quota ? quota - held : 0u);
}

void obc_rate_count(obc_encoder *e, uint32_t bits, uint8_t layer, uint8_t index) {
    if (e->config.quota) {
        e->spent += bits;
        e->cost[layer] += (uint64_t)bits * obc_fall(layer, index > e->target ? index : e->target);
    }
}

void obc_rate_begin(obc_encoder *e) {
    uint8_t layer;
    for (layer = 0; layer < 2u; layer++) {
        e->recent[layer] = (uint64_t)obc_prior_cost[layer] * e->plane[0].columns;
    }
}

/* What a row to come is taken to cost: between what rows did so far and what is usual, by their logarithms. */
static uint64_t expected(obc_encoder *e, uint8_t layer, uint32_t row) {
    const obc_plane *luma = &e->plane[0];
    uint32_t done = row > layer ? row - layer : 0u, left = luma->rows - row, weight, n;
    uint64_t prior = (uint64_t)obc_prior_cost[layer] * luma->columns, own;
    if (!done) {
        return prior;
    }
    e->recent[layer] = (3u * e->recent[layer] + e->cost[layer] - e->seen[layer]) / 4u;
    e->seen[layer] = e->cost[layer];
    own = (left * (e->cost[layer] / done) + OBC_RECENT_ROWS * e->recent[layer]) / (left + OBC_RECENT_ROWS);
    own = own > prior / OBC_CALM ? own : prior / OBC_CALM;
    weight = OBC_OWN_FIRST + OBC_OWN_MORE * done / luma->rows;
    n = (256u - weight) * obc_logarithm(prior) + weight * obc_logarithm(own);
    return obc_power(n >> 8) * (256u + OBC_CAUTION * left / luma->rows) / 256u;
}

/* Bits that layer 0 of the rows below `row` needs at least, so that there is no hole: hardly any symbols. */
static uint32_t least(const obc_encoder *e, uint32_t row) {
    uint32_t blocks = 0;
    uint32_t plane;
    for (plane = 0; plane < OBC_PLANES; plane++) { /* what the picture does not have has no columns */
        const obc_plane *p = &e->plane[plane];
        blocks += p->columns * (p->rows - (plane ? p->row : row + 1u));
    }
    return blocks / 2u;
}

/* That many bits of layer 0 with the packets that must be opened for them. */
static uint32_t with_packets(const obc_encoder *e, uint32_t bits) {
    uint32_t each = bits / e->layer_slots, slot;
    for (slot = 0; slot < e->layer_slots; slot++) {
        const obc_slot *s = &e->slot[slot];
        bits += s->open && obc_packet_room(s) >= each ? 0u : OBC_OPEN_BITS;
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

uint8_t obc_rate_target(obc_encoder *e, uint16_t row) {
    uint32_t quota = 8u * e->config.quota, left = e->plane[0].rows - (uint32_t)row, below;
    uint64_t first = expected(e, OBC_LAYER_FIRST, row), rest = expected(e, OBC_LAYER_REST, row), bits;
    uint64_t have = quota > e->spent ? quota - e->spent : 0u;
    uint8_t low = 0, high = OBC_MAX_INDEX;
    have = have * (uint32_t)(e->config.packet_size - OBC_PACKET_COST) / (e->config.packet_size + parity_share(e));
    rest *= left + (row > 0u);
    while (low < high) { /* the finest index at which what is to come fits */
        uint8_t middle = (uint8_t)((low + high) / 2);
        if (first * left / obc_fall(OBC_LAYER_FIRST, middle) + rest / obc_fall(OBC_LAYER_REST, middle) > have) {
            low = (uint8_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    below = least(e, row);
    bits = first * (left - 1u) / obc_fall(OBC_LAYER_FIRST, low);
    bits = bits > below ? bits : below;
    e->reserve = with_packets(e, bits < quota ? (uint32_t)bits : quota);
    e->least = 2u * with_packets(e, below + (uint32_t)e->plane[0].columns * OBC_LEAST_ROW / 2u);
    return low;
}
