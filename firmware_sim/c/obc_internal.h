/* What the encoder's files share. Not for callers. */
#ifndef OBC_INTERNAL_H
#define OBC_INTERNAL_H

#include <limits.h>

#include "obc.h"

#if defined(UINT_MAX) && UINT_MAX < 0xFFFFFFFFu
#error "int must have 32 bits"
#endif

#if OBC_DSP
#include <arm_acle.h>
#endif

/* 1: memory is plentiful, loops become vector instructions, and jumps that go by chance cost more than what they skip. */
#if UINTPTR_MAX > 0xFFFFFFFFu
#define OBC_LARGE 1
#else
#define OBC_LARGE 0
#endif

/* Samples and weights of plain C: as small as can be, but for machines whose vector instructions multiply halfwords. */
#if OBC_LARGE
typedef int16_t obc_weight;
#else
typedef int8_t obc_weight;
#endif

#include "obc_model.h"

enum { OBC_LAYER_FIRST = 0, OBC_LAYER_REST = 1 };
enum { OBC_CRC_BYTES = 4 };
enum { OBC_OPEN = 1, OBC_COMPLETE = 2 }; /* a slot's packet: symbols may follow, none do */

typedef struct { /* a row of a stripe in raster columns of all planes */
    uint16_t column; /* of its first block */
    uint8_t across;  /* from block to block */
    uint8_t parity;  /* which of the rows above is its own */
    uint8_t width;   /* of the stripe, in blocks */
    uint32_t total;  /* blocks of the stripe */
} obc_run;

typedef struct { /* a row of a stripe of one layer */
    obc_run run;
    uint16_t row; /* of the plane */
    uint8_t plane, layer, phase, stripe, is_last;
} obc_place;

typedef struct { /* where a slot's bits end */
    uint32_t end, acc, fill;
} obc_mark;

/* The stages that take the time stay functions of their own when everything is compiled at once: in one with the rest
 * they would run out of registers. What runs once in a picture is kept small. */
#if defined(__GNUC__) && !defined(__clang__)
#define OBC_STAGE __attribute__((noinline, noclone))
#define OBC_ONCE __attribute__((cold))
#else
#define OBC_STAGE
#define OBC_ONCE
#endif

/* obc_analyse.c */

/* Latents of one block row of a plane into the encoder's arrays. `pixels` has `rows` rows, 1 to 8. */
void obc_analyse_row(obc_encoder *e, uint8_t plane, const uint8_t *pixels, size_t stride, uint16_t rows);

/* obc_camera.c */

/* Bytes of a camera sample. */
uint8_t obc_sample_bytes(uint8_t format);

/* Eight camera rows, or the last ones: averages and colour into strips, then latents of every block row that is whole. */
void obc_take_rows(obc_encoder *e, const uint8_t *rows, size_t stride, uint16_t count);

/* Layer 0 and layer 1 of a row of a stripe, the latter as far as its quads are complete. 1 when the packet is full and
 * must go before the rest of the row. */
OBC_STAGE uint8_t obc_code_first_row(obc_encoder *e, obc_slot *slot, const obc_place *at);
OBC_STAGE uint8_t obc_code_rest_row(obc_encoder *e, obc_slot *slot, const obc_place *at);

/* obc_packet.c */

/* Append 1 to 32 bits to the open packet; behind `slot->limit` they are counted but not written. */
void obc_put(obc_slot *slot, uint32_t value, uint32_t length);
/* The quota allows no more of a layer. */
void obc_stop(obc_encoder *e, uint8_t layer);
/* See to it that the slot has an open packet; 0 when the quota does not allow one. */
uint8_t obc_open_packet(obc_encoder *e, obc_slot *slot, const obc_place *at);
/* Close the slot's packet: header, padding, CRC. It may be a parity packet that must go before, and the slot waits. */
obc_status obc_emit(obc_encoder *e, obc_slot *slot, uint8_t layer, const uint8_t **packet, uint16_t *size);
/* Header and CRC of a packet of `end` bytes without it; returns its size. */
uint16_t obc_seal(const obc_encoder *e, uint8_t *packet, uint32_t end, uint8_t kind, uint8_t index);
/* No symbols follow in the slot: put its section behind those of another such packet that has its index and room. */
OBC_ONCE void obc_complete(obc_encoder *e, obc_slot *slot, uint8_t layer);
/* The packets that are left. */
OBC_ONCE obc_status obc_flush(obc_encoder *e, const uint8_t **packet, uint16_t *size);

/* obc_parity.c */

