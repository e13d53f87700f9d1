/* Packets: opened for a slot, closed with header and CRC, the last ones put together. FORMAT.md sections 2 to 4. */
#include <string.h>

#include "obc_internal.h"

enum { HEADER = OBC_LEAST_HEADER, CRC = OBC_CRC_BYTES, LENGTH_FIELD = 2, HAS_LENGTH = 0x20, HAS_EXTENSIONS = 8 };

static void store16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Write a section header behind the packet's; return its length. */
static uint8_t section_header(uint8_t *at, uint8_t plane, uint8_t layer, uint8_t phase, uint32_t first) {
    uint8_t extra = first < 8u ? 0 : (first < 1u << 11 ? 1 : (first < 1u << 19 ? 2 : 3)), i;
    at[0] = (uint8_t)(plane << 4 | layer);
    at[1] = (uint8_t)((uint32_t)phase << 6 | (uint32_t)extra << 3 | first >> (8u * extra));
    for (i = 0; i < extra; i++) {
        at[2u + i] = (uint8_t)(first >> (8u * (extra - 1u - i)));
    }
    return (uint8_t)(2u + extra);
}

/* Write four bytes; those behind the limit are only counted. */
static void write_word(obc_slot *slot, uint32_t word) {
    uint32_t i;
    if (slot->end + 4u <= slot->limit) {
        uint8_t *at = slot->packet + slot->end;
        at[0] = (uint8_t)(word >> 24);
        at[1] = (uint8_t)(word >> 16);
        at[2] = (uint8_t)(word >> 8);
        at[3] = (uint8_t)word;
    } else {
        for (i = 0; i < 4u && slot->end + i < slot->limit; i++) {
            slot->packet[slot->end + i] = (uint8_t)(word >> (24u - 8u * i));
        }
    }
    slot->end += 4u;
}

void obc_put(obc_slot *slot, uint32_t value, uint32_t length) {
    uint32_t fill = slot->fill + length;
    if (fill < 32u) {
        slot->acc |= value << (32u - fill);
    } else {
        fill -= 32u;
        write_word(slot, slot->acc | value >> fill);
        slot->acc = fill ? value << (32u - fill) : 0u;
    }
    slot->fill = (uint8_t)fill;
}

/* Write what is left, ones behind it. */
static void pad(obc_slot *slot) {
    uint32_t word = slot->acc | UINT32_MAX >> slot->fill;
    for (; slot->fill > 0u; slot->fill = (uint8_t)(slot->fill > 8u ? slot->fill - 8u : 0u)) {
        slot->packet[slot->end++] = (uint8_t)(word >> 24);
        word <<= 8;
    }
    slot->acc = 0;
}

uint16_t obc_seal(const obc_encoder *e, uint8_t *p, uint32_t end, uint8_t kind, uint8_t index) {
    const obc_config *c = &e->config;
    uint32_t crc = 0xFFFFFFFFu, i;
    store16(p, OBC_MAGIC << 4 | OBC_VERSION);
    p[2] = kind;
    store16(p + 3, c->image_id);
    store16(p + 5, c->tag);
    store16(p + 7, OBC_MODEL_ID);
    store16(p + 9, c->width);
    store16(p + 11, c->height);
    p[13] = (uint8_t)((uint32_t)c->scale_log2 << 5 | (uint32_t)c->interleave_log2 << 3 | (c->format != OBC_GREY8));
    p[OBC_INDEX_AT] = index;
    store16(p + 15, end + CRC);
    for (i = 0; i < end; i++) {
        crc ^= p[i];
        crc = crc >> 8 ^ obc_crc[0][crc & 15u] ^ obc_crc[1][crc >> 4 & 15u];
    }
    crc = ~crc;
    store16(p + end, crc >> 16);
    store16(p + end + 2u, crc);
    return (uint16_t)(end + CRC);
}

obc_status obc_emit(obc_encoder *e, obc_slot *slot, uint8_t layer, const uint8_t **packet, uint16_t *size) {
    uint8_t kind = 0;
    uint32_t entry = obc_entry_bytes(e, layer);
#if OBC_MAX_PARITY
    if (obc_parity_closes(e, layer, slot->index)) {
        e->leaving = (uint16_t)(slot - e->slot + 1);
        return obc_parity_poll(e, packet, size);
    }
#endif
    pad(slot);
#if OBC_MAX_PARITY
    if (entry && obc_parity_enters(e, layer, slot->packet + HEADER)) {
        kind = HAS_EXTENSIONS;
        entry = 0;
    }
#endif
    slot->end -= entry; /* room for an extension list that the packet does not have */
    memmove(slot->packet + HEADER, slot->packet + HEADER + entry, slot->end - HEADER);
    *size = obc_seal(e, slot->packet, slot->end, kind, slot->index);
    *packet = slot->packet;
    slot->open = 0;
#if OBC_MAX_PARITY
    if (kind) {
        obc_parity_add(e, layer, slot->packet, slot->end);
    }
#else
    (void)layer;
#endif
    return OBC_PACKET;
}

