/* Rate control of the streaming mode: the target index from what is left of the quota. onboard/stream_rate.py. */
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
    e->target = e->config.quota ? OBC_FIRST_TARGET : e->config.index;
    e->finer = OBC_CLOSE_FINER;
    for (layer = 0; layer < 2u; layer++) {
        e->recent[layer] = (uint64_t)obc_prior_cost[layer] * e->plane[0].columns;
    }
}

/* Logarithm of what a row usually costs: in a picture of that size, where G1 leaves as much as in the rows so far. */
static uint32_t usual(const obc_encoder *e, uint8_t layer, uint32_t row) {
    enum { FLOOR = 4096 }; /* keeps what is divided above 0 */
    const obc_plane *luma = &e->plane[0];
    uint32_t n = obc_logarithm((uint64_t)obc_prior_cost[layer] * luma->columns);
    int32_t energy = (int32_t)obc_logarithm(e->energy / (luma->columns * (row + 1u)) + OBC_LEAST_ENERGY);
    int32_t size = (int32_t)obc_logarithm(UINT64_C(64) * luma->rows);
    int32_t more = obc_energy_cost[layer] * (energy - OBC_USUAL_ENERGY) - obc_size_cost[layer] * (size - OBC_USUAL_SIZE);
    n += (uint32_t)(more + 256 * FLOOR) >> 8;
    return n > FLOOR ? n - FLOOR : 0u;
}

/* What a row to come is taken to cost: between what rows did so far and what is usual, by their logarithms. */
static uint64_t expected(obc_encoder *e, uint8_t layer, uint32_t row) {
    const obc_plane *luma = &e->plane[0];
    uint32_t done = row > layer ? row - layer : 0u, left = luma->rows - row, recent = OBC_RECENT_ROWS + done;
    uint32_t weight, so_far, n = usual(e, layer, row);
    if (!done) {
        return obc_power(n);
    }
    e->recent[layer] = (3u * e->recent[layer] + e->cost[layer] - e->seen[layer]) / 4u;
    e->seen[layer] = e->cost[layer];
    so_far = obc_logarithm((left * (e->cost[layer] / done) + recent * e->recent[layer]) / (left + recent));
    so_far = so_far + OBC_CALM > n ? so_far : n - OBC_CALM;
    weight = obc_own_first[layer] + obc_own_more[layer] * done / luma->rows;
    weight = weight < 256u ? weight : 256u;
    n = (256u - weight) * n + weight * so_far;
    return obc_power(n >> 8) * (256u + OBC_CAUTION * left / luma->rows) / 256u;
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

/* Bits of rows of that cost at an index. A quota has less than 2^31 bits, a fall and a row's share of its cost less than
 * 2^16 and 2^47: 2^13 rows of that stay below 2^61. */
static uint64_t bits_at(uint8_t index, uint64_t first, uint64_t rest) {
    return first / obc_fall(OBC_LAYER_FIRST, index) + rest / obc_fall(OBC_LAYER_REST, index);
}

void obc_rate_aim(obc_encoder *e, uint16_t row) {
    uint32_t quota = 8u * e->config.quota, rows = e->plane[0].rows, left = rows - (uint32_t)row, below;
    uint64_t first = expected(e, OBC_LAYER_FIRST, row), rest = expected(e, OBC_LAYER_REST, row), bits;
    uint64_t have = quota > e->spent ? quota - e->spent : 0u;
    uint8_t low = 0, high = OBC_MAX_INDEX;
    have = have * (uint32_t)(e->config.packet_size - OBC_PACKET_COST) / (e->config.packet_size + parity_share(e));
    rest *= left + (row > 0u);
    while (low < high) { /* the finest index at which what is to come fits */
        uint8_t middle = (uint8_t)((low + high) / 2);
        if (bits_at(middle, first * left, rest) > have) {
            low = (uint8_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    e->target = low;
    e->finer = OBC_CLOSE_FINER;
    if (e->opened && 256u * left < OBC_LATE_ROWS * rows &&
        bits_at(e->last_index, first * left, rest) + (uint64_t)OBC_UNUSED * quota / 256u < have) {
        e->finer = OBC_LATE_FINER;
    }
    below = least(e, row);
    bits = first * (left - 1u) / obc_fall(OBC_LAYER_FIRST, low);
    bits = bits > below ? bits : below;
    e->reserve = with_packets(e, bits < quota ? (uint32_t)bits : quota);
    e->least = 2u * with_packets(e, below + (uint32_t)e->plane[0].columns * OBC_LEAST_ROW / 2u);
}
