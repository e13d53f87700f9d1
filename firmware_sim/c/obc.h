/* Single-pass preview encoder for microcontrollers: eight camera rows in, packets out.
 *
 * It makes the bytes of `onboard-compress --stream`; onboard/stream.py says what is coded when. Integers only, no
 * allocation, all state in the caller's struct, nothing of libc but string.h. Encoders share nothing: each task may have
 * its own. `int` must have 32 bits; neither the byte order nor the alignment of the samples matters.
 *
 *     if (obc_reset(&encoder, &config) != OBC_OK) ...
 *     for each eight rows, at the end for those that are left:
 *         if (obc_sink_rows(&encoder, rows, stride, count) != OBC_OK) ...    (none of these rows was taken)
 *         while (obc_poll_packet(&encoder, &packet, &size) == OBC_PACKET) send(packet, size);
 *     obc_finish(&encoder);
 *     while (obc_poll_packet(&encoder, &packet, &size) == OBC_PACKET) send(packet, size);
 *
 * To build it: compile the files obc*.c as C99, with obc_model.h (`onboard-train export-c -o obc_model.h`) where the
 * compiler looks for it. Whoever includes this file needs the same OBC_... settings as these: they say how large an
 * obc_encoder is. One of another size is refused by obc_reset(), with OBC_ERROR_CONFIG and nothing written. After any
 * other configuration that is refused, the encoder answers OBC_ERROR_STATE until it is reset.
 */
#ifndef OBC_H
#define OBC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What memory is kept for; a configuration beyond it is refused. */
#ifndef OBC_MAX_WIDTH
#define OBC_MAX_WIDTH 640
#endif
#ifndef OBC_MAX_PACKET
#define OBC_MAX_PACKET 256
#endif
#ifndef OBC_COLOUR /* 1: RGB pictures too */
#define OBC_COLOUR 0
#endif
#ifndef OBC_MAX_SCALE_LOG2 /* 0 to 2 */
#define OBC_MAX_SCALE_LOG2 0
#endif
#ifndef OBC_MAX_INTERLEAVE_LOG2 /* 0 to 2 */
#define OBC_MAX_INTERLEAVE_LOG2 0
#endif
#ifndef OBC_MAX_PARITY /* most parity packets of an erasure group, 0 to 16; 0: no erasure code */
#define OBC_MAX_PARITY 0
#endif
#ifndef OBC_DSP /* 1: SMLAD and friends through ACLE */
#if defined(__ARM_FEATURE_SIMD32) && __ARM_FEATURE_SIMD32 && !defined(__ARM_BIG_ENDIAN) /* ARMv5TE has DSP only */
#define OBC_DSP 1
#else
#define OBC_DSP 0
#endif
#endif

typedef enum {
    OBC_OK = 0,
    OBC_PACKET = 1,         /* a packet is there; it stays until the next call of any function */
    OBC_EMPTY = 2,          /* nothing to send before more rows come, or the end */
    OBC_DONE = 3,           /* everything has been sent */
    OBC_BUSY = 4,           /* rows not taken: poll until OBC_EMPTY first */
    OBC_ERROR_NULL = -1,    /* a null pointer */
    OBC_ERROR_CONFIG = -2,  /* a configuration out of range, or beyond what memory is kept for; other OBC_... settings */
    OBC_ERROR_ROWS = -3,    /* neither eight rows nor the picture's last ones, or a stride below a row */
    OBC_ERROR_STATE = -4    /* rows behind the end, or a call before obc_reset(), if the struct's memory was zeroed */
} obc_status;

/* Camera samples. RGB565 has 16 bits, red in the five highest, and comes with its low byte first (LE) or last (BE, as
 * most sensors send it). It becomes 8 bits by repeating the highest bits behind the lowest: five bits v make
 * v << 3 | v >> 2, six bits make v << 2 | v >> 4, so that 0 stays 0 and the largest value becomes 255. */
typedef enum { OBC_GREY8 = 0, OBC_RGB888 = 1, OBC_RGB565LE = 2, OBC_RGB565BE = 3 } obc_format;

