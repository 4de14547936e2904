/* Packs the flat parameter vector into the forms that the products read. */
#ifndef TROUPE_PARAMETERS_H
#define TROUPE_PARAMETERS_H

#include "model.h"

/*
 * Packs weight [gates * H, depth], gates in PyTorch's order, into `forward` [blocks * H' /
 * PANEL][depth][PANEL] and `backward` [D' / PANEL][blocks * H'][PANEL], gates in the engine's
 * order: those of `rows` from `first` to `end`.
 */
static void packGates(const TroupeModel *model, const int *rows, int first, int end, const float *weight, int depth,
                      float *forward, float *backward) {
  const int H = model->config.hidden, width = model->hiddenPanels * PANEL;
  const size_t stride = (size_t)(end - first) * width * PANEL;
  for (int block = first; block < end; block++) {
    const float *from = weight + (size_t)rows[block] * H * depth;
    const size_t column = (size_t)(block - first) * width;
    packTransposed(from, H, depth, forward + column * depth);
    float *to = backward + column * PANEL;
    packRows(from, H, depth, to, stride);
    for (int n = 0; n < panelsOf(depth); n++) memset(to + n * stride + H * PANEL, 0, (width - H) * PANEL * sizeof(float));
  }
}

/* Packs bias [gates * H] into a table of one row, [blocks * H']. */
static void packBias(const TroupeModel *model, const float *bias, float *to) {
  const int H = model->config.hidden, width = model->hiddenPanels * PANEL;
  for (int block = 0; block < model->plan.inputBlocks; block++, to += width) {
    memcpy(to, bias + model->plan.inputRow[block] * H, H * sizeof(float));
    memset(to + H, 0, (width - H) * sizeof(float));
  }
}

/* Layer 0, one-hot: table row v is column v of weight_ih [gates * H, V] plus the bias. */
static void tabulateWeights(const TroupeModel *model, const float *weight, const float *bias, float *table) {
  const int H = model->config.hidden, V = model->config.vocabulary;
  const size_t block = (size_t)model->hiddenPanels * V * PANEL;
  for (int i = 0; i < model->plan.inputBlocks; i++) {
    const int row = model->plan.inputRow[i] * H;
    packTransposed(weight + (size_t)row * V, H, V, table + i * block);
    for (int unit = 0; unit < H; unit++) {
      float *to = table + i * block + (size_t)(unit / PANEL) * V * PANEL + unit % PANEL;
      for (int v = 0; v < V; v++) to[(size_t)v * PANEL] += bias[row + unit];
    }
  }
}

/* Layer 0 with embeddings: table = embedding W^T + bias. */
static void tabulateEmbeddings(TroupeModel *model, const float *parameters, const Layer *layer, const float *bias) {
  const int V = model->config.vocabulary, panels = model->plan.inputBlocks * model->hiddenPanels;
  const size_t stride = (size_t)V * PANEL;
  packRows(parameters, V, model->config.embedding, model->embedding, stride);
  float *biases = model->biasGradient;
  packBias(model, bias, biases);
  for (int p = 0; p < panels; p++) {
    for (int v = 0; v < V; v++) memcpy(layer->table + p * stride + v * PANEL, biases + p * PANEL, PANEL * sizeof(float));
  }
  multiply(V, panels, layer->depth, (Factor){model->embedding, stride},
           (Factor){layer->inputForward, (size_t)layer->depth * PANEL}, (Result){layer->table, stride}, true);
}

static void packLayer(TroupeModel *model, const float *parameters, int k) {
  const CellPlan *plan = &model->plan;
  const LayerOffsets *o = &model->offsets[k];
  const Layer *layer = &model->layers[k];
  const int H = model->config.hidden;
  if (layer->depth > 0) {
    packGates(model, plan->inputRow, 0, plan->inputBlocks, parameters + o->inputWeight, layer->depth, layer->inputForward,
              layer->inputBackward);
  }
  packGates(model, plan->recurrentRow, plan->firstRecurrent, plan->blocks, parameters + o->recurrentWeight, H,
            layer->recurrentForward, layer->recurrentBackward);
  if (model->config.cell == GRU_RESET_AFTER) {
    packRows(parameters + o->resetBias, 1, H, layer->resetBias, PANEL);
  }
  if (model->config.layerNorm) {
    packRows(parameters + o->normWeight, 1, H, layer->normWeight, PANEL);
    packRows(parameters + o->normBias, 1, H, layer->normBias, PANEL);
  }
  const float *bias = parameters + o->bias;
  if (k > 0)
    packBias(model, bias, layer->table);
  else if (layer->depth > 0)
    tabulateEmbeddings(model, parameters, layer, bias);
  else
    tabulateWeights(model, parameters + o->inputWeight, bias, layer->table);
}

/* A finite logit whose probability is 0. */
#define FAR_BELOW -1e30f

static void packParameters(TroupeModel *model, const float *parameters) {
  const TroupeConfig *config = &model->config;
  const int H = config->hidden, V = config->vocabulary;
  for (int k = 0; k < config->layers; k++) packLayer(model, parameters, k);
  packTransposed(parameters + model->linearWeight, V, H, model->linearForward);
  packRows(parameters + model->linearWeight, V, H, model->linearBackward, (size_t)V * PANEL);
  memcpy(model->outputBias, parameters + model->linearBias, V * sizeof(float));
}

/* Fills the buffers that do not depend on the parameters. */
static void fillPadding(TroupeModel *model) {
  for (int unit = 0; unit < model->config.hidden; unit++) model->used[unit] = 1;
  for (int v = model->config.vocabulary; v < model->vocabularyPanels * PANEL; v++) model->outputBias[v] = FAR_BELOW;
}

#endif
