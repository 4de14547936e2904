/*
 * The elementwise halves of the recurrent cells, one time step at a time. The engine has its own
 * order of gate columns, so that the columns that the input adds to, and those that the hidden
 * state adds to, are each contiguous:
 *
 *   lstm             i, f, g, o
 *   gru              n, r, z       the input adds to all; U h to r and z, U (r * h) to n
 *   gru-reset-after  n, r, z, q    the input adds to n, r, z; U h to r, z and q = U_n h + b_hn
 *   rnn              h
 *
 * Forward replaces the gates' pre-activations by the activations; backward replaces those by the
 * gradients of the pre-activations and sums them over the streams.
 */
#ifndef TROUPE_CELLS_H
#define TROUPE_CELLS_H

#include "activations.h"
#include "panels.h"
#include "troupe.h"

/* The layout of a cell; rows are gate indices in PyTorch's order, -1 for none. */
typedef struct {
  int stateVectors;
  /* Blocks of H' gate columns. */
  int blocks;
  /* The first `inputBlocks` of them take the input. */
  int inputBlocks;
  /* The blocks from here on take the hidden state. */
  int firstRecurrent;
  int inputRow[4], recurrentRow[4];
} CellPlan;

static const CellPlan PLANS[] = {
    [LSTM] = {2, 4, 4, 0, {0, 1, 2, 3}, {0, 1, 2, 3}},
    [GRU] = {1, 3, 3, 0, {2, 0, 1, -1}, {2, 0, 1, -1}},
    [GRU_RESET_AFTER] = {1, 4, 3, 1, {2, 0, 1, -1}, {-1, 0, 1, 2}},
    [RNN_TANH] = {1, 1, 1, 0, {0, -1, -1, -1}, {0, -1, -1, -1}},
    [RNN_RELU] = {1, 1, 1, 0, {0, -1, -1, -1}, {0, -1, -1, -1}},
};

/*
 * One time step of a layer; activations [B, H'] or, for gates, [B, blocks * H'], their panels
 * `stride` apart.
 */
typedef struct {
  int rows, panels;
  size_t stride;
  float *gates;
  /*
   * What the input adds: rows of a table [blocks * H' / PANEL][tableRows][PANEL], one for each
   * stream.
   */
  const float *table;
  size_t tableRows;
  const int32_t *ids;
  /* b_hn [H'] */
  const float *resetBias;
  const float *hBefore;
  float *h;
  /* LSTM only: C before and after, and tanh C. */
  const float *memoryBefore;
  float *memory, *squashed;
  /* GRU with the reset gate before the product only: r * h before. */
  float *reset;
  /*
   * d(loss)/dh, after the step and before it (added to), d(loss)/dC (replaced), d(loss)/d(r * h).
   */
  const float *dh;
  float *dhBefore, *dMemory;
  const float *dReset;
  /* [blocks * H'], to which the gradients of pre-activations are added, summed over streams. */
  float *biasGradient;
} CellStep;

/* Floats from one gate to the next. */
INLINE size_t gateSpan(const CellStep *s) { return s->panels * s->stride; }
INLINE size_t tableSpan(const CellStep *s) { return (size_t)s->panels * s->tableRows * PANEL; }

/*
 * Bodies are inlined. `at` is the offset of a vector in an activation [B, H'], `unit` its column,
 * `in` what the input adds to the first gate.
 */
typedef void ForwardBody(const CellStep *s, size_t at, int unit, const float *in);
/* Adds the gradients of the pre-activations at `at` to `sums`, one for each gate. */
typedef void BackwardBody(const CellStep *s, size_t at, vf *sums);

INLINE void overUnits(const CellStep *s, ForwardBody *body) {
  for (int p = 0; p < s->panels; p++) {
    for (int b = 0; b < s->rows; b++) {
      const float *in = s->table + ((size_t)p * s->tableRows + s->ids[b]) * PANEL;
      const size_t at = p * s->stride + (size_t)b * PANEL;
      for (int j = 0; j < PANEL; j += LANES) body(s, at + j, p * PANEL + j, in + j);
    }
  }
}

