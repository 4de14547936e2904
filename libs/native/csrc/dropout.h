/*
 * The masks of libs/model/src/dropout.ts: Philox4x32-10 (Salmon et al. 2011), LANES counters at a
 * time.
 */
#ifndef TROUPE_DROPOUT_H
#define TROUPE_DROPOUT_H

#include "panels.h"

typedef struct {
  uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
} Counters;

/*
 * The loops over lanes are vectorised; high halves of products come from the widening
 * multiplication.
 */
static void philox(Counters *c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < LANES; i++) {
      const uint64_t product0 = (uint64_t)0xd2511f53u * c->c0[i];
      const uint64_t product1 = (uint64_t)0xcd9e8d57u * c->c2[i];
      c->c0[i] = (uint32_t)(product1 >> 32) ^ c->c1[i] ^ key0;
      c->c2[i] = (uint32_t)(product0 >> 32) ^ c->c3[i] ^ key1;
      c->c1[i] = (uint32_t)product1;
      c->c3[i] = (uint32_t)product0;
    }
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
}

/* Units decided by one call of philox. */
#define MASK_UNITS (4 * LANES)

typedef struct {
  uint32_t seed, round, layer, threshold;
  float scale;
} Mask;

/* The mask, 0 or scale, of MASK_UNITS units from `first`, for a stream at time step t. */
INLINE void drawMask(const Mask *mask, uint32_t stream, uint32_t t, int first, float *out) {
  Counters c;
  for (int i = 0; i < LANES; i++) {
    c.c0[i] = (uint32_t)(first / 4 + i);
    c.c1[i] = t;
    c.c2[i] = stream;
    c.c3[i] = mask->round;
  }
  philox(&c, mask->seed, mask->layer);
  for (int i = 0; i < LANES; i++) {
    out[4 * i] = c.c0[i] >= mask->threshold ? mask->scale : 0;
    out[4 * i + 1] = c.c1[i] >= mask->threshold ? mask->scale : 0;
    out[4 * i + 2] = c.c2[i] >= mask->threshold ? mask->scale : 0;
    out[4 * i + 3] = c.c3[i] >= mask->threshold ? mask->scale : 0;
  }
}

/* to = from * mask, activations [T, B] of `panels` panels. */
static void applyMask(const Mask *mask, const uint32_t *streams, int T, int B, int panels, size_t stride, const float *from,
                      float *to) {
  float values[MASK_UNITS];
  for (int t = 0; t < T; t++) {
    for (int b = 0; b < B; b++) {
      const size_t row = ((size_t)t * B + b) * PANEL;
      for (int p = 0; p < panels; p++) {
        const int unit = p * PANEL;
        if (unit % MASK_UNITS == 0) drawMask(mask, streams[b], t, unit, values);
        const float *kept = values + unit % MASK_UNITS;
        const size_t at = p * stride + row;
        for (int j = 0; j < PANEL; j += LANES) store(to + at + j, load(from + at + j) * load(kept + j));
      }
    }
  }
}

#endif