typedef struct {
    uint16_t width, height;   /* samples: 1 to OBC_MAX_WIDTH, 1 to 65535 */
    uint16_t image_id, tag;   /* which picture, and which encoding of it */
    uint16_t packet_size;     /* most bytes of a packet, 48 (55 with parity) to OBC_MAX_PACKET */
    uint32_t quota;           /* most bytes of the stream, parity included, 48 to 268435455; 0: `index` rules */
    uint8_t index;            /* quantiser index, 0 (finest) to 200; with a quota in the same range, and without effect */
    uint8_t scale_log2;       /* code at 1/1, 1/2 or 1/4 of the size */
    uint8_t interleave_log2;  /* 1, 2 or 4 phases */
    uint8_t format;           /* obc_format */
    uint8_t parity[2];        /* parity packets of an erasure group of layer 0, of layer 1: 0 (none) to OBC_MAX_PARITY */
    uint8_t group[2];         /* most source packets of such a group; with its parity packets 255 at most */
} obc_config;

/* --- what follows is the encoder's own affair ------------------------------------------------------------------- */

#define OBC_PLANES (OBC_COLOUR ? 3 : 1)
#define OBC_LUMA_COLUMNS ((OBC_MAX_WIDTH + 7) / 8)
#define OBC_CHROMA_COLUMNS (((OBC_MAX_WIDTH + 1) / 2 + 7) / 8)
#define OBC_COLUMNS (OBC_LUMA_COLUMNS + (OBC_COLOUR ? 2 * OBC_CHROMA_COLUMNS : 0))
#define OBC_STRIPES_1(columns) (((columns) + 31) / 32)
#define OBC_STRIPES_2(columns) OBC_STRIPES_1(((columns) + 1) / 2)
#if OBC_MAX_INTERLEAVE_LOG2 == 0
#define OBC_STRIPES(columns) OBC_STRIPES_1(columns)
#else
#define OBC_STRIPES(columns) ((1 << OBC_MAX_INTERLEAVE_LOG2) * OBC_STRIPES_2(columns))
#endif
#define OBC_LAYER_SLOTS (OBC_STRIPES(OBC_LUMA_COLUMNS) + (OBC_COLOUR ? 2 * OBC_STRIPES(OBC_CHROMA_COLUMNS) : 0))
#define OBC_PHASES (1 << OBC_MAX_INTERLEAVE_LOG2)
#define OBC_PARITIES (OBC_MAX_INTERLEAVE_LOG2 == 2 ? 2 : 1)
#define OBC_RUN_BLOCKS (32 + 3) /* a row of a stripe and what waits of the row above */

typedef struct { /* one (plane, phase, stripe, layer) and its open packet */
    uint32_t begin, next; /* first block of the packet, first block not coded; from the stripe's first block on. `begin` of
                             a packet that is complete: where its last section does */
    uint32_t end;         /* behind the last byte that is written */
    uint32_t limit;       /* where the packet's CRC would go at the latest */
    uint32_t acc;         /* bits that are not written yet, from the highest on, */
    uint8_t fill;         /* and how many: 0 to 31 */
    uint16_t start;       /* where the payload begins, of the last section */
    uint8_t index;
    uint8_t open;         /* 0: no packet, else OBC_OPEN or OBC_COMPLETE */
    uint8_t packet[OBC_MAX_PACKET];
} obc_slot;

typedef struct { /* blocks of a quad that reaches into the next row */
    int16_t latents[3][7], prediction[3][7];
    uint8_t candidate[3];
    uint8_t count;
} obc_waiting;

typedef struct {
    uint16_t rows, columns; /* blocks */
    uint16_t base;          /* first column in the arrays of all planes */
    uint16_t slots;         /* first slot of phase 0, layer 0 */
    uint16_t stripes;       /* of phase 0, which has no fewer than the others */
    uint16_t width, height; /* samples */
    uint16_t row;           /* block row that is complete */
    uint8_t filled;         /* sample rows in the strip */
} obc_plane;

#if OBC_MAX_PARITY
typedef struct { /* the erasure group of a layer that is open */
    uint16_t length; /* of the longest row so far */
    uint8_t index, number, count, promised;
    uint8_t generator[OBC_MAX_PARITY];
    uint8_t packet[OBC_MAX_PARITY][OBC_MAX_PACKET]; /* parity so far, where the packets to come have it */
} obc_group;
#endif

