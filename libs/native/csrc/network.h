/* The passes over a window, on rows [T, B]. */
#ifndef TROUPE_NETWORK_H
#define TROUPE_NETWORK_H

#include <math.h>
#include "dropout.h"
#include "parameters.h"

/* One call: the shape of its batch and what follows from it. */
typedef struct {
  TroupeModel *model;
  int B, T;
  /* Floats from one panel of activations to the next, and from one time step to the next. */
  size_t stride, step;
  /* [B]; null: nothing is dropped. */
  const uint32_t *dropoutStreams;
  uint32_t seed, round;
  /* Null: nobody is told how far the gradient is. */
  const TroupeProgress *progress;
} Pass;

INLINE Pass passOf(TroupeModel *model, int B, int T) {
  return (Pass){.model = model, .B = B, .T = T, .stride = rowsApart(T, B) * PANEL, .step = (size_t)B * PANEL};
}

INLINE size_t width(const TroupeModel *model) { return (size_t)model->hiddenPanels * PANEL; }

INLINE bool dropsOut(const Pass *pass, int k) {
  return pass->dropoutStreams && dropoutOf(&pass->model->config, k)->threshold > 0;
}

/*
 * The output of layer k to the layer above it, or to the output layer: its h after each step, or h
 * normalised or dropped out.
 */
INLINE Factor outputOf(const Pass *pass, int k) {
  const Layer *layer = &pass->model->layers[k];
  const bool own = pass->model->config.layerNorm || dropsOut(pass, k);
  return (Factor){own ? layer->output : layer->h + pass->step, pass->stride};
}

INLINE Norm normOf(const TroupeModel *model, int k) {
  return (Norm){model->config.hidden, model->hiddenPanels, model->layers[k].normWeight, model->layers[k].normBias, model->used};
}

INLINE Mask maskOf(const Pass *pass, int k) {
  const TroupeDropout *dropout = dropoutOf(&pass->model->config, k);
  return (Mask){pass->seed, pass->round, (uint32_t)k, dropout->threshold, dropout->scale};
}

static CellStep stepOf(const Pass *pass, int k, int t) {
  const TroupeModel *model = pass->model;
  const Layer *layer = &model->layers[k];
  const size_t at = t * pass->step;
  return (CellStep){
      .rows = pass->B,
      .panels = model->hiddenPanels,
      .stride = pass->stride,
      .gates = layer->gates + at,
      .table = layer->table,
      .tableRows = k == 0 ? model->config.vocabulary : 1,
      .ids = k == 0 ? model->inputs + (size_t)t * pass->B : model->zeros,
      .resetBias = layer->resetBias,
      .hBefore = layer->h + at,
      .h = layer->h + at + pass->step,
      .memoryBefore = layer->memory + at,
      .memory = layer->memory + at + pass->step,
      .squashed = layer->squashed + at,
      .reset = layer->reset + at,
      .dh = model->dh + at + pass->step,
      .dhBefore = model->dh + at,
      .dMemory = model->dMemory,
      .dReset = model->dReset,
      .biasGradient = model->biasGradient,
  };
}

/* Gate columns [first, end) of the step (+)= x U^T. */
static void addRecurrent(const Pass *pass, const Layer *layer, const CellStep *s, const float *x, int first, int end,
                         bool accumulate) {
  const TroupeModel *model = pass->model;
  const int H = model->config.hidden, panels = model->hiddenPanels;
  const Factor weights = {layer->recurrentForward + (size_t)(first - model->plan.firstRecurrent) * panels * H * PANEL,
                          (size_t)H * PANEL};
  const Result gates = {s->gates + (size_t)first * panels * pass->stride, pass->stride};
  multiply(pass->B, (end - first) * panels, H, (Factor){x, pass->stride}, weights, gates, accumulate);
}

/* to [B, H'] (+)= gate columns [first, end) of the step times U. */
static void multiplyBack(const Pass *pass, const Layer *layer, const CellStep *s, int first, int end, float *to,
                         bool accumulate) {
  const TroupeModel *model = pass->model;
  const CellPlan *plan = &model->plan;
  const size_t columns = (plan->blocks - plan->firstRecurrent) * width(model);
  const Factor gates = {s->gates + (size_t)first * model->hiddenPanels * pass->stride, pass->stride};
  const Factor weights = {layer->recurrentBackward + (first - plan->firstRecurrent) * width(model) * PANEL, columns * PANEL};
  multiply(pass->B, model->hiddenPanels, (int)((end - first) * width(model)), gates, weights, (Result){to, pass->stride},
           accumulate);
}

static void clearGates(const Pass *pass, const CellStep *s, int first, int end) {
  const int panels = pass->model->hiddenPanels;
  for (int p = first * panels; p < end * panels; p++) memset(s->gates + p * pass->stride, 0, pass->step * sizeof(float));
}

