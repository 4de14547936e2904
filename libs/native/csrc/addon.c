/*
 * Node-API bindings of the kernels. The engine in TypeScript checks shapes; this file checks only
 * what would read or write outside the arrays. There is no state outside of an engine, so several
 * threads may load the addon.
 */
#define NAPI_VERSION 8
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include "troupe.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#if defined(__x86_64__)
extern const TroupeVariant troupe_avx2, troupe_avx512;
static const TroupeVariant *const VARIANTS[] = {&troupe_avx512, &troupe_avx2};
#else
extern const TroupeVariant troupe_neon;
static const TroupeVariant *const VARIANTS[] = {&troupe_neon};
#endif
#define VARIANT_COUNT (sizeof(VARIANTS) / sizeof(VARIANTS[0]))

/*
 * Arithmetic on subnormal float32 numbers is a hundred times slower, and they add nothing to the
 * results: within a call they are flushed to zero.
 */
#if defined(__x86_64__)
typedef unsigned int FloatMode;
static FloatMode enterFloatMode(void) {
  const FloatMode before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  return before;
}
static void leaveFloatMode(FloatMode before) { _mm_setcsr(before); }
#else
typedef uint64_t FloatMode;
static FloatMode enterFloatMode(void) {
  FloatMode before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" ::"r"(before | (UINT64_C(1) << 24)));
  return before;
}
static void leaveFloatMode(FloatMode before) { __asm__ volatile("msr fpcr, %0" ::"r"(before)); }
#endif

typedef struct {
  const TroupeVariant *variant;
  TroupeConfig config;
  TroupeSizes sizes;
  TroupeModel *model;
  void *memory;
  /* During a gradient, whose listener may call back into the addon; dispose then waits. */
  bool busy, doomed;
} Engine;

/* Zeroed memory; a large block asks for large pages. */
static void *allocate(size_t bytes, void **aligned) {
  const size_t page = 4096, alignment = bytes > page ? page : TROUPE_ALIGNMENT;
  if (bytes > SIZE_MAX - alignment) return NULL;
  char *memory = calloc(1, bytes + alignment);
  if (!memory) return NULL;
  *aligned = memory + (alignment - (uintptr_t)memory % alignment) % alignment;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= (size_t)4 << 20) madvise(*aligned, bytes / page * page, MADV_HUGEPAGE);
#endif
  return memory;
}

static void release(Engine *engine) {
  free(engine->memory);
  engine->memory = NULL;
  engine->model = NULL;
}

static void finalize(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  release(data);
  free(data);
}

static napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message);
  return NULL;
}

/*
 * Arguments of a call. After the first failure, which is recorded, the others read as zero or
 * null.
 */
#define MOST_ARGUMENTS 11
typedef struct {
  napi_env env;
  napi_value values[MOST_ARGUMENTS];
  bool failed;
} Arguments;

static Arguments argumentsOf(napi_env env, napi_callback_info info) {
  Arguments arguments = {.env = env};
  size_t count = MOST_ARGUMENTS;
  arguments.failed = napi_get_cb_info(env, info, &count, arguments.values, NULL, NULL) != napi_ok;
  return arguments;
}

static double numberAt(Arguments *arguments, int i) {
  double value = 0;
  if (napi_get_value_double(arguments->env, arguments->values[i], &value) != napi_ok) arguments->failed = true;
  return value;
}

/* The elements of a typed array of the given type and length. */
static void *arrayAt(Arguments *arguments, int i, napi_typedarray_type expected, size_t length) {
  napi_typedarray_type type = napi_int8_array;
  size_t found = 0;
  void *data = NULL;
  const napi_status status = napi_get_typedarray_info(arguments->env, arguments->values[i], &type, &found, &data, NULL, NULL);
  if (status != napi_ok || type != expected || found != length) arguments->failed = true;
  return data;
}

static Engine *engineAt(Arguments *arguments, int i) {
  static const Engine none;
  void *data = NULL;
  if (napi_get_value_external(arguments->env, arguments->values[i], &data) != napi_ok || !data)
    arguments->failed = true;
  else if (!((Engine *)data)->model || ((Engine *)data)->busy)
    arguments->failed = true;
  return arguments->failed ? (Engine *)&none : data;
}

static const char FOREIGN[] = "the arguments do not fit the engine";

static napi_value variants(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value names, name;
  uint32_t count = 0;
  napi_create_array(env, &names);
  for (size_t i = 0; i < VARIANT_COUNT; i++) {
    if (!VARIANTS[i]->supported()) continue;
    napi_create_string_utf8(env, VARIANTS[i]->name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, names, count++, name);
  }
  return names;
}

static const TroupeVariant *variantAt(Arguments *arguments, int i) {
  char name[16] = "";
  napi_get_value_string_utf8(arguments->env, arguments->values[i], name, sizeof(name), NULL);
  for (size_t v = 0; v < VARIANT_COUNT; v++) {
    if (strcmp(VARIANTS[v]->name, name) == 0 && VARIANTS[v]->supported()) return VARIANTS[v];
  }
  arguments->failed = true;
  return NULL;
}