typedef struct {
    obc_config config;
    obc_plane plane[OBC_PLANES];
    uint32_t weight, cost;      /* rate control: rows so far, and what they cost in layer 0, later ones weigh more; */
    uint32_t detail[34];        /* their luma blocks, by the half octave of what G1 leaves of them; */
    uint32_t usual;             /* columns times 64, as many as usual are to be reckoned with */
    uint32_t reserve;           /* bits that layer 1 must leave for layer 0 of the rows below */
    uint32_t least;             /* half bits without which layer 0 of the blocks to come would leave a hole */
    uint32_t spent;             /* most bits that the stream has if it ends now */
    uint16_t rows_seen;         /* camera rows */
    uint16_t phase_slots, layer_slots; /* slots of a phase and of a layer */
    uint16_t flushed;           /* slots behind which the end has come */
    uint8_t magic, ended, planes;
    uint8_t target;             /* quantiser index that the rate control asks for */
    uint16_t held;              /* bits that a packet must hold to be closed for a finer target */
    uint8_t opened, last_index; /* whether a packet was ever opened, and the index of the last one */
    uint8_t stopped[2];         /* the quota allows no more of a layer */
    uint8_t row_done;           /* the rows just taken complete a luma block row */
    uint8_t job_planes, job_plane, job_step, job_phase; /* what is to be coded of it, and where we are: */
    uint16_t job_stripe;        /* up to the number of stripes, 256 in the widest picture */
    int16_t first[3][OBC_COLUMNS];    /* first latents of three rows, dequantised once they are coded */
    int16_t rest[2][OBC_COLUMNS][7];  /* latents 2 to 8 of two rows */
    uint8_t candidate[2][OBC_COLUMNS];
    int16_t above_q[OBC_PARITIES][OBC_COLUMNS]; /* row above, per row phase: quantised first latents, */
    uint8_t above_size[OBC_PARITIES][OBC_COLUMNS]; /* their residuals' sizes, */
    uint8_t count[OBC_PARITIES][OBC_COLUMNS];   /* and activity */
    int16_t scratch[OBC_RUN_BLOCKS][7];
    obc_waiting waiting[OBC_PLANES][OBC_PHASES];
#if OBC_COLOUR
    uint8_t strip[8][OBC_MAX_WIDTH];
    uint8_t chroma[2][8][(OBC_MAX_WIDTH + 1) / 2];
#elif OBC_MAX_SCALE_LOG2 > 0
    uint8_t strip[8][(OBC_MAX_WIDTH + 1) / 2];
#endif
#if OBC_MAX_PARITY
    obc_group group[2];
    uint16_t next_group;
    uint8_t due, due_layer; /* parity packets that must go before anything else, */
    uint16_t leaving;       /* and the slot whose packet follows them, plus 1; 0: none */
#endif
    obc_slot slot[2 * OBC_LAYER_SLOTS];
} obc_encoder;

/* Begin a picture. OBC_OK, OBC_ERROR_NULL or OBC_ERROR_CONFIG. */
#define obc_reset(encoder, config) obc_reset_sized((encoder), sizeof *(encoder), (config))

/* The same; `size` is that of the caller's obc_encoder. */
obc_status obc_reset_sized(obc_encoder *encoder, size_t size, const obc_config *config);

/* Take eight camera rows, or what is left of the picture; `stride` is the bytes from row to row. The rows may be
 * reused at once. OBC_OK; OBC_BUSY when packets must be polled first; an error. */
obc_status obc_sink_rows(obc_encoder *encoder, const uint8_t *rows, size_t stride, uint16_t count);

/* Code on, up to the next packet. OBC_PACKET, OBC_EMPTY, OBC_DONE or an error. */
obc_status obc_poll_packet(obc_encoder *encoder, const uint8_t **packet, uint16_t *size);

/* Say that no rows follow; a picture cut short keeps what has been coded. OBC_OK or an error. Poll until OBC_DONE. */
obc_status obc_finish(obc_encoder *encoder);

#ifdef __cplusplus
}
#endif

#endif
