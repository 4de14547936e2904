/*
 * The addon's interface to the kernels: each instruction set provides one TroupeVariant. B
 * streams, T time steps, V vocabulary size, E embedding size, H hidden units, L layers, S state
 * vectors per layer, G = gates * H, P parameters.
 */
#ifndef TROUPE_H
#define TROUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of CELLS in libs/model/src/config.ts. */
typedef enum { LSTM, GRU, GRU_RESET_AFTER, RNN_TANH, RNN_RELU } TroupeCell;

typedef struct {
  /* A unit is kept if its random word is at least this; 0: nothing is dropped. */
  uint32_t threshold;
  /* Factor of kept units. */
  float scale;
} TroupeDropout;

typedef struct {
  TroupeCell cell;
  int layers, hidden, vocabulary;
  /* E, 0 for one-hot characters. */
  int embedding;
  bool tied, layerNorm;
  int maxStreams, maxWindow;
  /* On the outputs of the layers below the last one, and of the last one. */
  TroupeDropout dropout, dropoutOutput;
} TroupeConfig;

/* The caller owns all arrays; see Batch in libs/model/src/engine.ts. */
typedef struct {
  int streams, window;
  /* [B, T+1] */
  const uint16_t *tokens;
  /* [B, L, S, H] */
  const float *states;
  /* [B]; null: nothing is dropped. */
  const uint32_t *dropoutStreams;
  uint32_t dropoutSeed, dropoutRound;
} TroupeBatch;

/* Told how far the gradient is while it is computed. */
typedef struct {
  /* The gradient is final from this index on, which falls from call to call. */
  void (*report)(void *receiver, size_t from);
  void *receiver;
} TroupeProgress;

typedef struct {
  size_t parameters;
  /* L * S * H */
  size_t stateSize;
} TroupeSizes;

typedef struct TroupeModel TroupeModel;

typedef struct {
  const char *name;
  bool (*supported)(void);
  /* Bytes that `place` needs. */
  size_t (*bytes)(const TroupeConfig *config);
  /*
   * Lays a model out in `memory`, which must be zero and aligned to TROUPE_ALIGNMENT; the caller
   * owns it. Parameters are zero.
   */
  TroupeModel *(*place)(const TroupeConfig *config, void *memory);
  TroupeSizes (*sizes)(const TroupeModel *model);
  void (*setParameters)(TroupeModel *model, const float *parameters);
  /* Returns the sum of negative log-likelihood, nats; writes end states [B, L, S, H]. */
  double (*evaluate)(TroupeModel *model, const TroupeBatch *batch, float *endStates);
  /*
   * Like evaluate; if the loss is finite, also writes the gradient [P] and reports to `progress`
   * (null: to nobody). `finite` says whether both are finite.
   */
  double (*gradient)(TroupeModel *model, const TroupeBatch *batch, float *endStates, float *gradient,
                     const TroupeProgress *progress, bool *finite);
  /* Tokens [B]; states [B, L, S, H] are overwritten; logits [B, V]. */
  void (*step)(TroupeModel *model, int streams, const uint16_t *tokens, float *states, float *logits);
} TroupeVariant;

#define TROUPE_ALIGNMENT 64

#endif
