/* What a quantiser index means: steps, table sets, how many bits to expect. FORMAT.md section 6.1. */
#include "obc_internal.h"

uint64_t obc_power(uint32_t n) {
    return (uint64_t)obc_step[n % OBC_OCTAVE] << (n / OBC_OCTAVE);
}

uint32_t obc_logarithm(uint64_t value) {
    uint32_t n = 0, i = 1;
    while (value >= obc_step[OBC_OCTAVE]) {
        value >>= 1;
        n += OBC_OCTAVE;
    }
    while (i < OBC_OCTAVE && value >= obc_step[i]) {
        i++;
    }
    return n + i - 1u;
}

uint32_t obc_fall(uint32_t index) {
    return (uint32_t)obc_power(13u * index / 32u);
}

uint8_t obc_plane_index(uint8_t index, uint8_t plane) {
    int shifted = plane ? (int)index + OBC_CHROMA_OFFSET : (int)index;
    return (uint8_t)(shifted < 0 ? 0 : (shifted > OBC_MAX_INDEX ? OBC_MAX_INDEX : shifted));
}

uint8_t obc_coarser_index(const obc_encoder *e, uint8_t plane_index, uint8_t plane) {
    uint8_t wanted = obc_plane_index(e->target, plane);
    return wanted > plane_index ? wanted : plane_index;
}

const uint16_t *obc_words_of(uint8_t plane_index) {
    return obc_words[(plane_index >= obc_set_limits[0]) + (plane_index >= obc_set_limits[1])];
}
