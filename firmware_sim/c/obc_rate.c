/* Rate control of the streaming mode: the target index from what is left of the quota. onboard/stream.py, _Rate. */
#include "obc_internal.h"

uint8_t obc_rate_target(const obc_encoder *e, uint16_t row) {
    const obc_plane *luma = &e->plane[0];
    uint32_t quota = 8u * e->config.quota;
    uint64_t left = quota > e->spent ? quota - e->spent : 0u;
    uint64_t ahead = 0;
    uint64_t step;
    uint8_t layer, low = 0, high = OBC_MAX_INDEX;
    left = left * (uint32_t)(e->config.packet_size - OBC_PACKET_COST) / e->config.packet_size;
    for (layer = 0; layer < 2u; layer++) {
        uint32_t done = row > layer ? (uint32_t)row - layer : 0u;
        uint64_t prior = (uint64_t)OBC_PRIOR_ROWS * luma->columns * obc_prior_cost[layer];
        ahead += (prior + e->cost[layer]) / (OBC_PRIOR_ROWS + done) * (luma->rows - done);
    }
    step = ahead / (left ? left : 1u);
    while (low < high) { /* the finest index whose step is not below */
        uint8_t middle = (uint8_t)((low + high) / 2);
        if (obc_step[middle] < step) {
            low = (uint8_t)(middle + 1);
        } else {
            high = middle;
        }
    }
    return low;
}

uint8_t obc_rate_allows(const obc_encoder *e, uint32_t bits, uint8_t layer) {
    uint32_t row = e->plane[0].row;
    uint64_t reserve = layer ? (uint64_t)(e->bits_first / (row + 1u)) * (e->plane[0].rows - 1u - row) : 0u;
    return !e->config.quota || e->spent + bits + reserve <= 8u * e->config.quota;
}

void obc_rate_count(obc_encoder *e, uint32_t bits, uint8_t layer, uint8_t index) {
    e->spent += bits;
    e->cost[layer] += (uint64_t)bits * obc_step[index];
    if (layer == OBC_LAYER_FIRST) {
        e->bits_first += bits;
    }
}
