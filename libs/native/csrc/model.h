/*
 * A model in memory: its parameters packed for the products, and buffers for the activations of a
 * window.
 */
#ifndef TROUPE_MODEL_H
#define TROUPE_MODEL_H

#include "cells.h"
#include "norm.h"

typedef struct {
  /*
   * D, columns of weight_ih: H, or E in layer 0. 0: the characters enter one-hot and there are no
   * input products.
   */
  int depth;
  /*
   * weight_ih [inputBlocks * H, D] and weight_hh, packed for the forward pass (sums over D, H) and
   * backward (over gate columns).
   */
  float *inputForward, *inputBackward, *recurrentForward, *recurrentBackward;
  /*
   * What the input adds besides the products. Layer 0: [inputBlocks * H' / PANEL][V][PANEL].
   * Others: the bias, a table of one row.
   */
  float *table;
  /* [H'] */
  float *resetBias;
  /* Of the layer's normalisation, [H'] */
  float *normWeight, *normBias;
  /*
   * Panelled activations: gates [T, B, blocks * H'], h and C [T+1, B, H'], tanh C, r * h, and the
   * layer's output [T, B, H'] if it is not h but h normalised or dropped out.
   */
  float *gates, *h, *memory, *squashed, *reset, *output;
} Layer;

/* Offsets in the flat vector, see libs/model/src/layout.ts. */
typedef struct {
  size_t inputWeight, recurrentWeight, bias, resetBias, normWeight, normBias;
} LayerOffsets;

struct TroupeModel {
  TroupeConfig config;
  CellPlan plan;
  /* H' / PANEL, V' / PANEL, E' / PANEL */
  int hiddenPanels, vocabularyPanels, embeddingPanels;
  size_t parameters;
  LayerOffsets *offsets;
  size_t linearWeight, linearBias;
  Layer *layers;
  /* Embeddings [E' / PANEL][V][PANEL]; their gradients have the same layout. */
  float *embedding, *embeddingGradient;
  float *linearForward, *linearBackward, *outputBias;
  /* Panelled: [T, B, V'], then their gradients. */
  float *logits;
  /*
   * d(loss)/dh [T+1, B, H'], whose first block is for the state before the window; d(loss)/dC and
   * d(loss)/d(r * h) [B, H'].
   */
  float *dh, *dMemory, *dReset;
  /* [blocks * H']; like the table of layer 0; of a normalisation's weight and bias [2, H']. */
  float *biasGradient, *tableGradient, *normGradient;
  /* [H'], see Norm. */
  float *used;
  /* [T, B]; `zeros` are the ids of tables with one row. */
  int32_t *inputs, *targets, *zeros;
};

/* The same pass counts the memory and carves it: if `base` is null, it only counts. */
typedef struct {
  char *base;
  size_t used;
} Arena;

static void *carve(Arena *arena, size_t bytes) {
  void *at = arena->base ? arena->base + arena->used : NULL;
  arena->used += (bytes + TROUPE_ALIGNMENT - 1) / TROUPE_ALIGNMENT * TROUPE_ALIGNMENT;
  return at;
}

static float *carveFloats(Arena *arena, size_t count) { return carve(arena, count * sizeof(float)); }

/*
 * Rows from one panel of activations [T+1, B] to the next. Padded to an odd number of blocks,
 * because panels that are a power of two apart would compete for the same cache lines.
 */
INLINE size_t rowsApart(int T, int B) { return (size_t)((T + 1) | 1) * B + 4; }

static size_t layOutParameters(TroupeModel *model, Arena *arena) {
  const TroupeConfig *config = &model->config;
  const size_t H = config->hidden, V = config->vocabulary, E = config->embedding;
  const size_t G = H * model->plan.inputBlocks;
  model->offsets = carve(arena, config->layers * sizeof(LayerOffsets));
  size_t at = E * V;
  for (int k = 0; k < config->layers; k++) {
    LayerOffsets o = {.inputWeight = at};
    at += G * (k ? H : E ? E : V);
    o.recurrentWeight = at;
    at += G * H;
    o.bias = at;
    at += G;
    o.resetBias = at;
    if (config->cell == GRU_RESET_AFTER) at += H;
    o.normWeight = at;
    o.normBias = at + H;
    if (config->layerNorm) at += 2 * H;
    if (model->offsets) model->offsets[k] = o;
  }
  model->linearWeight = config->tied ? 0 : at;
  if (!config->tied) at += V * H;
  model->linearBias = at;
  return at + V;
}

