/*
 * The gradient of every parameter, truncated at the start of the window; runs after forward and
 * softmaxLoss. It becomes final from its end to its start, and `handOver` says so.
 */
#ifndef TROUPE_GRADIENTS_H
#define TROUPE_GRADIENTS_H

#include "network.h"

/* All gradients from offset `from` on are final. */
INLINE void handOver(const Pass *pass, size_t from) {
  if (pass->progress) pass->progress->report(pass->progress->receiver, from);
}

INLINE void clear(const Pass *pass, float *activation) {
  for (int p = 0; p < pass->model->hiddenPanels; p++) memset(activation + p * pass->stride, 0, pass->step * sizeof(float));
}

static void stepBackward(const Pass *pass, const Layer *layer, const CellStep *s, bool first) {
  switch (pass->model->config.cell) {
    case LSTM:
      lstmBackward(s);
      if (!first) multiplyBack(pass, layer, s, 0, 4, s->dhBefore, true);
      break;
    case GRU:
      gruCandidateBackward(s);
      multiplyBack(pass, layer, s, 0, 1, pass->model->dReset, false);
      gruResetBackward(s);
      if (!first) multiplyBack(pass, layer, s, 1, 3, s->dhBefore, true);
      break;
    case GRU_RESET_AFTER:
      gruAfterBackward(s);
      if (!first) multiplyBack(pass, layer, s, 1, 4, s->dhBefore, true);
      break;
    case RNN_TANH:
      rnnTanhBackward(s);
      if (!first) multiplyBack(pass, layer, s, 0, 1, s->dhBefore, true);
      break;
    case RNN_RELU:
      rnnReluBackward(s);
      if (!first) multiplyBack(pass, layer, s, 0, 1, s->dhBefore, true);
      break;
  }
}

/* Replaces the activations of a layer by the gradients of its pre-activations. */
static void backThroughTime(const Pass *pass, int k) {
  TroupeModel *model = pass->model;
  clear(pass, model->dh);
  if (model->config.cell == LSTM) clear(pass, model->dMemory);
  memset(model->biasGradient, 0, model->plan.blocks * width(model) * sizeof(float));
  for (int t = pass->T - 1; t >= 0; t--) {
    const CellStep s = stepOf(pass, k, t);
    stepBackward(pass, &model->layers[k], &s, t == 0);
  }
}

#define MOST_GATES 4

/*
 * dW [gates * H, columns] = dGates^T x over all rows of the window, at offset `weight` of the
 * gradient, for the gates [first, end) in the engine's order; `rows` maps them to PyTorch's. Hands
 * over each gate, the last row first.
 */
static void weightGradient(const Pass *pass, Factor gates, int depth, const int *rows, int first, int end, Factor x,
                           int columns, float *gradient, size_t weight) {
  const TroupeModel *model = pass->model;
  const int H = model->config.hidden;
  for (int row = MOST_GATES - 1; row >= 0; row--) {
    for (int block = first; block < end; block++) {
      if (rows[block] != row) continue;
      const Factor dGates = {gates.data + (size_t)block * model->hiddenPanels * gates.stride, gates.stride};
      const size_t offset = weight + (size_t)row * H * columns;
      multiplyTransposed(H, columns, depth, dGates, x, gradient + offset, false);
      handOver(pass, offset);
    }
  }
}

static void recurrentGradients(const Pass *pass, int k, float *gradient) {
  const TroupeModel *model = pass->model;
  const CellPlan *plan = &model->plan;
  const Layer *layer = &model->layers[k];
  const int H = model->config.hidden, rows = pass->T * pass->B;
  const size_t weight = model->offsets[k].recurrentWeight;
  const Factor gates = {layer->gates, pass->stride}, h = {layer->h, pass->stride}, reset = {layer->reset, pass->stride};
  const bool before = model->config.cell == GRU;
  if (before) weightGradient(pass, gates, rows, plan->recurrentRow, 0, 1, reset, H, gradient, weight);
  const int first = before ? 1 : plan->firstRecurrent;
  weightGradient(pass, gates, rows, plan->recurrentRow, first, plan->blocks, h, H, gradient, weight);
}

static void biasGradients(const Pass *pass, int k, float *gradient) {
  const TroupeModel *model = pass->model;
  const CellPlan *plan = &model->plan;
  const size_t H = model->config.hidden;
  float *bias = gradient + model->offsets[k].bias;
  for (int block = 0; block < plan->inputBlocks; block++) {
    memcpy(bias + plan->inputRow[block] * H, model->biasGradient + block * width(model), H * sizeof(float));
  }
  if (model->config.cell == GRU_RESET_AFTER) {
    memcpy(gradient + model->offsets[k].resetBias, model->biasGradient + 3 * width(model), H * sizeof(float));
  }
}

/*
 * Sums the gradients of layer 0's pre-activations over equal characters: [inputBlocks * H' /
 * PANEL][V][PANEL].
 */
static void sumOverCharacters(const Pass *pass) {
  TroupeModel *model = pass->model;
  const size_t block = (size_t)model->config.vocabulary * PANEL;
  const int panels = model->plan.inputBlocks * model->hiddenPanels, rows = pass->T * pass->B;
  for (int p = 0; p < panels; p++) {
    float *sums = model->tableGradient + p * block;
    const float *from = model->layers[0].gates + p * pass->stride;
    memset(sums, 0, block * sizeof(float));
    for (int row = 0; row < rows; row++, from += PANEL) {
      float *sum = sums + (size_t)model->inputs[row] * PANEL;
      for (int j = 0; j < PANEL; j += LANES) store(sum + j, load(sum + j) + load(from + j));
    }
  }
}

