/** What a hostile volunteer sends instead of what it was asked to compute. */

/** @typedef {import('@troupe/model').Gradient} Gradient */
/** @typedef {(engine: import('@troupe/model').Engine, batch: import('@troupe/model').Batch) => Promise<Gradient>} Lie */

/** @param {(result: Gradient) => Partial<Gradient>} change @returns {Lie} */
function changed(change) {
  return async (engine, batch) => {
    const result = await engine.gradient(batch);
    return { ...result, ...change(result) };
  };
}

const scaled = (/** @type {number} */ factor) =>
  changed(({ gradient }) => ({ gradient: gradient.map((value) => value * factor) }));
const states = (/** @type {number} */ value) => changed(({ endStates }) => ({ endStates: endStates.map(() => value) }));
const noise = (/** @type {number} */ factor) =>
  changed(({ gradient }) => {
    const values = gradient.map(() => Math.random() - 0.5);
    const scale = (factor * Math.hypot(...chunksOf(gradient))) / Math.hypot(...chunksOf(values));
    return { gradient: values.map((value) => value * scale) };
  });

/** Norms of parts of a vector, because a call takes only so many arguments. @param {Float32Array} vector */
function chunksOf(vector) {
  return Array.from({ length: Math.ceil(vector.length / 4096) }, (_, i) =>
    Math.hypot(...vector.subarray(i * 4096, (i + 1) * 4096)),
  );
}

/** A lie about one stream alone: the rest of the gradient is right. @type {Lie} */
async function oneStream(engine, batch) {
  const { gradient, ...result } = await engine
    .gradient(batch)
    .then((own) => ({ ...own, gradient: own.gradient.slice(), endStates: own.endStates.slice() }));
  const floats = batch.states.length / batch.streams;
  const { gradient: first } = await engine.gradient({
    streams: 1,
    window: batch.window,
    tokens: batch.tokens.subarray(0, batch.window + 1),
    states: batch.states.subarray(0, floats),
  });
  return { ...result, gradient: gradient.map((value, i) => value - 101 * first[i]) };
}

/** Answers at once: it computes one character of each window. @param {number} factor @returns {Lie} */
const hasty = (factor) => async (engine, batch) => {
  const { gradient } = await engine.gradient({ ...batch, window: 1, tokens: firstOf(batch) });
  const tokens = batch.streams * batch.window;
  return { gradient: gradient.map((value) => value * factor), endStates: batch.states.slice(), lossSum: tokens * 3, tokens };
};

/** Another lie with each lease. @type {Lie} */
async function mixed(engine, batch) {
  const lies = [scaled(0), scaled(-3), noise(3), states(1), hasty(-100)];
  return lies[Math.floor(Math.random() * lies.length)](engine, batch);
}

/** The first character of each window, and the next. @param {import('@troupe/model').Batch} batch */
function firstOf({ streams, window, tokens }) {
  return Uint16Array.from({ length: streams * 2 }, (_, i) => tokens[(i >> 1) * (window + 1) + (i & 1)]);
}

/** @type {Readonly<Record<string, Lie>>} */
export const LIES = {
  honest: changed(() => ({})),
  'zero gradient': scaled(0),
  'gradient x100': scaled(100),
  'noise of equal norm': noise(1),
  'noise x3': noise(3),
  'noise x100': noise(100),
  'sign flipped': scaled(-1),
  'flipped x2': scaled(-2),
  'flipped x3': scaled(-3),
  'flipped x10': scaled(-10),
  'flipped x100': scaled(-100),
  'flipped x100, 1 stream': oneStream,
  'end states of 1': states(1),
  'end states of 1000': states(1000),
  'end states of 3e38': states(3e38),
  'computes nothing, zeros': hasty(0),
  'computes nothing, flipped x100': hasty(-100),
  mixed,
};