/* `above`: the gates already hold the contribution of the layer below. */
static void stepForward(const Pass *pass, const Layer *layer, const CellStep *s, bool above) {
  switch (pass->model->config.cell) {
    case LSTM:
      addRecurrent(pass, layer, s, s->hBefore, 0, 4, above);
      lstmForward(s);
      break;
    case GRU:
      addRecurrent(pass, layer, s, s->hBefore, 1, 3, above);
      gruResetForward(s);
      addRecurrent(pass, layer, s, s->reset, 0, 1, above);
      gruCandidateForward(s);
      break;
    case GRU_RESET_AFTER:
      if (!above) clearGates(pass, s, 0, 1);
      addRecurrent(pass, layer, s, s->hBefore, 1, 3, above);
      addRecurrent(pass, layer, s, s->hBefore, 3, 4, false);
      gruAfterForward(s);
      break;
    case RNN_TANH:
      addRecurrent(pass, layer, s, s->hBefore, 0, 1, above);
      rnnTanhForward(s);
      break;
    case RNN_RELU:
      addRecurrent(pass, layer, s, s->hBefore, 0, 1, above);
      rnnReluForward(s);
      break;
  }
}

static void dropOut(const Pass *pass, int k, const float *from, float *to) {
  const Mask mask = maskOf(pass, k);
  applyMask(&mask, pass->dropoutStreams, pass->T, pass->B, pass->model->hiddenPanels, pass->stride, from, to);
}

/* Computes outputOf layer k, after all its steps. */
static void handUp(const Pass *pass, int k) {
  const Layer *layer = &pass->model->layers[k];
  const float *from = layer->h + pass->step;
  if (pass->model->config.layerNorm) {
    const Norm norm = normOf(pass->model, k);
    normalise(&norm, pass->T * pass->B, pass->stride, from, layer->output);
    from = layer->output;
  }
  if (dropsOut(pass, k)) dropOut(pass, k, from, layer->output);
}

/*
 * From inputs [T, B] and the state before the window to logits without their bias, and all that
 * the backward pass needs.
 */
static void forward(const Pass *pass) {
  TroupeModel *model = pass->model;
  const int H = model->config.hidden, rows = pass->T * pass->B;
  for (int k = 0; k < model->config.layers; k++) {
    const Layer *layer = &model->layers[k];
    if (k > 0) {
      multiply(rows, model->plan.inputBlocks * model->hiddenPanels, H, outputOf(pass, k - 1),
               (Factor){layer->inputForward, (size_t)H * PANEL}, (Result){layer->gates, pass->stride}, false);
    }
    for (int t = 0; t < pass->T; t++) {
      const CellStep s = stepOf(pass, k, t);
      stepForward(pass, layer, &s, k > 0);
    }
    handUp(pass, k);
  }
  multiply(rows, model->vocabularyPanels, H, outputOf(pass, model->config.layers - 1),
           (Factor){model->linearForward, (size_t)H * PANEL}, (Result){model->logits, pass->stride}, false);
}

/*
 * Turns one row of logits into the gradient of its loss; returns the negative log-likelihood of
 * the target, nats.
 */
static double softmaxRow(const TroupeModel *model, float *row, size_t stride, int target) {
  const float *bias = model->outputBias;
  vf greatest = splat(FAR_BELOW);
  for (int p = 0; p < model->vocabularyPanels; p++) {
    for (int j = 0; j < PANEL; j += LANES) {
      float *at = row + p * stride + j;
      const vf logit = load(at) + load(bias + p * PANEL + j);
      store(at, logit);
      greatest = AT_LEAST(greatest, logit);
    }
  }
  float most = greatest[0];
  for (int i = 1; i < LANES; i++) most = greatest[i] > most ? greatest[i] : most;
  const double logit = row[target / PANEL * stride + target % PANEL];
  vf sums = {0};
  for (int p = 0; p < model->vocabularyPanels; p++) {
    for (int j = 0; j < PANEL; j += LANES) {
      float *at = row + p * stride + j;
      const vf likelihood = exponential(load(at) - splat(most));
      store(at, likelihood);
      sums += likelihood;
    }
  }
  const float sum = sumOf(sums);
  const vf scale = splat(1.0f / sum);
  for (int p = 0; p < model->vocabularyPanels; p++) {
    for (int j = 0; j < PANEL; j += LANES) store(row + p * stride + j, load(row + p * stride + j) * scale);
  }
  row[target / PANEL * stride + target % PANEL] -= 1.0f;
  return log(sum) + most - logit;
}

/*
 * Turns the logits into the gradient of the loss. Returns the summed negative log-likelihood of
 * the targets, nats.
 */
static double softmaxLoss(const Pass *pass) {
  TroupeModel *model = pass->model;
  double sum = 0;
  for (int row = 0; row < pass->T * pass->B; row++) {
    sum += softmaxRow(model, model->logits + (size_t)row * PANEL, pass->stride, model->targets[row]);
  }
  return sum;
}

#endif
