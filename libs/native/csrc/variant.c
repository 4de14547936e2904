/* One instruction set's kernels; compiled once for each. */
#include "gradients.h"

#if defined(__aarch64__)
static bool supported(void) { return true; }
#elif defined(__AVX512F__)
static bool supported(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
}
#else
static bool supported(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

static size_t bytes(const TroupeConfig *config) {
  TroupeModel model = {.config = *config};
  Arena arena = {0};
  carve(&arena, sizeof(TroupeModel));
  layOut(&model, &arena);
  return arena.used;
}

static TroupeModel *place(const TroupeConfig *config, void *memory) {
  Arena arena = {.base = memory};
  TroupeModel *model = carve(&arena, sizeof(TroupeModel));
  *model = (TroupeModel){.config = *config};
  layOut(model, &arena);
  fillPadding(model);
  return model;
}

static TroupeSizes sizes(const TroupeModel *model) {
  const size_t vectors = (size_t)model->config.layers * model->plan.stateVectors;
  return (TroupeSizes){model->parameters, vectors * model->config.hidden};
}

static void loadTokens(TroupeModel *model, const TroupeBatch *batch) {
  const int B = batch->streams, T = batch->window;
  for (int b = 0; b < B; b++) {
    const uint16_t *ids = batch->tokens + (size_t)b * (T + 1);
    for (int t = 0; t < T; t++) {
      model->inputs[(size_t)t * B + b] = ids[t];
      model->targets[(size_t)t * B + b] = ids[t + 1];
    }
  }
}

/* State vector number `vector` of layer k after time step t - 1, panelled. */
INLINE float *stateBlock(const Pass *pass, int k, int vector, int t) {
  const Layer *layer = &pass->model->layers[k];
  return (vector == 0 ? layer->h : layer->memory) + t * pass->step;
}

/* Copies states [B, L, S, H] to the blocks before the first time step. */
static void loadStates(const Pass *pass, const float *states) {
  const TroupeModel *model = pass->model;
  const int H = model->config.hidden;
  for (int b = 0; b < pass->B; b++) {
    for (int k = 0; k < model->config.layers; k++) {
      for (int vector = 0; vector < model->plan.stateVectors; vector++, states += H) {
        packRows(states, 1, H, stateBlock(pass, k, vector, 0) + (size_t)b * PANEL, pass->stride);
      }
    }
  }
}

/* Copies the blocks after the last time step to states [B, L, S, H]. */
static void storeStates(const Pass *pass, float *states) {
  const TroupeModel *model = pass->model;
  const int H = model->config.hidden;
  for (int b = 0; b < pass->B; b++) {
    for (int k = 0; k < model->config.layers; k++) {
      for (int vector = 0; vector < model->plan.stateVectors; vector++, states += H) {
        unpackRows(stateBlock(pass, k, vector, pass->T) + (size_t)b * PANEL, pass->stride, 1, H, states, false);
      }
    }
  }
}

static double evaluatePass(const Pass *pass, const TroupeBatch *batch, float *endStates) {
  loadTokens(pass->model, batch);
  loadStates(pass, batch->states);
  forward(pass);
  storeStates(pass, endStates);
  return softmaxLoss(pass);
}

static double evaluate(TroupeModel *model, const TroupeBatch *batch, float *endStates) {
  const Pass pass = passOf(model, batch->streams, batch->window);
  return evaluatePass(&pass, batch, endStates);
}

/* 0 * x is not 0 for infinities and NaN. */
static bool allFinite(const float *values, size_t count) {
  vf sum = {0};
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) sum += load(values + i) * splat(0.0f);
  float rest = sumOf(sum);
  for (; i < count; i++) rest += values[i] * 0.0f;
  return rest == 0;
}

static double gradientOf(TroupeModel *model, const TroupeBatch *batch, float *endStates, float *gradient,
                         const TroupeProgress *progress, bool *finite) {
  Pass pass = passOf(model, batch->streams, batch->window);
  pass.dropoutStreams = batch->dropoutStreams;
  pass.seed = batch->dropoutSeed;
  pass.round = batch->dropoutRound;
  pass.progress = progress;
  const double loss = evaluatePass(&pass, batch, endStates);
  *finite = isfinite(loss);
  if (!*finite) return loss;
  backward(&pass, gradient);
  *finite = allFinite(gradient, model->parameters);
  return loss;
}

static void step(TroupeModel *model, int streams, const uint16_t *tokens, float *states, float *logits) {
  const Pass pass = passOf(model, streams, 1);
  const int V = model->config.vocabulary;
  for (int b = 0; b < streams; b++) model->inputs[b] = tokens[b];
  loadStates(&pass, states);
  forward(&pass);
  storeStates(&pass, states);
  unpackRows(model->logits, pass.stride, streams, V, logits, false);
  for (int b = 0; b < streams; b++) {
    for (int v = 0; v < V; v++) logits[(size_t)b * V + v] += model->outputBias[v];
  }
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

const TroupeVariant JOIN(troupe_, VARIANT) = {TEXT(VARIANT),  supported, bytes,      place, sizes,
                                              packParameters, evaluate,  gradientOf, step};
