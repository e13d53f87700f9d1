/* For a host program that loads the encoder as a shared library and must know how much memory to give it. */
#include "obc.h"

size_t obc_encoder_size(void);

size_t obc_encoder_size(void) {
    return sizeof(obc_encoder);
}
