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
    uint8_t *at = slot->packet + slot->end;
    uint32_t i;
    if (slot->end + 4u <= slot->limit) {
        at[0] = (uint8_t)(word >> 24);
        at[1] = (uint8_t)(word >> 16);
        at[2] = (uint8_t)(word >> 8);
        at[3] = (uint8_t)word;
    } else {
        for (i = 0; i < 4u && slot->end + i < slot->limit; i++) {
            at[i] = (uint8_t)(word >> (24u - 8u * i));
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

uint8_t obc_open_packet(obc_encoder *e, obc_slot *slot, const obc_place *at) {
    const obc_plane *plane = &e->plane[at->plane];
    uint8_t down = e->config.interleave_log2 == 2u ? 1 : 0;
    uint32_t rows = ((uint32_t)plane->rows - (down ? at->phase >> 1 : 0u) + down) >> down;
    uint32_t overhead;
    int moved = (int)e->target - (int)e->last_index;
    if (e->stopped[at->layer]) {
        return 0;
    }
    if (slot->open) {
        return 1;
    }
    if (!e->opened || moved >= OBC_KEEP_INDEX || moved <= -OBC_KEEP_INDEX) {
        e->last_index = e->target;
        e->opened = 1;
    }
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
    slot->open = 1;
    return 1;
}

/* Put the section of one open packet behind those of another. */
static void merge(obc_slot *into, uint32_t *section, uint32_t *head, obc_slot *from, uint32_t from_section) {
    uint32_t payload = into->end - *section - *head;
    uint8_t *at = into->packet + *section;
    memmove(at + *head + LENGTH_FIELD, at + *head, payload);
    at[1] |= HAS_LENGTH;
    store16(at + *head, payload);
    into->end += LENGTH_FIELD;
    memcpy(into->packet + into->end, from->packet + from_section, from->end - from_section);
    *section = into->end;
    *head = (uint32_t)from->start - from_section;
    into->end += from->end - from_section;
    from->open = 0;
}

obc_status obc_flush(obc_encoder *e, const uint8_t **packet, uint16_t *size) {
    obc_slot *first = NULL;
    uint32_t section = 0, head = 0;
    uint8_t first_layer = 0;
    for (; e->flushed < 2u * e->layer_slots; e->flushed++) {
        obc_slot *slot = &e->slot[e->flushed];
        uint8_t layer = e->flushed >= e->layer_slots;
        uint32_t from = HEADER + obc_entry_bytes(e, layer);
        if (!slot->open || obc_is_empty(slot)) {
            continue;
        }
#if OBC_MAX_PARITY
        if (!first && obc_parity_closes(e, layer, slot->index)) {
            return obc_parity_poll(e, packet, size);
        }
#endif
        pad(slot);
        if (!first) {
            first = slot;
            first_layer = layer;
            section = from;
            head = (uint32_t)slot->start - from;
        } else if (slot->index == first->index && first->end + LENGTH_FIELD + (slot->end - from) <= first->limit) {
            merge(first, &section, &head, slot, from);
        } else {
            break;
        }
    }
    if (first) {
        return obc_emit(e, first, first_layer, packet, size);
    }
#if OBC_MAX_PARITY
    if (obc_parity_finishes(e)) {
        return obc_parity_poll(e, packet, size);
    }
#endif
    return OBC_DONE;
}