#if OBC_MAX_PARITY
void obc_parity_begin(obc_encoder *e);
/* Whether a packet of that index ends the group that is open: parity packets are due then. */
uint8_t obc_parity_closes(obc_encoder *e, uint8_t layer, uint8_t index);
/* Whether the end of the stream ends a group. */
uint8_t obc_parity_finishes(obc_encoder *e);
/* The extension list of the next source packet; 0 when there is no quota for protecting it. */
uint8_t obc_parity_enters(const obc_encoder *e, uint8_t layer, uint8_t *entry);
void obc_parity_add(obc_encoder *e, uint8_t layer, const uint8_t *packet, uint32_t end);
/* The next parity packet that is due. */
obc_status obc_parity_poll(obc_encoder *e, const uint8_t **packet, uint16_t *size);
#endif

/* Bytes of the extension list that a layer's source packets have room for. */
static inline uint32_t obc_entry_bytes(const obc_encoder *e, uint8_t layer) {
#if OBC_MAX_PARITY
    return e->config.parity[layer] ? OBC_ENTRY_BYTES : 0u;
#else
    (void)e;
    (void)layer;
    return 0;
#endif
}

/* obc_step.c: what a quantiser index means */

/* 64 * 2^(n / OBC_OCTAVE), and the largest n for which that is not above a value, 0 when there is none. */
uint64_t obc_power(uint32_t n);
uint32_t obc_logarithm(uint64_t value);
/* What the bits of layer 0 are inversely proportional to. */
uint32_t obc_fall(uint32_t index);
/* The index that holds for a plane. */
uint8_t obc_plane_index(uint8_t index, uint8_t plane);
/* The same, or the target's if that is coarser: what is closer than its step to the prediction may become 0. */
uint8_t obc_coarser_index(const obc_encoder *e, uint8_t plane_index, uint8_t plane);
/* The step of a unit, in sixteenths. */
static inline uint16_t obc_unit_step(uint8_t plane_index, uint8_t unit) {
    return (uint16_t)(((uint32_t)obc_step[plane_index] * obc_gain[unit] + 32u) >> 6);
}
/* Code words of the table set. */
const uint16_t *obc_words_of(uint8_t plane_index);

/* obc_rate.c */

OBC_ONCE void obc_rate_begin(obc_encoder *e);
/* Set the target before luma row `row` is coded, whose detail is known. */
void obc_rate_aim(obc_encoder *e, uint16_t row);
/* Bits that the quota leaves for a layer. */
uint32_t obc_rate_room(const obc_encoder *e, uint8_t layer);
void obc_rate_count(obc_encoder *e, uint32_t bits, uint8_t layer, uint8_t index);

/* shared arithmetic */

static inline uint32_t obc_distance(int32_t a, int32_t b) {
#if OBC_LARGE
    int32_t far = a - b, sign = far >> 31;
    return (uint32_t)((far ^ sign) - sign);
#else
    return (uint32_t)(a < b ? b - a : a - b);
#endif
}

/* Bits of a number above 0. */
static inline uint32_t obc_bit_length(uint32_t v) {
#ifdef __GNUC__
    return 32u - (uint32_t)__builtin_clz(v); /* arm_acle.h of GCC 12 has no __clz() */
#else
    uint32_t bits = 0;
    for (; v > 0u; v >>= 1) {
        bits++;
    }
    return bits;
#endif
}

/* Bucket of a value past the direct range; `raw` is what its b + 1 raw bits say. */
static inline uint8_t obc_bucket(uint32_t excess, uint32_t *raw) {
    uint8_t b = 0;
    while (excess >= (UINT32_C(4) << b) - 2u) {
        b++;
    }
    *raw = excess - ((UINT32_C(2) << b) - 2u);
    return b;
}

/* The bits of an open packet. */

static inline void obc_put_word(obc_slot *slot, uint16_t word) {
    obc_put(slot, (uint32_t)word >> 4, word & 15u);
}

static inline uint8_t obc_is_empty(const obc_slot *slot) {
    return slot->end == slot->start && slot->fill == 0u;
}

static inline uint8_t obc_fits(const obc_slot *slot) {
    return 8u * slot->end + slot->fill <= 8u * slot->limit;
}

static inline uint32_t obc_bits(const obc_slot *slot) {
    return 8u * (slot->end - slot->start) + slot->fill;
}

static inline uint32_t obc_packet_room(const obc_slot *slot) {
    return 8u * (slot->limit - slot->end) - slot->fill;
}

static inline obc_mark obc_mark_of(const obc_slot *slot) {
    obc_mark mark;
    mark.end = slot->end;
    mark.acc = slot->acc;
    mark.fill = slot->fill;
    return mark;
}

static inline void obc_return_to(obc_slot *slot, const obc_mark *mark) {
    slot->end = mark->end;
    slot->acc = mark->acc;
    slot->fill = (uint8_t)mark->fill;
}

static inline uint32_t obc_bits_since(const obc_slot *slot, const obc_mark *mark) {
    return 8u * (slot->end - mark->end) + slot->fill - mark->fill;
}

static inline int16_t obc_clamp16(int32_t v) {
    return (int16_t)(v < -32768 ? -32768 : (v > 32767 ? 32767 : v));
}

#endif