INLINE void overColumns(const CellStep *s, int blocks, BackwardBody *body) {
  const int H = s->panels * PANEL;
  for (int unit = 0; unit < H; unit += LANES) {
    const size_t first = unit / PANEL * s->stride + unit % PANEL;
    vf sums[4] = {{0}, {0}, {0}, {0}};
    for (int b = 0; b < s->rows; b++) body(s, first + (size_t)b * PANEL, sums);
    for (int i = 0; i < blocks; i++) {
      float *sum = s->biasGradient + i * H + unit;
      store(sum, load(sum) + sums[i]);
    }
  }
}

/* Gradient of the argument of a sigmoid or a hyperbolic tangent, from the function's value. */
INLINE vf throughSigmoid(vf gradient, vf value) { return gradient * value * (splat(1.0f) - value); }
INLINE vf throughTangent(vf gradient, vf value) { return gradient * (splat(1.0f) - value * value); }

INLINE void lstmUnits(const CellStep *s, size_t at, int unit, const float *in) {
  const size_t span = gateSpan(s), tspan = tableSpan(s);
  float *gate = s->gates + at;
  const vf i = sigmoid(load(gate) + load(in));
  const vf f = sigmoid(load(gate + span) + load(in + tspan));
  const vf g = hyperbolicTangent(load(gate + 2 * span) + load(in + 2 * tspan));
  const vf o = sigmoid(load(gate + 3 * span) + load(in + 3 * tspan));
  const vf memory = FMA(f, load(s->memoryBefore + at), i * g);
  const vf squashed = hyperbolicTangent(memory);
  store(gate, i);
  store(gate + span, f);
  store(gate + 2 * span, g);
  store(gate + 3 * span, o);
  store(s->memory + at, memory);
  store(s->squashed + at, squashed);
  store(s->h + at, o * squashed);
}

INLINE void lstmColumns(const CellStep *s, size_t at, vf *sums) {
  const size_t span = gateSpan(s);
  float *gate = s->gates + at;
  const vf i = load(gate), f = load(gate + span), g = load(gate + 2 * span), o = load(gate + 3 * span);
  const vf squashed = load(s->squashed + at), dh = load(s->dh + at);
  const vf dMemory = load(s->dMemory + at) + throughTangent(dh * o, squashed);
  const vf di = throughSigmoid(dMemory * g, i);
  const vf df = throughSigmoid(dMemory * load(s->memoryBefore + at), f);
  const vf dg = throughTangent(dMemory * i, g);
  const vf dO = throughSigmoid(dh * squashed, o);
  store(s->dMemory + at, dMemory * f);
  store(gate, di);
  store(gate + span, df);
  store(gate + 2 * span, dg);
  store(gate + 3 * span, dO);
  sums[0] += di;
  sums[1] += df;
  sums[2] += dg;
  sums[3] += dO;
}

/* r, z and r * h; the candidate waits for U (r * h). */
INLINE void gruResetUnits(const CellStep *s, size_t at, int unit, const float *in) {
  const size_t span = gateSpan(s), tspan = tableSpan(s);
  float *gate = s->gates + at;
  const vf r = sigmoid(load(gate + span) + load(in + tspan));
  const vf z = sigmoid(load(gate + 2 * span) + load(in + 2 * tspan));
  store(gate + span, r);
  store(gate + 2 * span, z);
  store(s->reset + at, r * load(s->hBefore + at));
}

INLINE void gruCandidateUnits(const CellStep *s, size_t at, int unit, const float *in) {
  float *gate = s->gates + at;
  const vf n = hyperbolicTangent(load(gate) + load(in));
  const vf z = load(gate + 2 * gateSpan(s));
  store(gate, n);
  store(s->h + at, FMA(z, load(s->hBefore + at) - n, n));
}

/* n and z; r waits for the gradient of r * h. */
INLINE void gruCandidateColumns(const CellStep *s, size_t at, vf *sums) {
  const size_t span = gateSpan(s);
  float *gate = s->gates + at;
  const vf n = load(gate), z = load(gate + 2 * span), dh = load(s->dh + at);
  const vf dn = throughTangent(dh * (splat(1.0f) - z), n);
  const vf dz = throughSigmoid(dh * (load(s->hBefore + at) - n), z);
  store(s->dhBefore + at, load(s->dhBefore + at) + dh * z);
  store(gate, dn);
  store(gate + 2 * span, dz);
  sums[0] += dn;
  sums[2] += dz;
}

