/* The encoder on an emulated board: rows from a file of the host, packets to another, what it took to the console.
 *
 * Reads input.bin: an obc_config and the samples, row by row. Writes output.bin: packets. Instructions are counted with
 * the board's clock while the emulator gives every instruction the same time (-icount); a loop of known length first says
 * how many ticks that is. */
#include <string.h>

#include "board.h"
#include "obc.h"

#define PAINT 0xA5A5A5A5u
#define CALIBRATION 100000u

enum { SYS_OPEN = 1, SYS_CLOSE = 2, SYS_WRITE0 = 4, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT = 0x18 };
enum { READ_BINARY = 1, WRITE_BINARY = 5, STOPPED = 0x20026, FAILED = 0x20023 };

extern uint32_t data_begin[], data_end[], data_load[], bss_begin[], bss_end[], stack_begin[], stack_end[];

static obc_encoder encoder;
static uint8_t camera[8][OBC_MAX_WIDTH * (OBC_COLOUR ? 3 : 1)] __attribute__((section(".camera")));

static void leave(uint32_t reason) {
    (void)board_host(SYS_EXIT, (const void *)reason);
    for (;;) {
    }
}

static uint32_t open_file(const char *name, uint32_t mode) {
    uint32_t arguments[3];
    uint32_t handle;
    arguments[0] = (uint32_t)name;
    arguments[1] = mode;
    arguments[2] = (uint32_t)strlen(name);
    handle = board_host(SYS_OPEN, arguments);
    if (handle == 0xFFFFFFFFu) {
        leave(FAILED);
    }
    return handle;
}

static void transfer(uint32_t operation, uint32_t handle, const void *data, uint32_t size) {
    uint32_t arguments[3];
    arguments[0] = handle;
    arguments[1] = (uint32_t)data;
    arguments[2] = size;
    if (board_host(operation, arguments) != 0u) {
        leave(FAILED);
    }
}

static void say(const char *name, uint32_t value) {
    char text[40];
    char digits[10];
    uint32_t at = 0, n = 0;
    while (name[at]) {
        text[at] = name[at];
        at++;
    }
    text[at++] = ' ';
    do {
        digits[n++] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value);
    while (n) {
        text[at++] = digits[--n];
    }
    text[at++] = '\n';
    text[at] = 0;
    (void)board_host(SYS_WRITE0, text);
}

/* Ticks since `since`. */
static uint32_t elapsed(uint32_t since) {
    return board_clock() - since;
}

/* Ticks of 4 * CALIBRATION instructions. */
static uint64_t calibrate(void) {
    uint32_t since = board_clock();
    board_spin(CALIBRATION);
    return elapsed(since);
}

int main(void) {
    obc_config config;
    const uint8_t *packet;
    uint16_t size;
    uint32_t input = open_file("input.bin", READ_BINARY), output = open_file("output.bin", WRITE_BINARY);
    uint32_t row = 0, time, width;
    uint64_t sink = 0, poll = 0, unit;
    obc_status status;
    const uint32_t *paint = stack_begin;
    transfer(SYS_READ, input, &config, sizeof config);
    unit = calibrate();
    if (obc_reset(&encoder, &config) != OBC_OK) {
        leave(FAILED);
    }
    width = config.format == OBC_GREY8 ? config.width : (config.format == OBC_RGB888 ? 3u : 2u) * config.width;
    do {
        if (row < config.height) {
            uint16_t count = (uint16_t)(config.height - row < 8u ? config.height - row : 8u), i;
            for (i = 0; i < count; i++) {
                transfer(SYS_READ, input, camera[i], width);
            }
            time = board_clock();
            status = obc_sink_rows(&encoder, camera[0], sizeof camera[0], count);
            sink += elapsed(time);
            row += count;
        } else {
            status = obc_finish(&encoder);
        }
        if (status != OBC_OK) {
            leave(FAILED);
        }
        do {
            time = board_clock();
            status = obc_poll_packet(&encoder, &packet, &size);
            poll += elapsed(time);
            if (status == OBC_PACKET) {
                transfer(SYS_WRITE, output, packet, size);
            }
        } while (status == OBC_PACKET);
    } while (status == OBC_EMPTY);
    while (*paint == PAINT) {
        paint++;
    }
    say("analysis", (uint32_t)(sink * 4u * CALIBRATION / unit));
    say("coding", (uint32_t)(poll * 4u * CALIBRATION / unit));
    say("ticks", (uint32_t)unit);
    say("encoder", sizeof encoder);
    say("stack", (uint32_t)((const uint8_t *)stack_end - (const uint8_t *)paint));
    (void)board_host(SYS_CLOSE, &output);
    leave(status == OBC_DONE ? STOPPED : FAILED);
    return 0;
}

void board_start(void) {
    uint32_t *to, *from = data_load, *here = __builtin_frame_address(0);
    for (to = data_begin; to < data_end; to++) {
        *to = *from++;
    }
    for (to = bss_begin; to < bss_end; to++) {
        *to = 0;
    }
    for (to = stack_begin; to < here - 32; to++) {
        *to = PAINT;
    }
    (void)main();
}

void board_fault(void) {
    leave(FAILED);
}
