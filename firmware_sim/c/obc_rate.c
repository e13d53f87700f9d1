/* Rate control of the streaming mode: the target index from what is left of the quota. onboard/stream.py, _Rate. */
#include "obc_internal.h"

void obc_rate_begin(obc_encoder *e) {
    uint8_t layer;
    for (layer = 0; layer < 2u; layer++) {
        e->recent[layer] = (uint64_t)obc_prior_cost[layer] * e->plane[0].columns;
    }
}

uint8_t obc_rate_target(obc_encoder *e, uint16_t row) {
    const obc_plane *luma = &e->plane[0];
    uint32_t quota = 8u * e->config.quota, prior_rows = OBC_PRIOR_ROWS + luma->rows / OBC_PRIOR_SHARE;
    uint64_t left = quota > e->spent ? quota - e->spent : 0u;
    uint64_t mean[2], first, rest;
    uint8_t layer, low = 0, high = OBC_MAX_INDEX;
    left = left * (uint32_t)(e->config.packet_size - OBC_PACKET_COST) / e->config.packet_size;
    for (layer = 0; layer < 2u; layer++) {
        uint32_t done = row > layer ? (uint32_t)row - layer : 0u;
        uint64_t prior = (uint64_t)obc_prior_cost[layer] * luma->columns;
        if (done) {
            e->recent[layer] = (3u * e->recent[layer] + e->cost[layer] - e->seen[layer]) / 4u;
            e->seen[layer] = e->cost[layer];
        }
        mean[layer] = (prior_rows * prior + e->cost[layer]) / (prior_rows + done);
        if (mean[layer] < e->recent[layer]) {
            mean[layer] = e->recent[layer];
        }
    }
    rest = mean[OBC_LAYER_REST] * (luma->rows - (row ? row - 1u : 0u));
    first = mean[OBC_LAYER_FIRST] * ((uint32_t)luma->rows - row);
    while (low < high) { /* the finest index at which what is to come fits */
        uint8_t middle = (uint8_t)((low + high) / 2);
        if (first / obc_fall(OBC_LAYER_FIRST, middle) + rest / obc_fall(OBC_LAYER_REST, middle) > left) {
            low = (uint8_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    first = mean[OBC_LAYER_FIRST] * (luma->rows - 1u - row) / obc_fall(OBC_LAYER_FIRST, low);
    e->reserve = first < quota ? (uint32_t)first : quota;
    return low;
}
