/* What the encoder's files share. Not for callers. */
#ifndef OBC_INTERNAL_H
#define OBC_INTERNAL_H

#include "obc.h"
#include "obc_model.h"

enum { OBC_LAYER_FIRST = 0, OBC_LAYER_REST = 1 };

typedef struct { /* a row of a stripe in raster columns of all planes */
    uint16_t column; /* of its first block */
    uint8_t across;  /* from block to block */
    uint8_t parity;  /* which of the rows above is its own */
    uint8_t width;   /* of the stripe, in blocks */
    uint32_t total;  /* blocks of the stripe */
} obc_run;

/* obc_analyse.c */

/* Latents of one block row of a plane into the encoder's arrays. `pixels` has `rows` rows, 1 to 8. */
void obc_analyse_row(obc_encoder *e, uint8_t plane, const uint8_t *pixels, size_t stride, uint16_t rows);

/* Eight camera rows, or the last ones: averages and colour into strips, then latents of every block row that is whole. */
void obc_take_rows(obc_encoder *e, const uint8_t *rows, size_t stride, uint16_t count);

/* obc_entropy.c: symbols into the open packet of a slot. Nothing is written behind `slot->limit`. */

/* The symbol at slot->next of quantised first latents q[0 .. width); returns its blocks, and their residual sizes in
 * `size`. */
uint8_t obc_code_first(const obc_encoder *e, obc_slot *slot, const obc_run *run, const uint16_t *words,
                       const int16_t *q, uint8_t *size, uint8_t column);

/* The quad or run of quads at slot->next; `group` and `rest` begin there, `blocks` are at hand. Returns its blocks, at
 * most four quads; `old` is for obc_restore_count(), which forgets them again. */
uint8_t obc_code_rest(obc_encoder *e, obc_slot *slot, const obc_run *run, const uint16_t *words, const uint8_t *group,
                      int16_t (*rest)[7], uint8_t blocks, uint8_t *old);
void obc_restore_count(obc_encoder *e, const obc_slot *slot, const obc_run *run, const uint8_t *old, uint8_t blocks);

/* obc_packet.c */

uint8_t obc_is_empty(const obc_slot *slot);
/* The quota allows no more of a layer. */
void obc_stop(obc_encoder *e, uint8_t layer);
/* See to it that the slot has an open packet; 0 when the quota does not allow one. */
uint8_t obc_open_packet(obc_encoder *e, obc_slot *slot, const obc_plane *plane, uint8_t plane_number, uint8_t layer,
                        uint8_t phase, uint8_t stripe);
/* Close the slot's packet: header, padding, CRC. */
obc_status obc_emit(const obc_encoder *e, obc_slot *slot, const uint8_t **packet, uint16_t *size);
/* The packets that are still open, put together where they have one index and fit. */
obc_status obc_flush(obc_encoder *e, const uint8_t **packet, uint16_t *size);

/* obc_rate.c */
void obc_rate_begin(obc_encoder *e);
uint8_t obc_rate_target(obc_encoder *e, uint16_t row);

/* shared arithmetic */

/* What the bits of a layer are inversely proportional to. */
static inline uint32_t obc_fall(uint8_t layer, uint32_t index) {
    uint32_t n = layer == OBC_LAYER_FIRST ? index / 2u : 5u * index / 4u;
    return (uint32_t)obc_step[n % 32u] << (n / 32u);
}

/* Whether that many bits more are within the quota. */
static inline uint8_t obc_rate_allows(const obc_encoder *e, uint32_t bits, uint8_t layer) {
    return !e->config.quota || e->spent + bits + (layer ? e->reserve : 0u) <= 8u * e->config.quota;
}

static inline void obc_rate_count(obc_encoder *e, uint32_t bits, uint8_t layer, uint8_t index) {
    if (e->config.quota) {
        e->spent += bits;
        e->cost[layer] += (uint64_t)bits * obc_fall(layer, index);
    }
}

static inline uint8_t obc_plane_index(uint8_t index, uint8_t plane) {
    int shifted = plane ? (int)index + OBC_CHROMA_OFFSET : (int)index;
    return (uint8_t)(shifted < 0 ? 0 : (shifted > OBC_MAX_INDEX ? OBC_MAX_INDEX : shifted));
}

static inline uint16_t obc_unit_step(uint8_t plane_index, uint8_t unit) {
    return (uint16_t)(((uint32_t)obc_step[plane_index] * obc_gain[unit] + 32u) >> 6);
}

static inline int16_t obc_clamp16(int32_t v) {
    return (int16_t)(v < -32768 ? -32768 : (v > 32767 ? 32767 : v));
}

#endif