INLINE const TroupeDropout *dropoutOf(const TroupeConfig *config, int k) {
  return k < config->layers - 1 ? &config->dropout : &config->dropoutOutput;
}

static Layer layOutLayer(const TroupeModel *model, Arena *arena, int k) {
  const TroupeConfig *config = &model->config;
  const CellPlan *plan = &model->plan;
  const size_t H = config->hidden, V = config->vocabulary, width = model->hiddenPanels * PANEL;
  const size_t activation = width * rowsApart(config->maxWindow, config->maxStreams);
  const size_t depth = k ? H : (size_t)config->embedding;
  const size_t paddedDepth = panelsOf((int)depth) * PANEL;
  const size_t inputColumns = plan->inputBlocks * width;
  const size_t recurrentColumns = (plan->blocks - plan->firstRecurrent) * width;
  const bool own = config->layerNorm || dropoutOf(config, k)->threshold > 0;
  const size_t norm = config->layerNorm ? width : 0;
  return (Layer){
      .depth = (int)depth,
      .inputForward = carveFloats(arena, depth * inputColumns),
      .inputBackward = carveFloats(arena, paddedDepth * inputColumns),
      .recurrentForward = carveFloats(arena, H * recurrentColumns),
      .recurrentBackward = carveFloats(arena, width * recurrentColumns),
      .table = carveFloats(arena, plan->inputBlocks * width * (k ? 1 : V)),
      .resetBias = carveFloats(arena, config->cell == GRU_RESET_AFTER ? width : 0),
      .normWeight = carveFloats(arena, norm),
      .normBias = carveFloats(arena, norm),
      .gates = carveFloats(arena, plan->blocks * activation),
      .h = carveFloats(arena, activation),
      .memory = carveFloats(arena, config->cell == LSTM ? activation : 0),
      .squashed = carveFloats(arena, config->cell == LSTM ? activation : 0),
      .reset = carveFloats(arena, config->cell == GRU ? activation : 0),
      .output = carveFloats(arena, own ? activation : 0),
  };
}

/*
 * Carves a model from `arena`, which holds the model and its layers too; on the counting pass
 * `model` is the caller's scratch.
 */
static void layOut(TroupeModel *model, Arena *arena) {
  const TroupeConfig *config = &model->config;
  const size_t H = config->hidden, V = config->vocabulary;
  model->plan = PLANS[config->cell];
  model->hiddenPanels = panelsOf(config->hidden);
  model->vocabularyPanels = panelsOf(config->vocabulary);
  model->embeddingPanels = panelsOf(config->embedding);
  model->parameters = layOutParameters(model, arena);
  const size_t width = model->hiddenPanels * PANEL, paddedV = model->vocabularyPanels * PANEL;
  const size_t rows = rowsApart(config->maxWindow, config->maxStreams);
  model->layers = carve(arena, config->layers * sizeof(Layer));
  for (int k = 0; k < config->layers; k++) {
    const Layer layer = layOutLayer(model, arena, k);
    if (model->layers) model->layers[k] = layer;
  }
  const size_t embedding = (size_t)model->embeddingPanels * PANEL * V;
  model->embedding = carveFloats(arena, embedding);
  model->embeddingGradient = carveFloats(arena, embedding);
  model->linearForward = carveFloats(arena, H * paddedV);
  model->linearBackward = carveFloats(arena, V * width);
  model->outputBias = carveFloats(arena, paddedV);
  model->logits = carveFloats(arena, rows * paddedV);
  model->dh = carveFloats(arena, rows * width);
  model->dMemory = carveFloats(arena, config->cell == LSTM ? rows * width : 0);
  model->dReset = carveFloats(arena, config->cell == GRU ? rows * width : 0);
  model->biasGradient = carveFloats(arena, model->plan.blocks * width);
  model->tableGradient = carveFloats(arena, model->plan.inputBlocks * width * V);
  model->normGradient = carveFloats(arena, 2 * width);
  model->used = carveFloats(arena, width);
  const size_t tokens = (size_t)config->maxStreams * config->maxWindow * sizeof(int32_t);
  model->inputs = carve(arena, tokens);
  model->targets = carve(arena, tokens);
  model->zeros = carve(arena, config->maxStreams * sizeof(int32_t));
}

#endif