static TroupeDropout dropoutAt(Arguments *arguments, int i) {
  return (TroupeDropout){(uint32_t)numberAt(arguments, i), (float)numberAt(arguments, i + 1)};
}

/*
 * create(variant, Int32Array [cell, layers, hidden, vocabulary, embedding, tied, layerNorm,
 * maxStreams, maxWindow], threshold and scale of dropout, and of dropout on the output)
 */
static TroupeConfig configOf(Arguments *arguments) {
  const int32_t *n = arrayAt(arguments, 1, napi_int32_array, 9);
  if (arguments->failed) return (TroupeConfig){0};
  return (TroupeConfig){
      .cell = (TroupeCell)n[0],
      .layers = n[1],
      .hidden = n[2],
      .vocabulary = n[3],
      .embedding = n[4],
      .tied = n[5] != 0,
      .layerNorm = n[6] != 0,
      .maxStreams = n[7],
      .maxWindow = n[8],
      .dropout = dropoutAt(arguments, 2),
      .dropoutOutput = dropoutAt(arguments, 4),
  };
}

/* An engine, or, if there is no memory for it, the number of bytes that it needs. */
static napi_value create(napi_env env, napi_callback_info info) {
  Arguments arguments = argumentsOf(env, info);
  const TroupeVariant *variant = variantAt(&arguments, 0);
  const TroupeConfig config = configOf(&arguments);
  if (arguments.failed) return fail(env, FOREIGN);
  const size_t bytes = variant->bytes(&config);
  napi_value result = NULL;
  void *aligned = NULL;
  Engine *engine = malloc(sizeof(Engine));
  void *memory = engine ? allocate(bytes, &aligned) : NULL;
  if (!memory) {
    free(engine);
    napi_create_double(env, (double)bytes, &result);
    return result;
  }
  TroupeModel *model = variant->place(&config, aligned);
  *engine = (Engine){variant, config, variant->sizes(model), model, memory, false, false};
  if (napi_create_external(env, engine, finalize, NULL, &result) != napi_ok) {
    finalize(env, engine, NULL);
    return fail(env, "no handle for the engine");
  }
  return result;
}

/* setParameters(engine, Float32Array [P]) */
static napi_value setParameters(napi_env env, napi_callback_info info) {
  Arguments arguments = argumentsOf(env, info);
  const Engine *engine = engineAt(&arguments, 0);
  const float *parameters = arrayAt(&arguments, 1, napi_float32_array, engine->sizes.parameters);
  if (arguments.failed) return fail(env, FOREIGN);
  const FloatMode mode = enterFloatMode();
  engine->variant->setParameters(engine->model, parameters);
  leaveFloatMode(mode);
  return NULL;
}

/* Arguments 1 to 5: B, T, tokens [B, T+1], states and end states [B, L, S, H]. */
static TroupeBatch batchOf(Arguments *arguments, const Engine *engine, float **endStates) {
  const double streams = numberAt(arguments, 1), window = numberAt(arguments, 2);
  if (!(streams >= 1 && streams <= engine->config.maxStreams && window >= 1 && window <= engine->config.maxWindow)) {
    arguments->failed = true;
    return (TroupeBatch){0};
  }
  TroupeBatch batch = {.streams = (int)streams, .window = (int)window};
  const size_t B = (size_t)batch.streams, states = B * engine->sizes.stateSize;
  batch.tokens = arrayAt(arguments, 3, napi_uint16_array, B * ((size_t)batch.window + 1));
  batch.states = arrayAt(arguments, 4, napi_float32_array, states);
  *endStates = arrayAt(arguments, 5, napi_float32_array, states);
  return batch;
}

/* Checks tokens, because they index tables. */
static bool tokensKnown(const Engine *engine, const uint16_t *tokens, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (tokens[i] >= engine->config.vocabulary) return false;
  }
  return true;
}

static bool batchKnown(const Arguments *arguments, const Engine *engine, const TroupeBatch *batch) {
  return !arguments->failed && tokensKnown(engine, batch->tokens, (size_t)batch->streams * ((size_t)batch->window + 1));
}

/* evaluate(engine, B, T, tokens, states, endStates): the loss */
static napi_value evaluate(napi_env env, napi_callback_info info) {
  Arguments arguments = argumentsOf(env, info);
  const Engine *engine = engineAt(&arguments, 0);
  float *endStates = NULL;
  const TroupeBatch batch = batchOf(&arguments, engine, &endStates);
  if (!batchKnown(&arguments, engine, &batch)) return fail(env, FOREIGN);
  const FloatMode mode = enterFloatMode();
  const double loss = engine->variant->evaluate(engine->model, &batch, endStates);
  leaveFloatMode(mode);
  napi_value result = NULL;
  napi_create_double(env, loss, &result);
  return result;
}

/* Arguments 7 to 9: numbers of the streams [B] (or undefined), seed, round. */
static void addDropout(Arguments *arguments, const Engine *engine, TroupeBatch *batch) {
  const TroupeConfig *config = &engine->config;
  if (arguments->failed || (config->dropout.threshold == 0 && config->dropoutOutput.threshold == 0)) return;
  batch->dropoutStreams = arrayAt(arguments, 7, napi_uint32_array, (size_t)batch->streams);
  batch->dropoutSeed = (uint32_t)numberAt(arguments, 8);
  batch->dropoutRound = (uint32_t)numberAt(arguments, 9);
}

