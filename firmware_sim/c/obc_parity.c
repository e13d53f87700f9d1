/* Erasure packets, one group open in each layer: any k of its k + m packets restore the rest. FORMAT.md section 2.6. */
#include <string.h>

#include "obc_internal.h"

#if OBC_MAX_PARITY

enum { HEADER = OBC_LEAST_HEADER, ENTRY = 4, FIELDS = 4, LENGTH = 2, MAX_NUMBER = 255 };

static uint8_t multiply(uint8_t a, uint8_t b) {
    return a && b ? obc_gf_power[((uint32_t)obc_gf_log[a] + obc_gf_log[b]) % 255u] : 0;
}

/* Begin a group: hold back what its parity takes at most. Without that much, the layer goes on unprotected. */
static void begin_group(obc_encoder *e, uint8_t layer) {
    obc_group *g = &e->group[layer];
    uint32_t bits = 8u * (uint32_t)e->config.parity[layer] * e->config.packet_size;
    g->count = 0;
    g->length = 0;
    g->promised = e->next_group <= MAX_NUMBER && bits <= obc_rate_room(e, OBC_LAYER_FIRST);
    if (g->promised) {
        g->number = (uint8_t)e->next_group++;
        e->spent += e->config.quota ? bits : 0u;
    }
}

void obc_parity_begin(obc_encoder *e) {
    uint8_t layer, i, j;
    for (layer = 0; layer < 2u; layer++) {
        obc_group *g = &e->group[layer];
        for (i = 0; i < e->config.parity[layer]; i++) { /* times z - 2^i; the leading coefficient is 1 */
            for (j = (uint8_t)(i + 1u); j > 0u; j--) {
                uint8_t higher = j > 1u ? g->generator[j - 2u] : 1;
                g->generator[j - 1u] = (uint8_t)(g->generator[j - 1u] ^ multiply(higher, obc_gf_power[i]));
            }
        }
        if (e->config.parity[layer]) {
            begin_group(e, layer);
        }
    }
}

/* The group is complete: its parity packets are due. */
static void close_group(obc_encoder *e, uint8_t layer) {
    const obc_config *c = &e->config;
    obc_group *g = &e->group[layer];
    e->due = c->parity[layer];
    e->due_layer = layer;
    e->spent -= c->quota ? 8u * (uint32_t)c->parity[layer] *
                               (c->packet_size - (uint32_t)(HEADER + FIELDS + OBC_CRC_BYTES) - g->length)
                         : 0u;
}

uint8_t obc_parity_closes(obc_encoder *e, uint8_t layer, uint8_t index) {
    obc_group *g = &e->group[layer];
    if (!e->config.parity[layer] || !g->promised || !g->count || g->index == index) {
        return 0;
    }
    close_group(e, layer);
    return 1;
}

uint8_t obc_parity_finishes(obc_encoder *e) {
    uint8_t layer;
    for (layer = 0; layer < 2u; layer++) {
        if (e->config.parity[layer] && e->group[layer].promised && e->group[layer].count) {
            close_group(e, layer);
            return 1;
        }
    }
    return 0;
}

uint8_t obc_parity_enters(const obc_encoder *e, uint8_t layer, uint8_t *entry) {
    const obc_group *g = &e->group[layer];
    entry[0] = OBC_ERASURE_TYPE;
    entry[1] = 2;
    entry[2] = g->number;
    entry[3] = g->count;
    entry[4] = 0;
    return g->promised;
}

void obc_parity_add(obc_encoder *e, uint8_t layer, const uint8_t *packet, uint32_t end) {
    obc_group *g = &e->group[layer];
    uint8_t m = e->config.parity[layer], j;
    const uint8_t *part = packet + HEADER + ENTRY;
    uint32_t size = end - (HEADER + ENTRY), length = size + LENGTH, i;
    if (!g->count) {
        memset(g->packet, 0, sizeof g->packet);
    }
    g->index = packet[OBC_INDEX_AT];
    g->count++;
    g->length = (uint16_t)(length > g->length ? length : g->length);
    for (i = 0; i < g->length; i++) {
        uint32_t at = HEADER + FIELDS + i;
        uint8_t byte = (uint8_t)(i >= length ? 0u : (i >= LENGTH ? part[i - LENGTH] : size >> (8u * (1u - i))));
        uint8_t feedback = (uint8_t)(byte ^ g->packet[0][at]);
        for (j = 0; j < m; j++) {
            uint8_t next = j + 1u < OBC_MAX_PARITY ? g->packet[j + 1u][at] : 0; /* rows behind the last are 0 */
            g->packet[j][at] = (uint8_t)(next ^ multiply(g->generator[j], feedback));
        }
    }
    if (g->count == e->config.group[layer]) {
        close_group(e, layer);
    }
}

obc_status obc_parity_poll(obc_encoder *e, const uint8_t **packet, uint16_t *size) {
    obc_group *g = &e->group[e->due_layer];
    uint8_t m = e->config.parity[e->due_layer];
    uint8_t *p = g->packet[m - e->due];
    p[HEADER] = g->number;
    p[HEADER + 1] = (uint8_t)(g->count + m - e->due);
    p[HEADER + 2] = g->count;
    p[HEADER + 3] = m;
    *packet = p;
    *size = obc_seal(e, p, (uint32_t)(HEADER + FIELDS) + g->length, OBC_KIND_PARITY, g->index);
    if (--e->due == 0u) {
        begin_group(e, e->due_layer);
    }
    return OBC_PACKET;
}

#endif