INLINE void gruResetColumns(const CellStep *s, size_t at, vf *sums) {
  float *gate = s->gates + at + gateSpan(s);
  const vf r = load(gate), dReset = load(s->dReset + at);
  const vf dr = throughSigmoid(dReset * load(s->hBefore + at), r);
  store(s->dhBefore + at, load(s->dhBefore + at) + dReset * r);
  store(gate, dr);
  sums[1] += dr;
}

INLINE void gruAfterUnits(const CellStep *s, size_t at, int unit, const float *in) {
  const size_t span = gateSpan(s), tspan = tableSpan(s);
  float *gate = s->gates + at;
  const vf r = sigmoid(load(gate + span) + load(in + tspan));
  const vf z = sigmoid(load(gate + 2 * span) + load(in + 2 * tspan));
  const vf q = load(gate + 3 * span) + load(s->resetBias + unit);
  const vf n = hyperbolicTangent(FMA(r, q, load(gate) + load(in)));
  store(gate, n);
  store(gate + span, r);
  store(gate + 2 * span, z);
  store(gate + 3 * span, q);
  store(s->h + at, FMA(z, load(s->hBefore + at) - n, n));
}

INLINE void gruAfterColumns(const CellStep *s, size_t at, vf *sums) {
  const size_t span = gateSpan(s);
  float *gate = s->gates + at;
  const vf n = load(gate), r = load(gate + span), z = load(gate + 2 * span), q = load(gate + 3 * span);
  const vf dh = load(s->dh + at);
  const vf dn = throughTangent(dh * (splat(1.0f) - z), n);
  const vf dr = throughSigmoid(dn * q, r);
  const vf dz = throughSigmoid(dh * (load(s->hBefore + at) - n), z);
  const vf dq = dn * r;
  store(s->dhBefore + at, load(s->dhBefore + at) + dh * z);
  store(gate, dn);
  store(gate + span, dr);
  store(gate + 2 * span, dz);
  store(gate + 3 * span, dq);
  sums[0] += dn;
  sums[1] += dr;
  sums[2] += dz;
  sums[3] += dq;
}

INLINE void rnnTanhUnits(const CellStep *s, size_t at, int unit, const float *in) {
  store(s->h + at, hyperbolicTangent(load(s->gates + at) + load(in)));
}

INLINE void rnnTanhColumns(const CellStep *s, size_t at, vf *sums) {
  const vf da = throughTangent(load(s->dh + at), load(s->h + at));
  store(s->gates + at, da);
  sums[0] += da;
}

INLINE void rnnReluUnits(const CellStep *s, size_t at, int unit, const float *in) {
  store(s->h + at, rectified(load(s->gates + at) + load(in)));
}

INLINE void rnnReluColumns(const CellStep *s, size_t at, vf *sums) {
  const vf da = load(s->dh + at) * slopeOfRectified(load(s->h + at));
  store(s->gates + at, da);
  sums[0] += da;
}

static void lstmForward(const CellStep *s) { overUnits(s, lstmUnits); }
static void lstmBackward(const CellStep *s) { overColumns(s, 4, lstmColumns); }
static void gruResetForward(const CellStep *s) { overUnits(s, gruResetUnits); }
static void gruResetBackward(const CellStep *s) { overColumns(s, 3, gruResetColumns); }
static void gruCandidateForward(const CellStep *s) { overUnits(s, gruCandidateUnits); }
static void gruCandidateBackward(const CellStep *s) { overColumns(s, 3, gruCandidateColumns); }
static void gruAfterForward(const CellStep *s) { overUnits(s, gruAfterUnits); }
static void gruAfterBackward(const CellStep *s) { overColumns(s, 4, gruAfterColumns); }
static void rnnTanhForward(const CellStep *s) { overUnits(s, rnnTanhUnits); }
static void rnnTanhBackward(const CellStep *s) { overColumns(s, 1, rnnTanhColumns); }
static void rnnReluForward(const CellStep *s) { overUnits(s, rnnReluUnits); }
static void rnnReluBackward(const CellStep *s) { overColumns(s, 1, rnnReluColumns); }

#endif