/* A function of JavaScript that is told how far the gradient is. */
typedef struct {
  napi_env env;
  napi_value function;
  /* The caller's, for the time that the function takes. */
  FloatMode mode;
} Listener;

/* Argument 10: a function, or undefined. */
static Listener listenerAt(Arguments *arguments, int i) {
  Listener listener = {.env = arguments->env};
  napi_valuetype type = napi_undefined;
  napi_typeof(arguments->env, arguments->values[i], &type);
  if (type == napi_function)
    listener.function = arguments->values[i];
  else if (type != napi_undefined)
    arguments->failed = true;
  return listener;
}

/*
 * An error that the function throws stays pending until the gradient is done; until then, Node-API
 * does not call the function again.
 */
static void tell(void *receiver, size_t from) {
  const Listener *listener = receiver;
  const napi_env env = listener->env;
  leaveFloatMode(listener->mode);
  napi_handle_scope scope;
  napi_value nothing, index;
  napi_open_handle_scope(env, &scope);
  napi_get_undefined(env, &nothing);
  napi_create_double(env, (double)from, &index);
  napi_call_function(env, nothing, listener->function, 1, &index, NULL);
  napi_close_handle_scope(env, scope);
  enterFloatMode();
}

/*
 * gradient(engine, B, T, tokens, states, endStates, gradient [P], dropout..., listener): the loss,
 * undefined if the gradient is not finite
 */
static napi_value gradient(napi_env env, napi_callback_info info) {
  Arguments arguments = argumentsOf(env, info);
  Engine *engine = engineAt(&arguments, 0);
  float *endStates = NULL;
  TroupeBatch batch = batchOf(&arguments, engine, &endStates);
  float *out = arrayAt(&arguments, 6, napi_float32_array, engine->sizes.parameters);
  addDropout(&arguments, engine, &batch);
  Listener listener = listenerAt(&arguments, 10);
  if (!batchKnown(&arguments, engine, &batch)) return fail(env, FOREIGN);
  const TroupeProgress progress = {tell, &listener};
  bool finite = false;
  engine->busy = true;
  listener.mode = enterFloatMode();
  const double loss =
      engine->variant->gradient(engine->model, &batch, endStates, out, listener.function ? &progress : NULL, &finite);
  leaveFloatMode(listener.mode);
  engine->busy = false;
  if (engine->doomed) release(engine);
  napi_value result = NULL;
  if (finite || loss != loss || loss - loss != 0) napi_create_double(env, loss, &result);
  return result;
}

/* step(engine, B, tokens [B], states [B, L, S, H], logits [B, V]) */
static napi_value step(napi_env env, napi_callback_info info) {
  Arguments arguments = argumentsOf(env, info);
  const Engine *engine = engineAt(&arguments, 0);
  const double streams = numberAt(&arguments, 1);
  if (!(streams >= 1 && streams <= engine->config.maxStreams)) return fail(env, FOREIGN);
  const size_t B = (size_t)streams;
  const uint16_t *tokens = arrayAt(&arguments, 2, napi_uint16_array, B);
  float *states = arrayAt(&arguments, 3, napi_float32_array, B * engine->sizes.stateSize);
  float *logits = arrayAt(&arguments, 4, napi_float32_array, B * (size_t)engine->config.vocabulary);
  if (arguments.failed || !tokensKnown(engine, tokens, B)) return fail(env, FOREIGN);
  const FloatMode mode = enterFloatMode();
  engine->variant->step(engine->model, (int)B, tokens, states, logits);
  leaveFloatMode(mode);
  return NULL;
}

/*
 * dispose(engine): frees its memory immediately, or after the gradient in progress; the handle is
 * garbage-collected.
 */
static napi_value dispose(napi_env env, napi_callback_info info) {
  Arguments arguments = argumentsOf(env, info);
  void *data = NULL;
  if (napi_get_value_external(env, arguments.values[0], &data) != napi_ok || !data) return NULL;
  Engine *engine = data;
  if (engine->busy)
    engine->doomed = true;
  else
    release(engine);
  return NULL;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"variants", NULL, variants, NULL, NULL, NULL, napi_enumerable, NULL},
      {"create", NULL, create, NULL, NULL, NULL, napi_enumerable, NULL},
      {"setParameters", NULL, setParameters, NULL, NULL, NULL, napi_enumerable, NULL},
      {"gradient", NULL, gradient, NULL, NULL, NULL, napi_enumerable, NULL},
      {"evaluate", NULL, evaluate, NULL, NULL, NULL, napi_enumerable, NULL},
      {"step", NULL, step, NULL, NULL, NULL, napi_enumerable, NULL},
      {"dispose", NULL, dispose, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  napi_define_properties(env, exports, sizeof(functions) / sizeof(functions[0]), functions);
  return exports;
}
