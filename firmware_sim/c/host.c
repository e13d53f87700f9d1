/* For a host program that loads the encoder as a shared library: how much memory to give it, and a picture in one call. */
#include <string.h>

#include "obc.h"

size_t obc_encoder_size(void);
size_t obc_encode(obc_encoder *e, const obc_config *config, const uint8_t *rows, size_t stride, uint8_t *out, size_t room);

size_t obc_encoder_size(void) {
    return sizeof(obc_encoder);
}

/* Append packets until the encoder has none; 0 when there is an error or no room. */
static uint8_t drain(obc_encoder *e, uint8_t *out, size_t room, size_t *used) {
    const uint8_t *packet;
    uint16_t size;
    obc_status status;
    while ((status = obc_poll_packet(e, &packet, &size)) == OBC_PACKET) {
        if (room - *used < size) {
            return 0;
        }
        memcpy(out + *used, packet, size);
        *used += size;
    }
    return status == OBC_EMPTY || status == OBC_DONE;
}

/* Code a whole picture; its packets, one after another, are at `out`. Their bytes; 0 for an error or too little room. */
size_t obc_encode(obc_encoder *e, const obc_config *config, const uint8_t *rows, size_t stride, uint8_t *out, size_t room) {
    uint32_t y, count;
    size_t used = 0;
    if (obc_reset(e, config) != OBC_OK) {
        return 0;
    }
    for (y = 0; y < config->height; y += count, rows += stride * count) {
        count = config->height - y < 8u ? config->height - y : 8u;
        if (obc_sink_rows(e, rows, stride, (uint16_t)count) != OBC_OK || !drain(e, out, room, &used)) {
            return 0;
        }
    }
    return obc_finish(e) == OBC_OK && drain(e, out, room, &used) ? used : 0;
}