static void oneHotGradients(const Pass *pass, float *gradient) {
  const TroupeModel *model = pass->model;
  const int H = model->config.hidden, V = model->config.vocabulary;
  const size_t stride = (size_t)V * PANEL;
  for (int block = 0; block < model->plan.inputBlocks; block++) {
    float *to = gradient + model->offsets[0].inputWeight + (size_t)model->plan.inputRow[block] * H * V;
    const float *from = model->tableGradient + (size_t)block * model->hiddenPanels * stride;
    for (int unit = 0; unit < H; unit++, to += V) {
      const float *column = from + unit / PANEL * stride + unit % PANEL;
      for (int v = 0; v < V; v++) to[v] = column[(size_t)v * PANEL];
    }
  }
}

/*
 * Gradients of weight_ih_l0 and the embeddings. With tied weights the latter already holds the
 * gradient of the output layer.
 */
static void embeddingGradients(const Pass *pass, float *gradient) {
  const TroupeModel *model = pass->model;
  const Layer *layer = &model->layers[0];
  const CellPlan *plan = &model->plan;
  const int V = model->config.vocabulary, E = model->config.embedding;
  const size_t stride = (size_t)V * PANEL, columns = plan->inputBlocks * width(model);
  const Factor embedding = {model->embedding, stride};
  const Factor dTable = {model->tableGradient, stride};
  weightGradient(pass, dTable, V, plan->inputRow, 0, plan->inputBlocks, embedding, E, gradient, model->offsets[0].inputWeight);
  multiply(V, model->embeddingPanels, (int)columns, dTable, (Factor){layer->inputBackward, columns * PANEL},
           (Result){model->embeddingGradient, stride}, false);
  unpackRows(model->embeddingGradient, stride, V, E, gradient, model->config.tied);
}

static void outputGradients(const Pass *pass, float *gradient) {
  const TroupeModel *model = pass->model;
  const int H = model->config.hidden, V = model->config.vocabulary, rows = pass->T * pass->B;
  const Factor dLogits = {model->logits, pass->stride};
  const Factor top = outputOf(pass, model->config.layers - 1);
  multiplyTransposed(V, H, rows, dLogits, top, gradient + model->linearWeight, false);
  float *bias = gradient + model->linearBias;
  for (int v = 0; v < V; v++) bias[v] = 0;
  for (int p = 0; p < model->vocabularyPanels; p++) {
    const int used = least(PANEL, V - p * PANEL);
    const float *from = model->logits + p * pass->stride;
    for (int row = 0; row < rows; row++, from += PANEL) {
      for (int j = 0; j < used; j++) bias[p * PANEL + j] += from[j];
    }
  }
  handOver(pass, model->config.tied ? model->linearBias : model->linearWeight);
  multiply(rows, model->hiddenPanels, V, dLogits, (Factor){model->linearBackward, (size_t)V * PANEL},
           (Result){model->dh + pass->step, pass->stride}, false);
}

/* Turns the gradient of layer k's normalised output, before dropout, into dh. */
static void throughNorm(const Pass *pass, int k, float *gradient) {
  const TroupeModel *model = pass->model;
  const Norm norm = normOf(model, k);
  const size_t H = model->config.hidden;
  float *weight = model->normGradient, *bias = weight + width(model);
  memset(weight, 0, 2 * width(model) * sizeof(float));
  normaliseBackward(&norm, pass->T * pass->B, pass->stride, model->layers[k].h + pass->step, model->dh + pass->step, weight,
                    bias);
  memcpy(gradient + model->offsets[k].normWeight, weight, H * sizeof(float));
  memcpy(gradient + model->offsets[k].normBias, bias, H * sizeof(float));
}

/* Gradient of the output of the layer below k. */
static void throughInput(const Pass *pass, int k) {
  const TroupeModel *model = pass->model;
  const Layer *layer = &model->layers[k];
  const int rows = pass->T * pass->B;
  const size_t columns = model->plan.inputBlocks * width(model);
  multiply(rows, model->hiddenPanels, (int)columns, (Factor){layer->gates, pass->stride},
           (Factor){layer->inputBackward, columns * PANEL}, (Result){model->dh + pass->step, pass->stride}, false);
}

static void backward(const Pass *pass, float *gradient) {
  const TroupeModel *model = pass->model;
  const CellPlan *plan = &model->plan;
  const int H = model->config.hidden, rows = pass->T * pass->B;
  outputGradients(pass, gradient);
  for (int k = model->config.layers - 1; k >= 0; k--) {
    float *dh = model->dh + pass->step;
    if (dropsOut(pass, k)) dropOut(pass, k, dh, dh);
    if (model->config.layerNorm) throughNorm(pass, k, gradient);
    backThroughTime(pass, k);
    biasGradients(pass, k, gradient);
    recurrentGradients(pass, k, gradient);
    if (k == 0) break;
    const Factor gates = {model->layers[k].gates, pass->stride};
    weightGradient(pass, gates, rows, plan->inputRow, 0, plan->inputBlocks, outputOf(pass, k - 1), H, gradient,
                   model->offsets[k].inputWeight);
    throughInput(pass, k);
  }
  sumOverCharacters(pass);
  if (model->config.embedding > 0)
    embeddingGradients(pass, gradient);
  else
    oneHotGradients(pass, gradient);
}

#endif