/* The quota allows no more of a layer. Layer 1 ends with layer 0, from which it is predicted. */
void obc_stop(obc_encoder *e, uint8_t layer) {
    e->stopped[layer] = e->stopped[OBC_LAYER_REST] = 1;
}

/* The index of a packet to be opened: that of the packet opened last or of one that is there, the nearest one, if it is
 * near the target, else the target; only packets of one index can be put together. */
static uint8_t index_for(const obc_encoder *e) {
    const obc_plane *luma = &e->plane[0];
    uint32_t near = luma->rows <= luma->row + OBC_SHARE_ROWS ? OBC_SHARE_INDEX : OBC_KEEP_INDEX, distance, n;
    uint8_t index = e->target;
    if (!e->opened || e->last_index == index) {
        return index;
    }
    for (n = 0; n < 2u * e->layer_slots; n++) {
        distance = obc_distance(e->slot[n].index, e->target);
        if (e->slot[n].open && distance < near) {
            index = e->slot[n].index;
            near = distance;
        }
    }
    return obc_distance(e->last_index, e->target) < near ? e->last_index : index;
}

uint8_t obc_open_packet(obc_encoder *e, obc_slot *slot, const obc_place *at) {
    const obc_plane *plane = &e->plane[at->plane];
    uint8_t down = e->config.interleave_log2 == 2u ? 1 : 0;
    uint32_t rows = ((uint32_t)plane->rows - (down ? at->phase >> 1 : 0u) + down) >> down;
    uint32_t overhead;
    if (e->stopped[at->layer]) {
        return 0;
    }
    if (slot->open) {
        return 1;
    }
    e->last_index = index_for(e);
    e->opened = 1;
    slot->start = (uint16_t)(HEADER + obc_entry_bytes(e, at->layer));
    slot->start = (uint16_t)(slot->start + section_header(slot->packet + slot->start, at->plane, at->layer, at->phase,
                                                     at->stripe * (rows * OBC_STRIPE) + slot->next));
    overhead = 8u * (slot->start + CRC) + 7u;
    if (overhead > obc_rate_room(e, at->layer)) {
        obc_stop(e, at->layer);
        return 0;
    }
    e->spent += overhead;
    slot->begin = slot->next;
    slot->index = e->last_index;
    slot->end = slot->start;
    slot->limit = e->config.packet_size - (uint32_t)CRC - (obc_entry_bytes(e, at->layer) ? OBC_PARITY_EXCESS : 0u);
    slot->acc = 0;
    slot->fill = 0;
    slot->open = OBC_OPEN;
    return 1;
}

/* Put the section of a packet, which begins at `from`, behind those of another. `begin` is where its last section does. */
static void merge(obc_slot *into, obc_slot *slot, uint32_t from) {
    uint8_t *at = into->packet + into->begin;
    uint32_t payload = into->end - into->start;
    memmove(into->packet + into->start + LENGTH_FIELD, into->packet + into->start, payload);
    at[1] |= HAS_LENGTH;
    store16(into->packet + into->start, payload);
    into->begin = into->end + LENGTH_FIELD;
    into->start = (uint16_t)(into->begin + slot->start - from);
    memcpy(into->packet + into->begin, slot->packet + from, slot->end - from);
    into->end = into->begin + slot->end - from;
    slot->open = 0;
}

void obc_complete(obc_encoder *e, obc_slot *slot, uint8_t layer) {
    uint32_t from = HEADER + obc_entry_bytes(e, layer), n;
    uint32_t parity = obc_entry_bytes(e, OBC_LAYER_FIRST) + obc_entry_bytes(e, OBC_LAYER_REST);
    if (slot->open != OBC_OPEN || obc_is_empty(slot)) {
        return;
    }
    pad(slot);
    for (n = 0; n < 2u * e->layer_slots; n++) {
        obc_slot *into = &e->slot[n];
        if (into->open == OBC_COMPLETE && into->index == slot->index &&
            (!parity || (n >= e->layer_slots) == layer) && /* each layer has parity of its own */
            into->end + LENGTH_FIELD + slot->end - from <= into->limit) {
            merge(into, slot, from);
            e->spent -= 8u * (from + CRC - LENGTH_FIELD);
            return;
        }
    }
    slot->open = OBC_COMPLETE;
    slot->begin = from;
}

obc_status obc_flush(obc_encoder *e, const uint8_t **packet, uint16_t *size) {
    uint32_t slots = 2u * e->layer_slots, n;
    for (n = e->flushed; n < slots; n++) { /* of a picture that was cut short */
        obc_complete(e, &e->slot[n], n >= e->layer_slots);
    }
    for (; e->flushed < slots; e->flushed++) {
        obc_slot *slot = &e->slot[e->flushed];
        if (slot->open == OBC_COMPLETE) {
            return obc_emit(e, slot, e->flushed >= e->layer_slots, packet, size);
        }
    }
#if OBC_MAX_PARITY
    if (obc_parity_finishes(e)) {
        return obc_parity_poll(e, packet, size);
    }
#endif
    return OBC_DONE;
}
